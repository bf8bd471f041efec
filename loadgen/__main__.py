"""Runs the command ``loadgen`` as ``python -m loadgen``."""

import os
import sys

# `-m` puts the working directory first, and a file there that has a module's name would be run in its place.
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
    sys.path.pop(0)

from loadgen.cli import main

if __name__ == "__main__":
    main()
