"""The report in a browser: texts that are drawn, questions, links, keys, two side by side, saving, and comparisons."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, List

from common.results.comparison_page import write_comparison
from common.results.markup import missing_packages
from tests.browser import Page
from tests.results.test_markup import hide_katex
from tests.results.test_report import count, data_of, in_browser, quiet, record, report, scored, shown, words_of

HOSTILE_MARKDOWN = [
    "<script>window.hacked=1</script>\n\n<img src=x onerror=window.hacked=1><svg onload=window.hacked=1>",
    "[a](javascript:window.hacked=1) [b](JaVaScRiPt&colon;window.hacked=1) [c](data:text/html,<script>1</script>)",
    "![x](http://127.0.0.1:9/x.png) <http://127.0.0.1:9/> [d]\n\n[d]: vbscript:window.hacked=1",
    '```"><script>window.hacked=1</script>\n<b onclick=1>\n```\n\n`<iframe srcdoc="<script>window.hacked=1</script>">`',
    r"$\href{javascript:window.hacked=1}{x}$ $\htmlData{onclick=1}{x}$ $\text{<img src=x onerror=window.hacked=1>}$",
    r"$$\def\a{\a\a}\a$$ \[ \includegraphics{http://127.0.0.1:9/x.png} \] $\rule{9999em}{9999em}$",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=window.hacked=1>",
    "> " * 500 + "deep\n" + "[" * 3000 + "*" * 3000,
]
DRAWN = r"""## Steps

1. **First**, $x^2$ and \(\frac{1}{2}\): it costs $5 and $6.

$$
\sum_i x_i = 4
$$

| a | b |
|---|---|
| 1 | 2 |

```python
def f(x): return x
```

