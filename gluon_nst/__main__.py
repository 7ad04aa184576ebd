"""python -m gluon_nst is the command gluon-nst."""

import sys

from gluon_nst.cli import main

sys.exit(main())
