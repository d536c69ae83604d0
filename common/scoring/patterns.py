"""Long regular expressions, written as a list with one alternative per line.

>>> any_of("colou?r", any_word("light shade"))
'(?:colou?r|(?:light|shade))'
"""

from __future__ import annotations


def any_of(*alternatives: str) -> str:
    """The pattern that matches one of these patterns; the first that matches counts."""
    return f"(?:{'|'.join(alternatives)})"


def any_word(words: str) -> str:
    """The pattern that matches one of these words; each may be a pattern itself, and a space ends it."""
    return any_of(*words.split())