\[ y \] $\unknown{x$"""


async def open_first(page: Page, file: Path, address: str = "") -> None:
    """Opens the page, and its first candidate unless the address names one."""
    await page.size(1280)
    await page.open(file.as_uri() + address)
    if not address:
        await page.run("document.querySelector('.row > button').click()")


async def texts(page: Page, selector: str) -> List[str]:
    found: List[str] = await page.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)"
    )
    return found


async def choose(page: Page, name: str, value: str, event: str) -> None:
    """Sets a field as a person does."""
    field = f"document.getElementById('{name}')"
    await page.run(f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('{event}'))")


async def press(page: Page, *keys: str) -> None:
    for key in keys:
        await page.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        await page.send("Input.dispatchKeyEvent", type="keyUp", key=key)


def test_markdown_latex_and_code_are_drawn_and_nothing_in_them_runs(tmp_path: Path) -> None:
    details = [{"judge_reply": text, "reasoning": text} for text in [DRAWN, *HOSTILE_MARKDOWN]]
    page_file = report(tmp_path, [record(0, [DRAWN, *HOSTILE_MARKDOWN], [9] * 9, details)])

    async def look(page: Page) -> None:
        await open_first(page, page_file)
        answer = "document.querySelector('.text.answer')"
        drawn = {"h2": 1, "li strong": 1, "math": 4, "td": 2, "pre .k": 2, "code.latex": 1, "math msup": 1}
        for selector, number in drawn.items():
            assert (selector, await page.run(f"{answer}.querySelectorAll({json.dumps(selector)}).length")) == (
                selector,
                number,
            )
        assert "$5 and $6" in await page.run(f"{answer}.textContent")
        await page.run("document.getElementById('raw').click()")
        assert await page.run(f"{answer}.textContent") == DRAWN
        assert "raw=1" in await page.run("location.hash")
        await page.run("document.getElementById('raw').click()")
        await page.run("[...document.querySelectorAll('.row > button')].slice(1).forEach((one) => one.click())")
        assert await count(page, ".more script, .more iframe, .more img, .more svg, .more style, .more form") == 0
        links = await page.run("[...document.querySelectorAll('.text a')].map((one) => one.protocol + one.rel)")
        assert set(links) == {"http:noopener noreferrer nofollow"}
        attributes = await page.run(
            "[...document.querySelectorAll('.more *')].flatMap((one) => one.getAttributeNames())"
        )
        assert [name for name in attributes if name.startswith("on")] == []
        assert await page.run("typeof window.hacked") == "undefined"
        await quiet(page)

    in_browser(tmp_path, look)


def test_without_katex_latex_stays_as_it_is_written(tmp_path: Path, monkeypatch: Any) -> None:
    hide_katex(monkeypatch)
    page_file = report(tmp_path, [record(0, ["*a* $x^2$ <b>"], [9])])

    async def look(page: Page) -> None:
        await open_first(page, page_file)
        assert await texts(page, ".text.answer") == ["a $x^2$ <b>"]
        assert await texts(page, "header .note:not([hidden])") == [missing_packages()]
        await quiet(page)

    in_browser(tmp_path, look)


def test_questions_links_keys_and_saving(tmp_path: Path) -> None:
    entries = [scored(n, [10 if place < n % 4 else place for place in range(3)]) for n in range(40)]
    page_file = report(tmp_path, entries)
    name = data_of(page_file, "columns")[0]["ids"][7] + ".2"

    async def look(page: Page) -> None:
        await page.size(1280)
        await page.open(page_file.as_uri())
        assert await texts(page, "#asked b") == ["0 of 3"] * 10
        await choose(page, "which", "none", "change")
        await page.until("document.getElementById('asked-count').textContent === '10 of 40 questions'")
        assert "which=none" in await page.run("location.hash")
        await page.run("document.querySelector('#asked .question').click()")
        await page.until("document.querySelectorAll('#rows .row').length === 3")
        await page.run("document.querySelector('#only button').click()")
        await page.until("document.querySelectorAll('#rows .row').length === 25")
        await press(page, *"jjkjo")
        current = "[...document.querySelectorAll('#rows .row')].indexOf(document.activeElement.closest('.row'))"
        assert await page.run(current) == 1
        assert "at=" in await page.run("location.hash")
        await press(page, *"cjc")
        await page.until("document.getElementById('pair').open && document.querySelectorAll('.pane').length === 2")
        assert "pair=" in await page.run("location.hash")
        await page.run("document.getElementById('pair-close').click()")
        keep = "(blob) => { blob.text().then((text) => kept.push(text)); return 'data:,'; }"
        await page.run(f"window.kept = []; URL.createObjectURL = {keep}")
        await choose(page, "from", "10", "input")
        await page.until("/^60 of/.test(document.getElementById('count').textContent)")
        await page.run("HTMLAnchorElement.prototype.click = () => 0; document.getElementById('save').click()")
        await page.until("kept.length === 1")
        saved: List[Any] = [json.loads(line) for line in (await page.run("kept[0]")).splitlines()]
        assert [one["score"] for one in saved] == [10] * 60
        assert saved[0]["entry_id"] == f"{1:032x}"
        assert saved[0]["answer"] == "answer 0 "
        await page.run(f"location.hash = '#at={name}'")
        await page.until("document.querySelectorAll('#rows .row').length > 20 && document.querySelector('.more')")
        assert await texts(page, "#rows .row:has(.more) .score") == ["10"]
        assert "Answer 2" in (await texts(page, ".more"))[0]
        await page.run("location.hash = '#show=accepted&order=worst&from=10'")
        await page.until("!document.querySelector('.more')")
        assert set(await shown(page)) == {"10"}
        assert await page.run("document.getElementById('order').value") == "worst"
        await quiet(page)

    in_browser(tmp_path, look)


def test_the_page_says_how_the_output_was_made_and_what_the_rules_read(tmp_path: Path) -> None:
    usage = {"usage": {"prompt_tokens": 11, "completion_tokens": 5}, "judge_usage": {"prompt_tokens": 70}}
    settings = {"generator model": "small-model", "generator top_p": None, "scorer scorer": "match", "max_tokens": 64}
    (tmp_path / "out.jsonl.settings.json").write_text(json.dumps(settings))
    os.utime(tmp_path / "out.jsonl.settings.json", (60, 60))
    page = report(tmp_path, [record(0, ["It is 4.", "5"], [10, 0], [usage, usage])], read_answer=lambda text: text[-2:])
    words = words_of(page)
    for fact in (
        "begun 1970-01-01 00:01 UTC last written",
        "model small-model",
        "largest max tokens 64",
        "scorer match",
        "prompt tokens 22 completion tokens 10",
    ):
        assert fact in words
    assert "prompt tokens 140 completion tokens 0" in words
    assert "top p" not in words
    assert [answer["read"] for answer in data_of(page, "chunk")[0][0]["answers"]] == ["4.", "5"]


def test_two_judges_of_the_same_answers_are_compared(tmp_path: Path) -> None:
    page = compared(tmp_path, [scored(0, [10, 8, 0, 1]), scored(1, [10, 0])], [scored(0, [9, 2, 0, 2]), scored(2, [1])])
    words = words_of(page)
    assert "75 % of 4 answers" in words.replace("\u202f", " ")
    assert "kappa, which takes the agreement by chance away, is 0.50" in words
    assert "1 questions are in both (A has 2, B has 2)" in words
    largest = data_of(page, "answers")[0]
    assert [(one["size"], [side["score"] for side in one["sides"]]) for one in largest] == [
        (0.6, [8, 2]),
        (0.1, [10, 9]),
        (0.1, [1, 2]),
    ]
    assert data_of(page, "charts")[0]["grid"]["labels"] == [["0", "1", "8", "10"], ["0", "2", "9"]]

    async def look(browser_page: Page) -> None:
        await open_first(browser_page, page)
        assert await texts(browser_page, ".pane h2") == ["A: score 8 accepted", "B: score 2 "]
        for width, dark in ((1280, False), (800, True), (390, True)):
            await browser_page.size(width, dark=dark)
            await browser_page.until(f"document.documentElement.scrollWidth === {width}")  # once the charts follow
        await quiet(browser_page)

    in_browser(tmp_path, look)


def test_two_models_are_compared_question_by_question(tmp_path: Path) -> None:
    other = [{**scored(n, [0, 10 * (n % 2)]), "generated_answers": ["x", f"y{n}"]} for n in range(4)]
    page = compared(tmp_path, [scored(n, [10, 10]) for n in range(4)], other)
    words = words_of(page)
    assert "no scored answer in common" in words
    assert "50 % of 4 questions" in words.replace("\u202f", " ")
    assert "4 / 0 questions go better in A / in B" in words
    assert [one["rates"] for one in data_of(page, "questions")[0]] == [[[2, 2], [0, 2]]] * 2 + [[[2, 2], [1, 2]]] * 2


def compared(folder: Path, first: List[Any], second: List[Any]) -> Path:
    """The page that compares two outputs of these records."""
    paths = [folder / "a.jsonl", folder / "b.jsonl"]
    for path, records in zip(paths, (first, second)):
        path.write_text("".join(json.dumps(one) + "\n" for one in records) + '{"torn": ')
    page = folder / "compared.html"
    write_comparison(str(page), [str(path) for path in paths], [(0, 10), (0, 10)], [8, 8], "report")
    assert "The last line of A is still being written" in words_of(page)
    return page
