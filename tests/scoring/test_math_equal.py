"""The math rule, held against pairs of reference and answer with the verdict each must get."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from typing import List, Optional, Sequence, Tuple

import pytest

from common.errors import UsageError
from common.input.conversations import entry_from_conversation
from common.records import Score
from common.scoring.math_equal import Math, check_math, load_rule, math_verify_version
from common.scoring.rule_processes import RuleProcesses
from common.scoring.rules import Verdict
from tests.helpers import conversation

# reference, answer, verdict: True = equal, False = they differ, None = undecided
PAIRS: List[Tuple[Optional[str], str, Optional[bool]]] = [
    ("4", "4", True),
    ("4", "The answer is 4.", True),
    ("4", "2 and 2 make **4**.", True),
    ("4", r"\boxed{4}", True),
    ("4", r"\boxed{5}", False),
    (r"\frac{1}{2}", r"So it is \boxed{0.5}.", True),
    ("1/2", r"$\frac{1}{2}$", True),
    (r"\frac{1}{2}", r"\boxed{\dfrac12}", True),
    ("1/2", r"\boxed{\frac{2}{3}}", False),
    ("\u00bd", r"\boxed{1/2}", True),
    ("3\u00bd", r"\boxed{\frac{7}{2}}", True),
    ("3 1/2", "3.5", True),
    ("50%", r"\boxed{50\%}", True),
    ("50%", r"\boxed{0.5}", True),
    ("50%", r"\boxed{\frac12}", True),
    ("50%", r"\boxed{50}", None),
    ("50", "The answer is 50%.", None),
    ("50%", r"\boxed{40\%}", False),
    ("12.5 percent", r"$12.5\%$", True),
    ("She pays 20 each.\n#### 42", r"\boxed{42}", True),
    ("#### 1,234", "The answer is 1234.", True),
    ("#### 42", "#### 43", False),
    (r"Thus \boxed{7}.", r"First \boxed{3}, and then \boxed{7}", True),
    (r"Thus \boxed{7}.", r"First we get \boxed{3}. Adding 4 gives \boxed{7}", True),
    ("3", r"\boxed{3} or \boxed{5}", False),
    ("3 or 5", r"\boxed{5} and \boxed{3}", True),
    ("x=3", "3", True),
    ("3", "x = 3", True),
    ("x=3", r"\boxed{y=3}", False),
    ("x=3", r"\boxed{x=4}", False),
    ("1", r"\boxed{x^2+y^2=1}", None),
    ("4", r"\boxed{2+2=4}", True),
    ("y=2x+1", r"\boxed{y = 1+2x}", True),
    ("2x+1", r"\boxed{f(x)=2x+1}", True),
    ("x^2+y^2=1", r"\boxed{y^2+x^2=1}", True),
    (r"\{1,2\}", r"\boxed{\{2,1\}}", True),
    ("{1,2}", r"\boxed{\{1, 2, 3\}}", False),
    ("1, 2", r"\boxed{2, 1}", True),
    ("3, 4", r"\boxed{4}", False),
    ("[1,2)", r"\boxed{[1,2)}", True),
    ("[1,2)", r"\boxed{[1, 2]}", False),
    ("(1,2)", r"\boxed{(2,1)}", False),
    ("(1,2)", r"\boxed{\{1,2\}}", None),
    ("(1,2)", r"\boxed{\left(1, 2\right)}", True),
    (r"(-\infty, 3)", r"\boxed{(-\infty,3)}", True),
    ("(-\u221e, 3)", r"\boxed{(-\infty, 3)}", True),
    (r"(-\infty,1)\cup(2,\infty)", r"\boxed{(2,\infty)\cup(-\infty,1)}", True),
    (r"[3,\infty)", r"\boxed{x\ge 3}", True),
    ("-5", "\u22125", True),
    ("-5", r"\boxed{5}", False),
    ("5", "The answer is -5", False),
    ("1,000", "1000", True),
    ("1000", r"\boxed{1\,000}", True),
    ("12{,}345", "12345", True),
    ("3,14", "3.14", None),
    ("1 000 000", "1000000", True),
    ("5 cm", r"\boxed{5\text{ cm}}", True),
    ("5", r"\boxed{5 \text{ cm}}", True),
    ("5 cm", r"\boxed{5\text{ m}}", None),
    ("5 million", r"\boxed{5}", False),
    ("$5", "5 dollars", True),
    (r"\$5", "5 dollars", True),
    ("5 dollars", "5 cents", None),
    (r"90^\circ", "90 degrees", True),
    ("90\u00b0", "90", True),
    ("5 apples", "She has 5 apples left.", True),
    ("10 m/s", r"\boxed{10\,\mathrm{m/s}}", True),
    ("25 cm^2", r"25\text{ cm}^2", True),
    ("5 m", r"\boxed{5}", True),
    ("cat", "act", None),
    ("cat", r"\boxed{\text{cat}}", True),
    ("B", r"\boxed{\text{(B)}}", True),
    ("B", "The answer is (B).", True),
    ("B", r"\boxed{C}", False),
    ("even", "even", True),
    ("Paris", "It is Paris.", True),
    (r"0.\overline{3}", r"\boxed{0}", None),
    (r"\neq 3", "3", None),
    ("101_2", "101", None),
    ("1e5", "100000", True),
    ("2.5e-3", "0.0025", True),
    ("0.0000001", "0.0000002", False),
    ("0.333333", r"\frac13", None),
    (r"2\sqrt2", r"\boxed{\sqrt{8}}", True),
    ("\u221a2", r"\boxed{\sqrt{2}}", True),
    ("\u03c0", r"\boxed{\pi}", True),
    ("2\u03c0", r"$2\pi$", True),
    ("x\u00b2", r"\boxed{x^2}", True),
    ("x\u00b2", "x2", False),
    ("(x+1)(x-1)", r"\boxed{x^2-1}", True),
    (r"\sin^2 x+\cos^2 x", "1", True),
    ("3+4i", r"\boxed{4i+3}", True),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", True),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix} 1 \\ 3 \end{pmatrix}}", False),
    ("4", "<think>It is 5</think>4", True),
    ("4", "<think>It is 4", None),
    (None, "4", None),
    ("4", "", None),
    ("4", "I do not know.", None),
    ("4", r"\boxed{4}. Wait, that is wrong.", None),
    ("4", "There are 4 apples in 3 baskets.", None),
    ("4", "The answer is not 4.", None),
    ("4", r"\boxed{4", True),
    ("4", "So $x = 4$.", True),
    ("4", "Is it 4?", None),
    ("\uff14", "4", True),
    ("5", "5x", False),
    ("5", "The answer is 5x", False),
    ("4", "Therefore, $2 + 2 = 4$.", True),
    ("5", "$5", True),
    ("5", "It costs $5.", True),
    ("5", "about 5", True),
    ("5", "At least 5", None),
    ("2:3", "2:3", True),
    ("11", "$5 + $6", True),
    ("3!", "6", True),
    ("24", "The answer is 4!", None),
    ("5", "5 (or 6)", None),
    (r"\frac{\sqrt{2}}{3}", r"First \boxed{4}. Then \boxed {\frac{\sqrt2}{3}}", True),
    ("4", r"\boxed{4}, then \boxed{\frac{\sqrt{2}}{3}}", False),
    ("4", r"\boxed{4}, then \boxed{5", False),
    ("4", r"\boxed{4}, then \boxed 5", False),
    ("4", "#### 4\nNo: \\boxed{5}", False),
    ("5", "The answer is 5 or 6", False),
    ("5", "The wrong answer is 5.", None),
    ("5", "The answer is x where x^2=25.", None),
    ("10 km", "10 cm", None),
    ("does not exist", r"\\boxed{\\text{does not exist}}", True),
    ("0.3", "30%", True),
    ("1", "100%", True),
    ("100", "1", False),
    ("2,3", "2.3", None),
    ("(2,3)", "2,3", None),
    ("a=1,b=2", "a=1, b=2", True),
    ("a=1,b=2", "a=2, b=1", False),
    ("3/4", "0.75", True),
    ("-3", "3", False),
    ("1234567", "1,234,567", True),
    ("x>3", "x>=3", False),
    ("x>3", "3<x", True),
    (r"\frac{\sqrt{3}}{2^{x}}", r"The result is \boxed{\frac{\sqrt{3}}{2^{x}}}.", True),
    (
        "Natalia sold 48/2 = 24 clips in May.\nNatalia sold 48+24 = 72 clips altogether.\n#### 72",
        "She sold 48 + 24 = **72** cookies in total.",
        True,
    ),
    ("72", "Natalia sold 72 cookies in total.", True),
    ("72", "So the total is $48+24=72$.", True),
    ("72", "So the total is $48+24=71$.", False),
    ("72", "$72$ clips were sold in $2$ months", None),
    ("1e3", "1000", True),
    ("5", "5%", None),
    ("0.5", r"\boxed{.5}", True),
    ("6", r"\boxed{3!}", True),
    ("4", r"The final answer is $\boxed{4}$. I hope it is correct.", True),
    ("4", "**Answer:** 4", True),
    ("4", "**Final Answer**: $4$", True),
    (r"\pi R^2", r"\boxed{\pi r^2}", None),
    ("7", "\u7b54\u6848\u662f7\u3002", True),
    ("7", "\u7b54\u6848\uff1a8", False),
    ("n(n+1)/2", r"\boxed{\frac{n^2+n}{2}}", True),
    ("1/3", r"\boxed{0.33}", None),
    ("2^{10}", "1024", True),
    (r"\log 8", r"3\log 2", True),
    (r"x \in (1,2)", "(1,2)", True),
    ("x=1 or x=2", r"\boxed{x=2, x=1}", True),
    (r"x = \pm 2", r"\boxed{x=2 \text{ or } x=-2}", True),
    (r"\pm 2", "2, -2", True),
    ("no solution", "no solution", True),
    ("Yes", "No", False),
    ("(A) 5", "5", None),
    ("3 and 4", "3", False),
    ("100", "The total is 100 km/h.", True),
    ("5", "5 and a half", None),
    ("8", "8.0", True),
    ("-1/2", r"-\frac{1}{2}", True),
    (r"\frac{-1}{2}", r"-\frac{1}{2}", True),
    ("3,4", "34", None),
    ("30 minutes", "30 seconds", None),
    ("12", "Half of 24 is 12.", True),
    ("15", "17 - 2 is 15.", True),
    ("15", "Subtracting 2 from both sides, 3x = 15.", None),
    ("5", "So with y = 2, x + y = 5", None),
    ("7", "The area is 3 and the perimeter is 7.", None),
    ("7", "x is 3 or x is 7.", None),
    ("2 m", "200 cm is 2 km.", None),
    ("5", "The answer is negative 5", False),
    ("5", "The answer is the square root of 5", None),
    ("5", "It cannot be 5.", None),
    ("5", "We are left with x > 5", None),
    ("12", r"\boxed{1 2}", None),
    ("2", r"\boxed{2 i}", False),
    ("2xy", r"\boxed{2}", False),
    ("3", r"\boxed{3 n}", False),
    ("15", "17 - 2 is 14.", False),
    ("12", "12 is larger than 9.", None),
    ("9", "12 is larger than 9.", None),
    ("70", "7 times 10 is equivalent to 70.", True),
    ("7", "Tom has 3 apples and gets 4, so he now has 7 apples.", True),
    ("7", "Of the 4 and the 3 none is 7 in 2 days.", None),
    ("24", "8 times 3 is 23 or 24.", None),
    ("24", "8 times 3 is not 24.", None),
    ("24", "8 times 3 is 24 times 2.", None),
]


async def verdicts(processes: RuleProcesses) -> List[Verdict]:
    """What the rule says of each pair, asked at once."""
    return list(await asyncio.gather(*(processes.check("q", wanted, said) for wanted, said, _ in PAIRS)))


ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))
HANGS = r"\boxed{9^{9^{9}}}"


if importlib.util.find_spec("math_verify"):

    def test_math_equal_different_undecided() -> None:
        with contextlib.closing(RuleProcesses("math", load_rule, processes=1)) as processes:
            found = asyncio.run(verdicts(processes))
        wrong = [(pair, verdict) for pair, verdict in zip(PAIRS, found) if verdict.value is not pair[2]]
        assert wrong == []
        assert all(verdict.why for verdict in found if verdict.value is None)

    async def scores(scorer: Math, texts: Sequence[str]) -> List[Score]:
        return [await scorer.score(ENTRY, [], text) for text in texts]

    def test_math_that_hangs_is_undecided_and_the_next_is_answered() -> None:
        with contextlib.closing(Math(0, 10, timeout=1.5, processes=1)) as scorer:
            found = asyncio.run(scores(scorer, [HANGS, r"\boxed{4}", r"\boxed{5}", "none"]))
        hung = Score(None, unscored="math took longer than 1.5 s")
        unread = Score(None, unscored="no single value can be read in the final answer: none")
        assert found == [hung, Score(10.0), Score(0.0), unread]

    def test_the_version_of_math_verify_is_a_setting() -> None:
        assert math_verify_version()[0].isdigit()
        assert Math(0, 10).settings["math version"] == math_verify_version()

else:

    def test_math_without_its_package_is_one_line_with_the_install_command() -> None:
        with pytest.raises(UsageError, match=r"--scorer math needs the package math_verify: pip install 'math-verify"):
            Math(0, 10)


def test_what_holds_no_answer_is_told_without_the_package() -> None:
    assert check_math("q", None, "4") == Verdict(None, "no reference to match")
    assert check_math("q", "4", "<think>4").value is None
    assert check_math("q", "4", "").why
