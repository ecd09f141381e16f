"""`python -m numpy_llama` is the command `numpy-llama`."""

import sys

from numpy_llama.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
