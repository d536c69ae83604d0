"""The report: its numbers against brute force, and the page itself in a real Chromium."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import struct
import sys
import zlib
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any, Sequence

import pytest

from common.errors import RunStopped, UsageError
from common.records import NOT_NEEDED
from common.results.page import require_packages
from common.results.report import write_report
from common.results.selection import Selection
from tests.browser import Page, browser

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "<!-- <script> \u2028 \u2029 ]]> \ud800 \u202e",
    "javascript:window.hacked=1",
    "${window.hacked=1}`'\"&lt;",
]


GIVEN: Any = {"errors_file": None, "image_root": None, "score_range": (0, 10), "script": "reject.py"}


def record(
    number: int,
    texts: Sequence[str],
    scores: Sequence[Any],
    details: list[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One output line."""
    turns = [{"from": "human", "value": f"question {number}?"}, {"from": "gpt", "value": "the reference"}]
    return {
        "original_question": f"question {number}?",
        "original_answers": turns,
        "generated_answers": list(texts),
        "generated_scores": list(scores),
        "generated_details": details or [{"finish_reason": "stop"} for _ in texts],
        **more,
        "entry_id": f"{number:032x}",
    }


def scored(number: int, scores: Sequence[Any], **more: Any) -> dict[str, Any]:
    """A record of answers that all differ."""
    return record(number, [f"answer {place} " + "x" * place for place in range(len(scores))], scores, **more)


def report(
    folder: Path, records: Sequence[Any], selection: Selection | None = None, errors: Sequence[Any] = (), **more: Any
) -> Path:
    """The page of an output of these records."""
    output, page, failed = folder / "out.jsonl", folder / "report.html", folder / "errors.jsonl"
    output.write_text("".join(json.dumps(one) + "\n" for one in records))
    failed.write_text("".join(json.dumps(one) + "\n" for one in errors))
    given = {"errors_file": str(failed), "image_root": None, "score_range": (0, 10), "script": "reject.py", **more}
    write_report(str(page), str(output), selection or Selection(accept_score=8), **given)
    return page


def data_of(page: Path, name: str) -> list[Any]:
    """The packed data of a page under a name."""
    packed = re.findall(rf'<script type="text/plain" data-of="{name}">([^<]*)</script>', page.read_text("utf-8"))
    return [json.loads(zlib.decompress(base64.b64decode(one))) for one in packed]


