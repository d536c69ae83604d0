"""Near copies are found at and above the threshold, and nothing else is removed."""

from __future__ import annotations

import random
from typing import List, Optional

import pytest

pytest.importorskip("rensa")

from common.results.cleaning.near_copies import Found, NearCopies, Row, band_width
from common.results.cleaning.words import shingles, similarity


def found_in(texts: List[str], threshold: float = 0.8, images: Optional[List[List[str]]] = None) -> List[Found]:
    pictures = images or [[]] * len(texts)

    def row_of(line: bytes) -> Row:
        number, _, text = line.decode().rstrip("\n").partition(" ")
        return Row(text, pictures[int(number)])

    with NearCopies(threshold, row_of) as copies:
        for number, text in enumerate(texts):
            copies.add(f"{number} {text}\n".encode())
        return list(copies.found())


def texts_with_copies(count: int) -> List[str]:
    """Texts, each followed by a copy in which up to six words are replaced."""
    rng = random.Random(0)
    texts = []
    for number in range(count):
        words = [f"w{rng.randint(0, 5000)}" for _ in range(50)]
        copy = list(words)
        for place in rng.sample(range(50), number % 7):
            copy[place] = "other"
        texts += [" ".join(words), " ".join(copy)]
    return texts


def test_what_is_removed_is_a_near_copy_and_almost_all_are_removed() -> None:
    texts = texts_with_copies(420)
    found = found_in(texts)
    assert all(one.of is None for one in found[::2])
    alike = [similarity(shingles(one), shingles(copy)) for one, copy in zip(texts[::2], texts[1::2])]
    for one, likeness in zip(found[1::2], alike):
        assert one.of is None or (likeness >= 0.8 and one.similarity == likeness)
    wanted = [one.of is not None for one, likeness in zip(found[1::2], alike) if likeness >= 0.8]
    assert len(wanted) > 100
    assert sum(wanted) >= 0.99 * len(wanted)


def test_the_first_of_many_copies_stays() -> None:
    text = " ".join(f"word{n}" for n in range(40))
    found = found_in([text] * 30)
    assert [one.of is None for one in found] == [True] + [False] * 29
    assert {one.of for one in found[1:]} == {f"0 {text}\n".encode()}


def test_a_copy_of_a_removed_row_alone_stays() -> None:
    words = [f"word{n}" for n in range(60)]
    near, far = [*words[:58], "x", "y"], [*words[:54], "x", "y", "z", "u", "v", "w"]
    assert [one.of is None for one in found_in([" ".join(one) for one in (words, near, far)], 0.86)] == [
        True,
        False,
        similarity(shingles(" ".join(words)), shingles(" ".join(far))) < 0.86,
    ]


def test_rows_with_other_images_are_no_copies() -> None:
    text = "What is shown in this image, and where may it be? A cat on a sofa."
    assert [one.of is None for one in found_in([text] * 3, images=[["a"], ["b"], ["a"]])] == [True, True, False]


def test_texts_without_words_and_lone_surrogates_are_compared() -> None:
    texts = ["", "", "+", "-", "\u4e8c\u52a0\u4e8c\u7b49\u4e8e\u56db"]
    assert [one.of is None for one in found_in(texts)] == [True, False, True, True, True]


def test_at_1_only_equal_words_are_copies() -> None:
    assert band_width(1.0) == 128
    assert [one.of is None for one in found_in(["a b c d", "A  b c d", "a b c e"], 1.0)] == [True, False, True]
