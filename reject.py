#!/usr/bin/env python3
"""Rejection sampling in one run: samples answers, scores them as they arrive, selects the best.

Example: ``python reject.py --input_file data/input.json --output_file data/final_results.jsonl --local --scorer match``
"""

import sys

try:
    from common.start import start
except KeyboardInterrupt:
    sys.stderr.write("reject.py: interrupted before the run began\n")
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(start("reject"))
