"""Generated references of many kinds, each with other ways to write it, a neighbour, and forms of an answer around it.

Example: ``kind, reference, same, other = next(references(1, 1000))``; ``FORMS["boxed"](same)`` is a right answer.
"""

from __future__ import annotations

import json
import random
from typing import Callable, Dict, Iterator, List, NamedTuple

Write = Callable[[random.Random, int], str]


class Kind(NamedTuple):
    """How a kind of reference is written: by ``writings`` of one number, all of which mean the same."""

    name: str
    writings: List[Callable[[int], str]]


class Reference(NamedTuple):
    """A reference, the same value in another writing, and a neighbour of its kind."""

    kind: str
    reference: str
    same: str
    other: str


def _grouped(number: int, separator: str) -> str:
    return f"{number:,}".replace(",", separator)


def _matrix(name: str, space: str) -> Callable[[int], str]:
    rows = rf"{{a}}{space}&{space}{{b}}\\{space}3{space}&{space}-1"
    return lambda n: rf"\begin{{{name}}}{space}{rows.format(a=n, b=n + 2)}{space}\end{{{name}}}"


KINDS = [
    Kind("integer", [str, lambda n: f"{n}.0", lambda n: f"{n}"]),
    Kind("negative", [lambda n: f"-{n}", lambda n: f"\u2212{n}", lambda n: f"negative {n}"]),
    Kind("thousands", [lambda n: str(n * 1009), lambda n: f"{n * 1009:,}", lambda n: _grouped(n * 1009, "{,}")]),
    Kind("millions", [lambda n: str(n * 10**6), lambda n: f"{n} million", lambda n: f"{n * 10**6:,}"]),
    Kind("decimal", [lambda n: f"{n}.25", lambda n: f"{n}.250", lambda n: rf"\frac{{{4 * n + 1}}}{{4}}"]),
    Kind("fraction", [lambda n: f"{n}/1009", lambda n: rf"\frac{{{n}}}{{1009}}", lambda n: rf"\dfrac{{{n}}}{{1009}}"]),
    Kind(
        "negative fraction",
        [lambda n: rf"-\frac{{{n}}}{{1009}}", lambda n: f"-{n}/1009", lambda n: rf"\frac{{-{n}}}{{1009}}"],
    ),
    Kind("mixed", [lambda n: rf"{n}\frac{{1}}{{2}}", lambda n: f"{n} 1/2", lambda n: f"{n}.5"]),
    Kind("per cent", [lambda n: rf"{n}\%", lambda n: f"{n}%", lambda n: f"{n} percent"]),
    Kind("money", [lambda n: rf"\${n}", lambda n: f"{n} dollars", lambda n: f"{n}.00"]),
    Kind("degrees", [lambda n: rf"{n}^\circ", lambda n: f"{n}\u00b0", lambda n: f"{n} degrees"]),
    Kind("unit", [lambda n: rf"{n}\text{{ cm}}", lambda n: f"{n} cm", lambda n: str(n)]),
    Kind("scientific", [lambda n: rf"{n}.5 \times 10^{{-3}}", lambda n: f"{n}.5e-3", lambda n: f"{n}.5 \u00d7 10^-3"]),
    Kind("root", [lambda n: rf"{n}\sqrt{{3}}", lambda n: rf"{n}\sqrt3", lambda n: f"{n}\u221a3"]),
    Kind("pi", [lambda n: rf"{n}\pi", lambda n: f"{n}\u03c0", lambda n: rf"{n} \pi"]),
    Kind("complex", [lambda n: f"{n}+3i", lambda n: f"{n} + 3i", lambda n: f"{n}+3i"]),
    Kind("polynomial", [lambda n: f"x^2+{n}x+1", lambda n: rf"x^{{2}} + {n}x + 1", lambda n: f"x\u00b2 + {n}x + 1"]),
    Kind("pair", [lambda n: f"({n},{n + 2})", lambda n: rf"\left({n}, {n + 2}\right)", lambda n: f"({n}, {n + 2})"]),
    Kind(
        "set",
        [
            lambda n: rf"\{{{n},{n + 2}\}}",
            lambda n: rf"\{{{n + 2}, {n}\}}",
            lambda n: rf"\left\{{ {n}, {n + 2} \right\}}",
        ],
    ),
    Kind(
        "interval", [lambda n: f"[{n},{n + 2})", lambda n: f"[{n}, {n + 2})", lambda n: rf"\left[{n}, {n + 2}\right)"]
    ),
    Kind("matrix", [_matrix("pmatrix", ""), _matrix("pmatrix", " "), _matrix("bmatrix", " ")]),
    Kind(
        "list",
        [lambda n: f"{n}, {n + 2}, {n + 5}", lambda n: f"{n},{n + 2},{n + 5}", lambda n: f"{n}, {n + 2} and {n + 5}"],
    ),
    Kind("equation", [lambda n: f"x = {n}", lambda n: f"x={n}", str]),
]

FORMS: Dict[str, Callable[[str], str]] = {
    "bare": lambda text: text,
    "boxed": lambda text: rf"\boxed{{{text}}}",
    "boxed in a sentence": lambda text: rf"Thus, the final answer is $\boxed{{{text}}}$.",
    "second box": lambda text: rf"At first \boxed{{77}}. After more work: \[ \boxed{{{text}}} \]",
    "dollars": lambda text: f"So it is ${text}$.",
    "statement": lambda text: f"We add them up. The answer is {text}.",
    "label": lambda text: f"**Answer:** {text}",
    "bold": lambda text: f"Answer: **{text}**",
    "hashes": lambda text: f"We add them up.\n#### {text}",
    "tag": lambda text: f"We add them up.\n<answer>{text}</answer>",
    "tag on lines": lambda text: f"<answer>\n{text}\n</answer>",
    "json": lambda text: f'Here:\n```json\n{{"answer": {json.dumps(text)}}}\n```',
    "heading": lambda text: f"We add them up.\n\n### Final Answer\n\n{text}",
    "letter": lambda text: f"We add them up.\nA: {text}",
    "after thoughts": lambda text: rf"[THINK]Is it \boxed{{77}}?[/THINK]The correct answer is {text}",
    "chinese": lambda text: f"\u6240\u4ee5\u7b54\u6848\u662f {text}\u3002",
}


def references(seed: int, count: int) -> Iterator[Reference]:
    """So many generated references, each kind in its turn."""
    chance = random.Random(seed)
    for place in range(count):
        kind = KINDS[place % len(KINDS)]
        number = chance.randint(2, 60)
        reference, same = chance.choice(kind.writings), chance.choice(kind.writings)
        neighbour = chance.choice(kind.writings)(number + chance.randint(1, 9))
        yield Reference(kind.name, reference(number), same(number), neighbour)