def words_of(page: Path) -> str:
    """The page's own words, without markup and data."""
    head = page.read_text("utf-8").split("<body>")[1].split('<script type="text/plain"')[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", head))


def png(width: int, height: int) -> bytes:
    """A grey PNG."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", pixels) + piece(b"IEND", b"")


# The numbers


def test_the_curves_are_the_mean_over_all_subsets_of_each_entry(tmp_path):
    entries = [[1, 9, 4, 10], [0, 0, 8, 3], [2, 2, 2, 2], [9, 9, 10, 8]]
    curves = data_of(report(tmp_path, [scored(n, one) for n, one in enumerate(entries)]), "charts")[0]["curves"]
    assert curves["k"] == [1, 2, 3, 4]
    for place, k in enumerate(curves["k"]):
        passed = mean(mean(max(subset) >= 8 for subset in combinations(one, k)) for one in entries)
        best = mean(mean(max(subset) for subset in combinations(one, k)) for one in entries)
        assert curves["pass"][place][0] == pytest.approx(passed)
        assert curves["best"][place][0] == pytest.approx(best)


def test_without_an_accepted_score_the_top_of_the_range_counts(tmp_path):
    page = report(tmp_path, [scored(0, [9, 10]), scored(1, [9, 9])], Selection())
    assert [value[0] for value in data_of(page, "charts")[0]["curves"]["pass"]] == pytest.approx([0.25, 0.5])


def test_an_answer_without_a_score_is_a_sample_that_was_not_accepted(tmp_path):
    page = report(tmp_path, [scored(n, [10, None]) for n in range(4)])
    curves = data_of(page, "charts")[0]["curves"]
    assert [value[0] for value in curves["pass"]] == pytest.approx([0.5, 1])
    assert [value[0] for value in curves["best"]] == pytest.approx([5, 10])


def test_every_step_of_a_curve_is_over_the_same_entries(tmp_path):
    easy_and_short = [scored(n, [10]) for n in range(4)]
    page = report(tmp_path, easy_and_short + [scored(n, [0, 0, 10]) for n in range(4, 10)])
    curves = data_of(page, "charts")[0]["curves"]
    assert [value[0] for value in curves["pass"]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert "Over 6 questions with at least 3 answers" in words_of(page)


def test_once_entries_were_stopped_answers_count_in_the_order_sampled(tmp_path):
    stopped = [scored(n, [0, 10], stopped_by="stop_after") for n in range(5)]
    given_up = [scored(n, [0, 0, 0], stopped_by="give_up_after") for n in range(5, 8)]
    page = report(tmp_path, [*stopped, *given_up, scored(8, [0, 0, 0, 10]), scored(9, [0, 0, 0, 0])])
    curves = data_of(page, "charts")[0]["curves"]
    assert curves["running"]
    assert [value[0] for value in curves["pass"]] == pytest.approx([0, 0.5, 0.5, 0.6])
    assert "5 by stop_after, 3 by give_up_after" in words_of(page)


def test_an_entry_whose_last_answers_needed_no_score_is_a_stopped_one(tmp_path):
    details = [{}, {"unscored": NOT_NEEDED}]
    entries = [scored(0, [10, None], details=details), scored(1, [0, 0])]
    curves = data_of(report(tmp_path, entries), "charts")[0]["curves"]
    assert [value[0] for value in curves["pass"]] == pytest.approx([0.5, 0.5])


def test_the_funnel_counts_what_is_left_at_each_step(tmp_path):
    usage = [{"usage": {"completion_tokens": 10}, "judge_usage": {"prompt_tokens": 100, "completion_tokens": 5}}] * 3
    usage = [*usage, {"finish_reason": "length", "usage": {"completion_tokens": 10}}]
    entries = [
        record(0, ["good", " GOOD ", "bad", "cut"], [9, 9, 1, 10], usage),
        record(1, ["bad"], [2]),
        record(2, ["mute"], [None], [{"unscored": "why not"}]),
    ]
    page = report(tmp_path, entries, errors=[{"stage": "sample", "status": 400, "error": "too long"}])
    words = words_of(page)
    for row in (
        "Asked 4 100",
        "Answered 3 75 % 6 40 generated",
        "Scored 2 50 % 5 315 judging",
        "Accepted 1 25 % 1 10 generated",
        "Selected 1 25 % 1 rows 10 generated",
    ):
        assert row in words.replace("  ", " ")
    assert "1 sample 400 too long" in words
    assert "1 why not" in words


def test_no_more_rows_are_counted_than_the_selected_file_may_have(tmp_path):
    page = report(tmp_path, [scored(number, [9, 8]) for number in range(3)], Selection("top_k", top_k=2), most_rows=3)
    assert "Selected 2 67 % 3 rows" in words_of(page).replace("  ", " ")


def test_tokens_of_a_shared_request_are_split_by_length_and_marked(tmp_path):
    shared = [{"usage": {"completion_tokens": 90}}, {}, {"usage": {"completion_tokens": 7}}]
    words = words_of(report(tmp_path, [record(0, ["x" * 200, "y" * 100, "z"], [1, 9, 2], shared)]))
    assert "\u2248 30 generated" in words
    assert "97 generated" in words
    assert "1 request brought several answers" in words


def test_a_judge_that_pays_for_length_is_named_and_one_that_does_not_is_not(tmp_path):
    def words(scores):
        entries = [record(n, ["x" * size for size in (10, 20, 40, 80)], scores(n)) for n in range(40)]
        return words_of(report(tmp_path, entries))

    assert "seems to reward length" in words(lambda n: [1, 2, 3, 4])
    assert "no sign that the scorer rewards length" in words(lambda n: [[1, 2, 3, 4], [4, 3, 2, 1]][n % 2])


def test_pairs_compare_the_length_of_the_chosen_with_the_rejected(tmp_path):
    page = report(tmp_path, [record(0, ["x" * 200, "y" * 100], [9, 1])], Selection("dpo"))
    assert data_of(page, "charts")[0]["ratios"] == [[2.0, 1]]
    assert "1 chosen answers 100 % are longer" in words_of(page)


def test_failures_of_one_kind_count_together_and_show_one_of_them(tmp_path):
    errors = [{"stage": "score", "status": 400, "error": f"http://host:{n}/v1: {n} tokens"} for n in range(50)]
    words = words_of(report(tmp_path, [scored(0, [1])], errors=errors))
    assert "50 score 400 http://host:0/v1: 0 tokens" in words


# Files


def test_the_same_output_gives_the_same_bytes(tmp_path):
    entries = [scored(n, [n % 11, (n * 7) % 11, None]) for n in range(300)]
    pages = []
    for _ in range(2):
        page = report(tmp_path, entries)
        os.utime(tmp_path / "out.jsonl", (0, 0))  # the page says when the output was last written
        write_report(str(page), str(tmp_path / "out.jsonl"), Selection(), **GIVEN)
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]
    assert b"1970-01-01 00:00 UTC" in pages[0]


def test_a_line_still_being_written_is_left_out_and_named(tmp_path):
    report(tmp_path, [scored(0, [9])])
    with open(tmp_path / "out.jsonl", "a") as file:
        file.write('{"original_question": "quest')
    page = tmp_path / "report.html"
    given = {"errors_file": None, "image_root": None, "score_range": (0, 10), "script": "reject.py"}
    write_report(str(page), str(tmp_path / "out.jsonl"), Selection(), **given)
    assert "still being written" in words_of(page)
    assert data_of(page, "columns")[0]["scores"] == [9]


def test_a_damaged_line_keeps_the_last_page(tmp_path):
    page = report(tmp_path, [scored(0, [9])])
    before = page.read_bytes()
    for damaged in ('{"torn": \n{}\n', "[1]\n", '{"no": "answers"}\n', "[" * 100_000 + "\n"):
        (tmp_path / "out.jsonl").write_text(json.dumps(scored(0, [9])) + "\n" + damaged)
        with pytest.raises(RunStopped, match="line 2 is not a record"):
            write_report(
                str(page),
                str(tmp_path / "out.jsonl"),
                Selection(),
                errors_file=None,
                image_root=None,
                score_range=(0, 10),
                script="x",
            )
    assert page.read_bytes() == before


def test_what_cannot_be_read_or_written_is_one_line(tmp_path, monkeypatch):
    given = {"errors_file": None, "image_root": None, "score_range": (0, 10), "script": "reject.py"}
    with pytest.raises(UsageError, match=r"no output .*nothing\.jsonl"):
        write_report(str(tmp_path / "page.html"), str(tmp_path / "nothing.jsonl"), Selection(), **given)
    report(tmp_path, [scored(0, [9])])
    with pytest.raises(RunStopped, match="cannot write"):
        write_report(str(tmp_path / "no" / "page.html"), str(tmp_path / "out.jsonl"), Selection(), **given)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(UsageError, match=r"--report_file needs the package plotly: pip install .*plotly.*jinja2"):
        require_packages()


def test_outputs_of_other_tools_are_shown_too(tmp_path):
    odd = [
        {"original_question": "q", "original_answers": ["the reference"], "generated_answers": ["a"], "entry_id": "1"},
        {"original_question": None, "original_answers": None, "generated_answers": [None, 3, "b"], "entry_id": None},
        {**scored(2, [True, float("nan"), "9", 10**400]), "generated_details": [None]},
        {
            **scored(3, [9]),
            "generated_details": [{"usage": 5, "probabilities": [1], "judge_samples": {}, "spread": "x"}],
        },
        {**scored(4, [5, -3, 400]), "images": [None, 7], "stopped_by": 1},
        {**scored(5, []), "generated_scores": None},
    ]
    page = report(tmp_path, odd)
    assert data_of(page, "columns")[0]["scores"] == [None] * 8 + [9, 5, -3, 400]
    assert data_of(page, "chunk")[0][0]["reference"] == "the reference"


@pytest.mark.parametrize(
    "records", [[], [{**record(0, ["a"], []), "generated_scores": None}]], ids=["empty", "sampled"]
)
def test_an_output_without_scores_says_so(tmp_path, records):
    words = words_of(report(tmp_path, records))
    assert "no record yet" in words or "Nothing is scored yet" in words


def test_images_are_embedded_from_disk_alone_and_up_to_a_limit(tmp_path):
    (tmp_path / "small.png").write_bytes(png(4, 4))
    (tmp_path / "huge.png").write_bytes(png(1, 1) + bytes(21 << 20))
    names = ["small.png", "huge.png", "https://example.com/far.png", "gone.png", "data:text/html,<b>"]
    page = report(tmp_path, [scored(0, [9], images=names)], image_root=str(tmp_path))
    shown = data_of(page, "chunk")[0][0]["images"]
    assert [bool(url) for _, url in shown] == [True, False, False, False, False]
    assert base64.b64decode(shown[0][1].partition(",")[2]) == png(4, 4)
    assert "3 images shown by name" in words_of(page)


def test_only_the_scripts_of_the_page_itself_may_run(tmp_path):
    page = report(tmp_path, [record(0, HOSTILE, range(5))])
    text = page.read_text("utf-8")
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[0]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    code = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(code) == 1
    packed = re.findall(r'data-of="library">([^<]*)<', text)
    allowed = [code[0].encode(), *(zlib.decompress(base64.b64decode(library)) for library in packed)]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one).digest()).decode()}'" for one in allowed]
    assert rules["script-src"].split() == hashes


# In a browser


def in_browser(folder: Path, look: Any) -> None:
    """Runs ``look(page)`` with a browser's page."""

    async def main() -> None:
        async with browser(folder) as page:
            await look(page)

    asyncio.run(main())


async def quiet(page: Page) -> None:
    """Nothing was fetched, nothing thrown, refused or logged."""
    assert {url.partition(":")[0] for url in page.requests()} <= {"file", "data"}
    assert page.complaints() == []


async def count(page: Page, selector: str) -> int:
    found: int = await page.run(f"document.querySelectorAll({json.dumps(selector)}).length")
    return found


async def choose_in(page: Page, name: str, value: str, event: str = "change") -> None:
    """Sets a field as a person does, and waits for the page to answer."""
    before = "document.getElementById('rows').firstChild.was = 1"
    change = f"(() => {{ const f = document.getElementById('{name}'); f.value = {json.dumps(value)};"
    await page.run(f"{before}; {change} f.dispatchEvent(new Event('{event}', {{bubbles: true}})); }})()")
    await page.until("!document.getElementById('rows').firstChild.was")


async def shown(page: Page, what: str = ".score") -> list[str]:
    texts: list[str] = await page.run(
        f"[...document.querySelectorAll('#rows {what}')].map((one) => one.firstChild.textContent)"
    )
    return texts


def test_hostile_text_is_only_text_and_nothing_is_fetched_at_any_width(tmp_path):
    (tmp_path / "small.png").write_bytes(png(4, 4))
    details = [{"judge_reply": text, "reasoning": text, "scorer": text, "finish_reason": text} for text in HOSTILE]
    details[0].update(unscored=HOSTILE[0], judge_samples=[{"score": 1, "reply": text} for text in HOSTILE])
    details[1].update(spread=0.5, probabilities={HOSTILE[0]: 0.5, "7": 0.5})
    turns = [{"from": "system", "value": HOSTILE[1]}, *({"from": "human", "value": text} for text in HOSTILE[:2])]
    images = [HOSTILE[0], "small.png", "http://127.0.0.1:9/x.png", "data:text/html,<script>window.hacked=1</script>"]
    entries = [
        {**record(n, HOSTILE, [None, 9, 8, 7, 10], details, images=images), "original_answers": turns, "entry_id": text}
        for n, text in enumerate(HOSTILE[:2])
    ]
    errors = [{"stage": text, "status": text, "error": text} for text in HOSTILE]
    page_file = report(tmp_path, entries, errors=errors, image_root=str(tmp_path), script=HOSTILE[0])

    async def look(page: Page) -> None:
        for width, dark in ((1280, False), (390, True)):
            await page.size(width, dark=dark)
            await page.open(page_file.as_uri())
            await page.run("document.querySelectorAll('.row > button').forEach((one) => one.click())")
            await page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert await count(page, ".more") == 10
            assert await count(page, "#rows img") == 10
            assert await count(page, "main script, .more b b, [onerror]") == 0
            assert HOSTILE[0] in await page.run("document.querySelector('.text.answer').textContent")
            assert await count(page, ".chart .main-svg") >= 5
            assert await page.run("document.documentElement.scrollWidth") == width
            assert await page.run("typeof window.hacked") == "undefined"
        await quiet(page)
        blocked = "addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective))"
        for attempt, rule in (
            ("fetch('http://127.0.0.1:9/').catch(() => 0)", "connect-src"),
            ("new Image().src = 'http://127.0.0.1:9/x.png'", "img-src"),
            ("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))", "script-src-elem"),
        ):
            assert await page.run(f"new Promise((done) => {{ {blocked}; {attempt} }})") == rule

    in_browser(tmp_path, look)


def test_filters_orders_and_pages_show_what_they_say(tmp_path):
    entries = [scored(n, [n % 11, 10 - n % 11, None]) for n in range(40)]
    entries[7] = record(7, ["a needle here", "b"], [3, 4], [{"finish_reason": "length"}, {}])
    page_file = report(tmp_path, entries)

    async def look(page: Page) -> None:
        await page.size(1280)
        await page.open(page_file.as_uri())
        assert len(await shown(page)) == 25
        assert (await shown(page))[:6] == ["0", "10", "none", "1", "9", "none"]
        await choose_in(page, "order", "best")
        assert (await shown(page))[:8] == ["10"] * 7 + ["9"]
        assert await page.run("document.getElementById('back').disabled")
        await page.run("document.getElementById('last').click()")
        await page.until("document.getElementById('rows').dataset.page === '5'")
        assert (await shown(page))[-1] == "none"
        await choose_in(page, "page", "2")
        assert await page.run("document.getElementById('rows').dataset.page") == "2"
        await choose_in(page, "order", "worst")
        assert (await shown(page))[0] == "0"
        await choose_in(page, "from", "3", "input")
        await choose_in(page, "to", "4", "input")
        assert set(await shown(page)) == {"3", "4"}
        await choose_in(page, "show", "cut")
        assert await shown(page) == ["3"]
        await choose_in(page, "show", "unscored")
        assert await count(page, "#rows .empty") == 1
        await choose_in(page, "from", "", "input")
        await choose_in(page, "to", "", "input")
        assert set(await shown(page)) == {"none"}
        await choose_in(page, "show", "selected")
        assert await page.run(
            "document.querySelectorAll('.row').length === document.querySelectorAll('.tag.selected').length"
        )
        await choose_in(page, "show", "all")
        await choose_in(page, "search", "NEEDLE", "input")
        assert await shown(page, ".row .words") == ["a needle here"]
        await choose_in(page, "search", "question 12?", "input")
        assert len(await shown(page)) == 3
        await page.run("document.querySelector('.row > button').click()")
        await page.run("document.querySelectorAll('.others button')[1].click()")
        assert "Answer 2" in await page.run("document.querySelector('.more').textContent")
        await quiet(page)

    in_browser(tmp_path, look)


def test_a_hundred_thousand_candidates_are_paged_with_few_nodes_and_more_are_named(tmp_path):
    texts = [f"answer {place}" for place in range(20)]
    entries = [record(n, texts, [(n + place) % 11 for place in range(20)]) for n in range(5001)]
    entries[4999]["generated_answers"] = [*texts[:19], "the needle"]
    page_file = report(tmp_path, entries)
    assert "The first 100,000 of 100,020 candidates" in words_of(page_file)

    async def look(page: Page) -> None:
        await page.size(390)
        await page.open(page_file.as_uri())
        nodes = await count(page, "*")
        assert await page.run("document.getElementById('pages').textContent") == "4,000"
        await page.run("document.getElementById('last').click()")
        await page.until("document.getElementById('rows').dataset.page === '4000'")
        assert (await shown(page, ".row .words"))[-1] == "the needle"
        assert await count(page, "*") < nodes + 100
        assert await count(page, "#rows *") < 500
        await choose_in(page, "order", "best")
        assert set(await shown(page)) == {"10"}
        await choose_in(page, "search", "the needle", "input")
        assert await shown(page, ".row .words") == ["the needle"]
        await quiet(page)

    in_browser(tmp_path, look)


def test_a_browser_leaves_no_process_behind(tmp_path):
    groups = []

    async def look(page: Page) -> None:
        groups.append(page.group)
        os.killpg(page.group, 0)

    in_browser(tmp_path, look)
    with pytest.raises(ProcessLookupError):
        os.killpg(groups[0], 0)


def test_a_browser_that_cannot_unpack_says_so(tmp_path):
    page_file = report(tmp_path, [scored(0, [9])])

    async def look(page: Page) -> None:
        await page.send("Page.enable")
        await page.send("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream")
        await page.open(page_file.as_uri(), ready="!document.getElementById('fallback').hidden")
        assert "DecompressionStream" in await page.run("document.getElementById('fallback').innerText")
        assert "Did it work?" in await page.run("document.body.innerText")
        await quiet(page)

    in_browser(tmp_path, look)
