"""The daemon: it holds the user's session for as long as the laptop is connected.

    link      the session: connects, attends, reconnects, resumes
    probe     looks at the targets on the laptop
    proxy     passes the command line's calls on to the manager with the session's token
    service   answers questions about the daemon itself
    process   the process around them: lock, socket, log, signals

The command line reaches it through a Unix socket that only the user may open, so that no secret is ever in an argument,
in the environment or in the command line's memory.
"""
