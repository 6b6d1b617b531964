"""``python -m dylora_exp``, for launchers such as torchrun."""

import sys

from dylora_exp.cli import main

if __name__ == "__main__":
    sys.exit(main())
