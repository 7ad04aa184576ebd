"""The command gluon-nst: its parser, and a module for each group of commands.

The parser is derived from the schema of a recipe. What needs MXNet is imported when a command runs that needs it.
"""

from gluon_nst.cli.main import command, main

__all__ = ["command", "main"]
