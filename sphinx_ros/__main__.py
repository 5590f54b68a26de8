"""`python -m sphinx_ros <verb>`, the same as `sphinx-ros <verb>`."""

import sys

from sphinx_ros.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
