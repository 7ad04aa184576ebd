"""python -m gluon_nst is the command gluon-nst."""

from gluon_nst.cli import command

command()
