"""What all tests need: Ctrl-C works in the processes that they start."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started the tests in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)
