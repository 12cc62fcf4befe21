"""The command line: python -m tfmlib."""

import sys

from tfmlib.cli.main import main

sys.exit(main())
