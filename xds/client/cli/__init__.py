"""The `byway` command.

Start-up time is felt at every call, so nothing is imported before it is needed: `app` knows each command by the name
of its function and a line of help, and the command imports gRPC and the messages when it runs.
"""
