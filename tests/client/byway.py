"""`python -m tests.client.byway`: the command, wherever its script is installed."""

from xds.client.cli.main import main

main()
