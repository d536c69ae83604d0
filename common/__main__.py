"""``python -m common COMMAND``: the same as the installed ``rejection-sampling COMMAND``."""

import sys

from .start import start

sys.exit(start())
