"""The code of an answer: its last fenced block, and how it goes together with the head of a function in the prompt.

>>> code_of("Here:\\n```python\\nx = 1\\n```\\nThat is all.", None).code
'x = 1\\n'
>>> code_of("I do not know.", None).why
'the answer has no code'
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from typing import NamedTuple

from ..patterns import regex
from ..thinking import without_thoughts

_BLOCK = regex(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)\n(.*?)(?:^[ \t]*\2[`~]*[ \t]*$|\Z)", re.M | re.S)
PYTHON = ("", "python", "python3", "py", "py3", "python2", "pycon", "sage", "ipython")
_CANNOT_PARSE = (SyntaxError, ValueError, RecursionError, MemoryError)
_CODE = (ast.Call, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)


class Found(NamedTuple):
    """The code of an answer, or ``why`` there is none."""

    code: str | None
    why: str | None = None


def code_of(answer: str, name: str | None, prompt: str = "") -> Found:
    """The last fenced block in Python that defines ``name``, or else the last one; without blocks, the whole answer."""
    text = without_thoughts(answer)
    if text is None or not text.strip():
        return Found(None, "the answer has only thoughts" if text is None else "the answer is empty")
    blocks = blocks_of(text)
    codes = [code for language, code in blocks if language in PYTHON]
    if codes:
        return Found(next((code for code in reversed(codes) if name and defines(code, name)), codes[-1]))
    if blocks:
        return Found(None, f"the answer's code is {blocks[-1][0]}, and the tests need Python")
    if is_code(text) or (prompt and parsed(completed(prompt, text)) is not None):
        return Found(text)
    return Found(None, "the answer has no code")


def blocks_of(text: str) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks."""
    found = []
    for indent, _, info, code in _BLOCK.findall(text):
        words = info.strip().strip("{}.").lower().split()
        found.append((words[0] if words else "", textwrap.dedent(code) if indent else code))
    return found


def parts_of(code: str, prompt: str, name: str | None) -> list[str]:
    """What is run in turn, in one namespace: the prompt's head and imports, and the answer's code."""
    if not prompt or (name and not defines(prompt, name)):
        return [code]
    if name is None or defines(code, name):
        return [prompt, code]
    return [completed(prompt, code)]


def head_in(question: str, name: str | None) -> str:
    """The head of the function in a question: a fenced block of it, or the question itself if it is Python."""
    for code in [code for _, code in blocks_of(question)] + [question] if name else []:
        for whole in (code, code.rstrip() + "\n    pass\n"):
            if name and defines(whole, name):
                return whole
    return ""


def completed(prompt: str, body: str) -> str:
    """A function's head with its body; the body may have lost its indentation."""
    whole = prompt.rstrip() + "\n" + body
    return whole if parsed(whole) is not None else prompt.rstrip() + "\n" + textwrap.indent(body, "    ")


def defines(code: str, name: str) -> bool:
    """Whether a piece of Python gives a value to a name, outside of functions and classes."""
    tree = parsed(code)
    return tree is not None and any(name in _names(node) for node in tree.body)


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def is_code(text: str) -> bool:
    """Whether a text without fences is a piece of Python that does something."""
    tree = parsed(text)
    return tree is not None and any(isinstance(node, _CODE) for node in ast.walk(tree))


def parsed(code: str) -> ast.Module | None:
    """The syntax tree; None if it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
            compile(tree, "answer", "exec", dont_inherit=True)  # refuses "return" outside of a function too
            return tree
    except _CANNOT_PARSE:
        return None
