"""What sampling.py, score.py and reject.py share; each module's docstring is its contract."""
