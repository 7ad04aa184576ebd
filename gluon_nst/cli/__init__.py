"""The command gluon-nst: its parser, made from the schema of a recipe, and one small module for each group of commands.

What needs MXNet is imported when a command runs that needs it.
"""

from gluon_nst.cli.main import command, main

__all__ = ["command", "main"]
