"""The key is removed from messages, however it is spelled there."""

from __future__ import annotations

import base64
import json
import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.servers.redaction import KeyRemover

KEY = "sk-ab/cd+very&secret='1'<2>"
keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    "spelled",
    [
        KEY,
        KEY.upper(),
        KEY.replace("/", "\\/"),
        KEY.replace("&", "\\u0026").replace("<", "\\u003C"),
        KEY.replace("/", "\\\\/"),
        "".join(f"\\u{ord(character):04x}" for character in KEY),
        "".join(f"\\x{ord(character):02x}" for character in KEY),
        quote(KEY),
        quote(KEY, safe=""),
        quote(quote(KEY, safe=""), safe=""),
        KEY.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;"),
        repr(KEY),
        json.dumps(json.dumps(KEY)),
    ],
)
def test_no_spelling_of_the_key_stays(spelled: str) -> None:
    assert "very" not in KeyRemover(KEY)(f"400 Bearer {spelled}, sorry").lower()


@given(st.binary(max_size=20), st.binary(max_size=20), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
def test_the_key_in_base64_does_not_stay(before: bytes, after: bytes, encode: object) -> None:
    text = encode(before + KEY.encode() + after).decode()  # type: ignore[operator]
    assert KeyRemover(KEY)(f"400 Basic {text} refused") == "400 Basic *** refused"


@given(keys, st.text(), st.text())
def test_any_key_is_removed_from_any_text(key: str, before: str, after: str) -> None:
    remove = KeyRemover(key)
    assert key not in remove(before + key + after).replace("***", "")


@given(st.text())
def test_other_text_stays_as_it_is(text: str) -> None:
    assert KeyRemover(None)(text) == KeyRemover("")(text) == text
    assert KeyRemover(KEY)(text) == text


def test_it_goes_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(KeyRemover("secret")))("a secret") == "a ***"
