"""A JSON list that arrives in pieces, as a stream of its items, each with the line on which it begins.

>>> pieces = [b'[{"n": 1},', b'\\n{"n"', b': 2}]']
>>> list(JsonList("input.json", pieces))
[(1, {'n': 1}), (2, {'n': 2})]
"""

from __future__ import annotations

import itertools
import json
import re
from codecs import utf_8_decode
from typing import Any, Iterable, Iterator

from ..errors import BadEntry, BrokenInput
from .strict_json import ANY_NUMBER, LONGEST_ITEM, STRICT, TOO_LONG, reason

# An error, or the end of a value, may be due to the end of the text so far if it is this near to it (in characters):
# a number, an escape or the word Infinity may go on.
MARGIN = 16
SPACE = re.compile(r"[ \t\r\n]*")
SIGNS = re.compile(r'\\.|["{}\[\]]', re.DOTALL)  # where a text begins or ends, an escape in one, brackets


class JsonList:
    """The items of a JSON list, each after its line. Memory holds one item, and the text of a few.

    An item that is too long, or has a number that is too large, is a BadEntry. At any other damage, iterating raises
    BrokenInput after all items before the damage. Time is linear in the length of the list, however long an item is.
    """

    def __init__(self, path: str, pieces: Iterable[bytes], line: int = 1, longest: int = LONGEST_ITEM) -> None:
        self.path = path
        self._longest = longest  # characters of an item
        self._texts = _decoded(pieces)
        self._text = ""  # the text so far, without what was dropped
        self._at = 0  # the place in it up to which it is used
        self._line = line  # the line of that place
        self._dropped = 0  # characters of the text's first line that were dropped
        self._ended = False
        self._failure: BrokenInput | UnicodeDecodeError | None = None  # why the text ended too early

    @property
    def unread(self) -> int:
        """Characters that arrived and are not used yet."""
        return len(self._text) - self._at

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        self._take("[")
        sign = self._take("]") if self._peek() == "]" else ","
        while sign == ",":
            self._peek()
            line = self._line
            yield line, self._item()
            sign = self._take(",]")
        if self._peek() or self._failure is not None:
            raise self._broken(self._at, "there is more text after the list", self._at == len(self._text))

    def _peek(self) -> str:
        """The next character that is not space; empty at the end of the text."""
        while True:
            space = SPACE.match(self._text, self._at)
            self._use(space.end() if space else self._at)
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def _take(self, signs: str) -> str:
        """The next character that is not space, which must be one of ``signs``."""
        sign = self._peek()
        if sign and sign in signs:
            self._use(self._at + 1)
            return sign
        raise self._broken(self._at, f"expected {' or '.join(signs)}", not sign)

    def _item(self) -> Any:
        """The next item."""
        while True:
            error = None
            try:
                value, end = self._decode()
            except json.JSONDecodeError as caught:
                error, end = caught, len(self._text) if "Unterminated string" in caught.msg else caught.pos
            except (ValueError, RecursionError) as caught:
                raise self._broken(self._at, reason(caught), False) from caught
            near_end = end >= len(self._text) - MARGIN
            if min(end, len(self._text)) - self._at > self._longest and (error is None or near_end):
                return self._skip_item()
            if not near_end or not self._read_on():
                break
        if error is not None:
            raise self._broken(error.pos, error.msg, near_end) from error
        self._use(end)
        return value

    def _decode(self) -> tuple[Any, int]:
        """The value that begins here, and the place of its end."""
        try:
            return STRICT.raw_decode(self._text, self._at)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            _, end = ANY_NUMBER.raw_decode(self._text, self._at)
            return BadEntry(f"{self.path}: line {self._line}: broken JSON: {reason(error)}"), end

    def _skip_item(self) -> BadEntry:
        """Passes over an item that is too long, in pieces, up to the bracket or the quotation mark that ends it."""
        line, depth, quoted = self._line, 0, False
        while True:
            rest = self._at
            for sign in SIGNS.finditer(self._text, self._at):
                rest = sign.end()
                quoted ^= sign[0] == '"'
                depth += 0 if quoted else (sign[0] in "{[") - (sign[0] in "}]")
                if not (depth or quoted) and sign[0] in '"}]':
                    self._use(rest)
                    return BadEntry(f"{self.path}: line {line}: {TOO_LONG}")
            self._use(len(self._text) - self._text.endswith("\\", rest))
            if not self._read_on():
                raise self._broken(len(self._text), "the end of an entry is missing", True)

    def _use(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _read_on(self) -> bool:
        """Makes the unused text at least twice as long, if there is more. Returns False if it had ended before.

        The doubling keeps the time linear: a long item is decoded again only after that.
        """
        if self._ended:
            return False
        parts, size = [self._text[self._at :]], self.unread
        wanted = 2 * size + 1
        while size < wanted and not self._ended:
            parts.append(self._next_text())
            size += len(parts[-1])
        self._dropped = self._column(self._at) - 1
        self._text, self._at = "".join(parts), 0
        return True

    def _next_text(self) -> str:
        try:
            text = next(self._texts, None)
        except (BrokenInput, UnicodeDecodeError) as error:
            text, self._failure = None, error
        self._ended = text is None
        return text or ""

    def _column(self, place: int) -> int:
        """The column of a place, from 1."""
        newline = self._text.rfind("\n", 0, place)
        return place + 1 + self._dropped if newline < 0 else place - newline

    def _broken(self, place: int, what: str, near_end: bool) -> BrokenInput:
        """The error at a place. Near the end of the text, it is the reason why the text ended, if there is one."""
        if near_end and isinstance(self._failure, BrokenInput):
            return self._failure
        if near_end and self._failure is not None:
            place, what = len(self._text), reason(self._failure)
        line = self._line + self._text.count("\n", self._at, place)
        return BrokenInput(f"{self.path}: line {line}: broken JSON: {what} (column {self._column(place)})")


def _decoded(pieces: Iterable[bytes]) -> Iterator[str]:
    """The pieces as text. UnicodeDecodeError comes after all the text before the wrong byte."""
    rest = b""
    for piece in itertools.chain(pieces, [b""]):
        data = rest + piece
        try:
            text, used = utf_8_decode(data, "strict", not piece)
        except UnicodeDecodeError as error:
            yield data[: error.start].decode()
            raise
        yield text
        rest = data[used:]
