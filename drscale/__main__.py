"""``python -m drscale``: the command line."""

import sys

from drscale.cli import main

if __name__ == "__main__":
    sys.exit(main())
