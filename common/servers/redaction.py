r"""Removes the API key from messages, however a server, a proxy or a library spelled it there.

Only messages are changed: an answer that happens to hold the key's text stays as it is.

>>> KeyRemover("sk-a/b&c")(r"400 bad key sk-a\/b\u0026c, Basic OnNrLWEvYiZj")
'400 bad key ***, Basic ***'
"""

from __future__ import annotations

import base64
import re

SHORTEST_BASE64 = 8  # characters of base64 that are looked for: fewer would be found in any text


class KeyRemover:
    """Puts *** in the place of a key (None: there is none) in a text."""

    def __init__(self, key: str | None) -> None:
        spellings = [r"[\w+/=%\\-]*".join(["", core, ""]) for core in _in_base64(key or "")]
        spellings += ["".join(map(_spellings, key))] if key else []
        self._key = re.compile("|".join(spellings), re.I) if spellings else None

    def __call__(self, text: str) -> str:
        return self._key.sub("***", text) if self._key is not None else text


def _spellings(character: str) -> str:
    r"""A pattern for a character as it is, or as JSON (\u0026, \/), a URL (%26) or HTML (&#38;, &amp;) spell it."""
    code = ord(character)
    named = {"&": "|&amp;", "<": "|&lt;", ">": "|&gt;", '"': "|&quot;", "'": "|&apos;", " ": r"|\+"}.get(character, "")
    plain = re.escape(character)
    return rf"(?:\\*u00{code:02x}|\\*x{code:02x}|%(?:25)*{code:02x}|&#0*{code};|&#x0*{code:x};{named}|\\*{plain})"


def _in_base64(key: str) -> list[str]:
    """What base64 makes of the key's middle wherever the key begins among other bytes, such as ``user:``."""
    cores = []
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + key.encode()).decode()
        # the first and the last characters depend on the bytes around the key
        core = text[-(-shift * 8 // 6) : len(text) - 4 if (shift + len(key)) % 3 else None]
        if len(core) >= SHORTEST_BASE64:
            cores.append(re.escape(core))
            cores.append(re.escape(core.replace("+", "-").replace("/", "_")))
    return list(dict.fromkeys(cores))
