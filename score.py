#!/usr/bin/env python3
"""Scores the answers that sampling.py sampled, with a judge LLM or a rule.

Example: ``python score.py --input_file data/sampled.jsonl --output_file data/scored.jsonl --scorer match``
"""

import sys

try:
    from common.start import start
except KeyboardInterrupt:
    sys.stderr.write("score.py: interrupted before the run began\n")
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(start("score"))
