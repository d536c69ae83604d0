"""What all tests need of the processes that they start: Ctrl-C works, and modules are compiled once, as for a user."""

from __future__ import annotations

import os
import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started the tests in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # with it, most of a command's time goes into compiling its modules
    sys.dont_write_bytecode = False
