"""The laptop's side: a daemon that attends the session, and the command line."""
