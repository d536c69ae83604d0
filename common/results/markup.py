"""Texts of models as HTML: Markdown by cmarkgfm, code by Pygments, and LaTeX as elements that KaTeX draws in the page.

HTML in a text is shown as text. Addresses that could run something are dropped, and images are links. Each of the
packages is optional: without it, its part of a text is shown as it is written.

Example: ``Markup().drawn("**4**")`` is ``"<p><strong>4</strong></p>"``.
"""

from __future__ import annotations

import functools
import html
import importlib.util
import re
from importlib import metadata
from typing import Any, Callable

from ..extras import EXTRAS
from ..patterns import regex
from .latex import cut_latex, put_back

MARKDOWN, CODE, LATEX = "cmarkgfm", "pygments", "sphinxcontrib-katex"
KATEX_VERSION = f"{LATEX}>=0.9.10,<0.10"  # installed without Sphinx, which its page does not need
KATEX_FILE = "sphinxcontrib/katex.min.js"
LESS, BANG = "\ue0f3", "\ue0f4"  # for < and ! while Markdown is read
PRIVATE = regex("[\ue0f0-\ue0f4\ud800-\udfff]")
HTML = regex(r"<(?!https?://[^\s<>]*>)|!(?=\[)")  # not an address in brackets, which is a link
IN_ADDRESS = {"%EE%83%B3": "%3C", "%EE%83%B4": "!"}
FENCE = regex(r'<pre><code class="language-([^"]*)">([^<]*)</code></pre>')
MOST_CODE = 400_000  # characters of code that get colors in one page: about two seconds
MOST_MARKDOWN = 8_000_000  # characters of Markdown in one page: cmarkgfm frees none of its memory, 200 MB
LONGEST_CODE = 10_000  # of one block
MOST_GROWTH = 8  # times the length of a text
FAMILIES = {"c": "c", "k": "k", "s": "s", "m": "m", "nf": "n", "nc": "n", "nd": "n", "gi": "s", "gd": "d"}


class Markup:
    """Draws the texts of one page. ``characters`` counts those of its HTML; ``most_code`` get colors.

    Of ``most_markdown`` characters the Markdown is read; the others are shown as they are.
    """

    def __init__(self, most_code: int = MOST_CODE, most_markdown: int = MOST_MARKDOWN) -> None:
        self.characters = 0
        self._markdown_left = most_markdown
        self._code_left = most_code
        self._render = renderer()
        self._has_code = importlib.util.find_spec(CODE) is not None

    def drawn(self, text: str) -> str | None:
        """The HTML of a text; None if it is no more than the text.

        >>> Markup().drawn("4")
        """
        cut = cut_latex(PRIVATE.sub("\ufffd", text))
        self._markdown_left -= len(text)
        if self._render is None or self._markdown_left < 0:
            if not cut.formulas:
                return None
            page = f'<div class="asis">{html.escape(cut.text, quote=False)}</div>'
        else:
            page = self._markdown(cut.text)
            if page in ("", plain_page(text)) or len(page) > MOST_GROWTH * len(text) + 1000:
                return None
        page = put_back(page, cut)
        self.characters += len(page)
        return page

    def _markdown(self, text: str) -> str:
        assert self._render is not None
        source = HTML.sub(lambda found: LESS if found[0] == "<" else BANG, text)
        page = self._render(source).strip()
        if "%EE%83" in page:
            for found, wanted in IN_ADDRESS.items():
                page = page.replace(found, wanted)
        page = page.replace(LESS, "&lt;").replace(BANG, "!")
        return FENCE.sub(self._code, page) if self._has_code and "<pre>" in page else page

    def _code(self, fence: re.Match[str]) -> str:
        """A block of code in color, as long as the page has little of it."""
        language, code = html.unescape(fence[1]).split(" ")[0].lower(), html.unescape(fence[2])
        if len(code) > min(self._code_left, LONGEST_CODE) or language not in aliases():
            return fence[0]
        self._code_left -= len(code)
        return f"<pre><code>{highlighted(code, language)}</code></pre>"


def plain_page(text: str) -> str:
    """The page of a text without Markdown."""
    escaped = html.escape(text, quote=False).replace('"', "&quot;")
    return f"<p>{escaped}</p>"


def renderer() -> Callable[[str], str] | None:
    """What makes safe HTML of Markdown; None without its package."""
    if importlib.util.find_spec(MARKDOWN) is None:
        return None
    import cmarkgfm
    from cmarkgfm.cmark import Options

    return functools.partial(
        cmarkgfm.markdown_to_html_with_extensions,
        options=Options.CMARK_OPT_HARDBREAKS | Options.CMARK_OPT_STRIKETHROUGH_DOUBLE_TILDE,
        extensions=["table", "strikethrough"],
    )


@functools.lru_cache(maxsize=None)
def aliases() -> frozenset[str]:
    """The names of languages that Pygments knows by itself."""
    from pygments.lexers import get_all_lexers

    return frozenset(alias for _, names, _, _ in get_all_lexers(plugins=False) for alias in names)


@functools.lru_cache(maxsize=64)
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


def highlighted(code: str, language: str) -> str:
    """The HTML of code: elements of the classes c(omment), k(eyword), s(tring), m (number), n(ame) and d(eleted).

    >>> highlighted("x = 1", "python")
    'x = <span class="m">1</span>'
    """
    pieces, last, held = [], "", ""
    for kind, text in _lexer(language).get_tokens(code):
        family = family_of(kind)
        if family != last:
            pieces.append(_element(last, held))
            last, held = family, ""
        held += text
    return "".join([*pieces, _element(last, held)])


def _element(family: str, text: str) -> str:
    escaped = html.escape(text, quote=False)
    return f'<span class="{family}">{escaped}</span>' if family else escaped


@functools.lru_cache(maxsize=None)
def family_of(kind: Any) -> str:
    """The class of a kind of token; empty if it has no color."""
    from pygments.token import STANDARD_TYPES

    while kind not in STANDARD_TYPES:
        kind = kind.parent
    short = STANDARD_TYPES[kind]
    return FAMILIES.get(short) or FAMILIES.get(short[:1], "")


# The packages


def katex() -> str | None:
    """The code of KaTeX, from a package whose Python is not run; None without it."""
    try:
        file = metadata.distribution(LATEX).locate_file(KATEX_FILE)
        with open(str(file), encoding="utf-8", newline="\n") as opened:
            return opened.read()
    except (metadata.PackageNotFoundError, OSError):
        return None


def missing_packages() -> str | None:
    """One line that says what is shown as it is written, and what to install; None if nothing is missing."""
    parts = {"Markdown": MARKDOWN, "colors of code": CODE}
    missing = {part: package for part, package in parts.items() if importlib.util.find_spec(package) is None}
    commands = []
    if missing:
        wanted = [f'"{one}"' for one in EXTRAS["report"] if one.startswith(tuple(missing.values()))]
        commands.append(f"pip install {' '.join(wanted)}")
    if katex() is None:
        missing["LaTeX"] = LATEX
        commands.append(f'pip install --no-deps "{KATEX_VERSION}"')
    if not missing:
        return None
    return f"Without {' and '.join(missing.values())}, {' and '.join(missing)} cannot be drawn: {' && '.join(commands)}"
