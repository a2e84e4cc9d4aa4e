"""`python -m ropecore` is the command line."""

import sys

from ropecore.cli import main

sys.exit(main())
