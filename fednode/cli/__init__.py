"""The command line: one thin file per command group, heavy imports inside the commands."""
