#!/usr/bin/env python3
"""Samples N answers per question from an OpenAI-compatible server.

Example: ``python sampling.py --input_file data/input.json --output_file data/sampled.jsonl --local``
"""

import sys

try:
    from common.start import start
except KeyboardInterrupt:
    sys.stderr.write("sampling.py: interrupted before the run began\n")
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(start("sample"))
