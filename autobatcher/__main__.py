"""`python -m autobatcher`: the same as the console script `autobatcher`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
