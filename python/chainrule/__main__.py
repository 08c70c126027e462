"""`python -m chainrule` is the same program as the console script `chainrule`."""

import sys

from chainrule.cli import main

sys.exit(main())
