"""Texts of models as HTML: what is drawn, what stays text, what is missing, and that no text takes long."""

from __future__ import annotations

import re
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from common.results.latex import cut_latex, put_back
from common.results.markup import LATEX, LONGEST_CODE, Markup, missing_packages
from tests.results.test_report import data_of, record, report, words_of


def hide_katex(monkeypatch: Any) -> None:
    """Makes the package with KaTeX look missing."""
    find = metadata.distribution

    def find_others(name: str) -> Any:
        if name == LATEX:
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", find_others)


def test_latex_is_cut_out_and_comes_back_as_it_was() -> None:
    formulas = [
        "$x_1 * y_1$",
        "$$\na_1 * b\n$$",
        r"\(a < b\)",
        r"\[ c \& d \]",
        r"\boxed{\frac{1}{2}}",
        "$4$",
        r"$\$5$",
    ]
    formulas += [r"\begin{align*} a &= b \\ c &= d \end{align*}"]
    text = " and ".join(formulas)
    cut = cut_latex(text)
    assert cut.formulas == formulas
    assert put_back(cut.text, cut).count('<span class="latex') == len(formulas)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $6.",
        "$5, `$`, $6 `$x$`",
        r"\$x\$ and \\(y\\)",
        "`$x$` and ``$`$``",
        "```\n$x$\n``\n$y$\n```",
        "~~~ tex\n$x$ ```\n~~~",
        "> - ```\n>   $x$\n>   ```",
        "```\n$x$ and no end",
        "$x\n\ny$",
        "$ x$ $",
        "$$$$ $",
        "$" + "x" * 3000 + "$",
        r"\boxed{ \begin{a} \[ \(",
    ],
)
def test_what_is_no_latex_stays(text: str) -> None:
    assert cut_latex(text) == (text, [])


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("*<b>a</b>* <script>1</script>", "<p><em>&lt;b&gt;a&lt;/b&gt;</em> &lt;script&gt;1&lt;/script&gt;</p>"),
        ("`<b>` and\n\n    <i>", "<p><code>&lt;b&gt;</code> and</p>\n<pre><code>&lt;i&gt;\n</code></pre>"),
        ("<div>\n\n**a**\n</div>", "<p>&lt;div&gt;</p>\n<p><strong>a</strong><br />\n&lt;/div&gt;</p>"),
        ("[a](javascript:x) [b](JaVaScRiPt&colon;x)", '<p><a href="">a</a> <a href="">b</a></p>'),
        ("![a](http://h/x.png)", '<p>!<a href="http://h/x.png">a</a></p>'),
        ("[a](http://h/<$x_1$>!)", '<p><a href="http://h/%3C%24x_1%24%3E!">a</a></p>'),
        ("<http://h/?a=1&b=2>", '<p><a href="http://h/?a=1&amp;b=2">http://h/?a=1&amp;b=2</a></p>'),
        ("*a* $<b>$", '<p><em>a</em> <span class="latex">$&lt;b&gt;$</span></p>'),
        ("a\n$$b$$\nc", '<p>a\n<span class="latex display">$$b$$</span>\nc</p>'),
        ("\ue0f00\ue0f2 *\ud800* $x$", '<p>\ufffd0\ufffd <em>\ufffd</em> <span class="latex">$x$</span></p>'),
        ("about ~5 or ~6", None),
        ('it\'s "plain" & <simple>', None),
        ("", None),
        (" \n\t", None),
    ],
)
def test_markdown_is_drawn_and_html_is_text(text: str, page: str | None) -> None:
    assert Markup().drawn(text) == page


def test_code_has_colors_up_to_a_limit() -> None:
    markup = Markup()
    fence = "```python\nif x: return '<b>'  # y\n```"
    assert markup.drawn(fence) == (
        '<pre><code><span class="k">if</span> x: <span class="k">return</span> '
        '<span class="s">\'&lt;b&gt;\'</span>  <span class="c"># y</span>\n</code></pre>'
    )
    for unknown in ("```nolanguage\nx\n```", "```\nx\n```", '```"onclick=1\nx\n```'):
        assert "<span" not in (markup.drawn(unknown) or "")
    long = "x = 1\n" * (LONGEST_CODE // 6)
    assert "<span" not in (markup.drawn(f"```python\n{long}x = 1\n```") or "")
    markup = Markup(2 * len(long))
    assert ["<span" in (markup.drawn(f"```python\n{long}```") or "") for _ in range(3)] == [True, True, False]


def test_markdown_is_drawn_up_to_a_limit_and_latex_after_it() -> None:
    markup = Markup(most_markdown=10)
    asis = '<div class="asis">*a* <span class="latex">$x$</span></div>'
    assert [markup.drawn("*a* *b*"), markup.drawn("*a* *b*")] == ["<p><em>a</em> <em>b</em></p>", None]
    assert markup.drawn("*a* $x$") == asis


def test_a_text_that_repeats_any_sign_takes_about_as_long_as_plain_text() -> None:
    def seconds(text: str) -> float:
        begun = time.process_time()
        Markup().drawn(text)
        return time.process_time() - begun

    plain = min(seconds("some *words* of $text$, and `code`. " * 550) for _ in range(3))
    signs = ["$5 ", "$a ", "`", "` `` ", ">", "> ", "[", "*a ", "```\n", r"\boxed{", r"\begin{a}", " ", "- ", "$$"]
    for sign in [*signs, r"\(", "<", "|a", "[a](b", "![", "$a\n \t", "~~~ ```\n", "1. ", "&lt;", "\\"]:
        text = (sign * 20_000)[:20_000]
        assert min(seconds(text) for _ in range(2)) < 100 * plain, sign


def test_without_the_packages_the_page_shows_texts_as_they_are(tmp_path: Path, monkeypatch: Any) -> None:
    assert missing_packages() is None

    text = "**a** $x$\n```python\nx = 1\n```"
    hide_katex(monkeypatch)
    monkeypatch.setitem(sys.modules, "pygments", None)
    assert "<strong>a</strong>" in (Markup().drawn(text) or "")
    assert '<span class="m">' not in (Markup().drawn(text) or "")
    monkeypatch.setitem(sys.modules, "cmarkgfm", None)
    page = report(tmp_path, [record(0, [text, "a"], [9, 1])])
    assert data_of(page, "chunk")[0][0]["answers"][0]["text"] == text
    note = words_of(page)[:2000]
    missing = (
        "Without cmarkgfm and pygments and sphinxcontrib-katex, Markdown and colors of code and LaTeX cannot be drawn"
    )
    assert re.search(f"{missing}: pip install .*cmarkgfm.*pygments.* pip install --no-deps .*{LATEX}", note)
