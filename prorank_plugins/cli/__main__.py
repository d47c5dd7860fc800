"""``python -m prorank_plugins.cli`` is ``prorank``."""

import sys

from prorank_plugins.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
