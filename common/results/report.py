"""The report: one HTML page that says of an output whether it worked, and shows every candidate.

The page stands alone (no network, no fonts, its own policy forbids both), is written whole or not at all, and is the
same bytes for the same output. The output is streamed: charts come from counts and seeded samples, the table holds
the first 100,000 candidates. What a model wrote is packed text to the page, and becomes text nodes, never markup.

Example: ``write_report("report.html", "out.jsonl", Selection(), errors_file=None, image_root="data",
score_range=(0, 10), script="reject.py")``
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib
import importlib.util
import json
import math
import os
from string import Template
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from ..errors import RunStopped, UsageError
from ..records import number_text
from ..storage.append_file import write_whole
from .estimators import (
    Estimate,
    spearman,
)
from .selection import Selection
from .tally import (
    BINS,
    CURVE_ENTRIES,
    DOTS,
    EXACT,
    MOST_CANDIDATES,
    MOST_IMAGES,
    MOST_TEXT,
    OCTAVE,
    STATUSES,
    Curves,
    Kinds,
    Totals,
    curves_of,
    failures_in,
    packed,
    tally,
)

HERE = os.path.dirname(os.path.abspath(__file__))
LIKES_LENGTH = 0.2  # rank correlation within a question from which the page warns
NO_CHARTS = "a report needs plotly: pip install -r requirements/report.txt"


def need_charts() -> None:
    """Raises UsageError, with the command that installs it, if the chart library is missing."""
    if importlib.util.find_spec("plotly") is None:
        raise UsageError(NO_CHARTS)


def write_report(
    path: str,
    output_file: str,
    selection: Selection,
    *,
    errors_file: Optional[str],
    image_root: Optional[str],
    score_range: Tuple[float, float],
    script: str,
    stay_inside: bool = False,
) -> None:
    """Writes the page of ``output_file`` to ``path``, whole or not at all.

    ``selection`` decides what counts as accepted and selected; ``errors_file`` holds the entries that failed (None or
    missing: none did); images below ``image_root`` are embedded (None: named only), and with ``stay_inside`` no others;
    ``score_range`` is the scorer's (low, high). A last line that is still being written is left out, and the page says
    so.
    Raises UsageError without plotly or an output, RunStopped for a damaged line or a page that cannot be written.
    """
    need_charts()
    if not os.path.isfile(output_file):
        raise UsageError(f"no output {output_file} to report on; run {script} first")
    totals = tally(output_file, selection, score_range, image_root, stay_inside)
    failures = failures_in(errors_file)
    try:
        write_whole(path, _page(totals, failures, selection, output_file, script))
    except OSError as error:
        raise RunStopped(f"cannot write {path}: {error.strerror}") from error


# The page


def _page(totals: Totals, failures: Kinds, selection: Selection, output_file: str, script: str) -> Iterator[bytes]:
    """The page in pieces: words and figures as markup, then the packed data, then the charts' library."""
    curves = curves_of(totals.drawn.items, totals.low, totals.high) if totals.answers["scored"] else None
    library = importlib.import_module("plotly.offline").get_plotlyjs()
    code, style, page = (_part_of_page(f"report.{kind}") for kind in ("js", "css", "html"))
    head, tail = page.split("<!-- data -->")
    failed = failures.total()
    values = {
        "scripts": " ".join(_hash(text) for text in (code, library)),
        "style": style,
        "title": _text(f"{os.path.basename(output_file)} - {script}"),
        "name": _text(os.path.basename(output_file)),
        "about": _text(_about(totals, selection, script)),
        "notes": "".join(f"<p class=note>{_text(note)}</p>" for note in _notes(totals)),
        "cards": "".join(_cards(totals, curves, failed, selection)),
        "funnel": "".join(_funnel(totals, failed, selection)),
        "funnel_note": _text(_funnel_note(totals, failed, selection)),
        "score_note": _text(_score_note(totals, selection)),
        "pass_note": _text(_pass_note(curves, totals, selection)),
        "best_note": _text(_best_note(curves)),
        "length_note": _text(_length_note(totals)),
        "ratio_note": _text(_ratio_note(totals, selection)),
        "failures": _kinds(failures.top(), "No question failed."),
        "unscored": _kinds(totals.unscored.top(), _all_scored(totals)),
        "table_note": _text(_table_note(totals)),
        "pairs": "" if selection.select == "dpo" else "hidden",
    }
    yield Template(head).substitute(values).encode("utf-8", "replace")
    charts = _charts(totals, curves, selection)
    columns = {name: getattr(totals.table, name) for name in ("scores", "lengths", "flags", "first", "begins")}
    for name, data in (("charts", charts), ("columns", columns)):
        yield _data(name, packed(json.dumps(data, separators=(",", ":"), allow_nan=False)))
    for chunk in totals.table.chunks:
        yield _data("chunk", chunk)
    yield _data("library", packed(library))
    yield tail.replace("$code", code).encode()


def _part_of_page(name: str) -> str:
    with open(os.path.join(HERE, name), encoding="utf-8", newline="\n") as file:
        return file.read()


def _hash(code: str) -> str:
    """What the page's policy lets run: this text and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _data(name: str, data: bytes) -> bytes:
    return b'<script type="text/plain" data-of="%s">%s</script>\n' % (name.encode(), data)


def _text(value: str) -> str:
    """A text as markup."""
    return html.escape(value)


def _percent(part: float, whole: float) -> str:
    """A share, with a decimal where it would otherwise read as nothing or all."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "<\u202f0.1\u202f%"
    if 99.9 < share < 100:
        return ">\u202f99.9\u202f%"
    return f"{share:.0f}\u202f%" if 1 <= share <= 99 or share in (0, 100) else f"{share:.1f}\u202f%"


def _short(count: float) -> str:
    """A count in at most four characters or so: 940, 12.3k, 4.5M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
    return f"{count:.0f}"


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _rule(selection: Selection) -> str:
    """What accepted means here."""
    score = "scored" if selection.accept_score is None else f"scored at least {number_text(selection.accept_score)}"
    return f"{score}, not cut, not empty, each wording once"


def _about(totals: Totals, selection: Selection, script: str) -> str:
    how = {
        "best": "each question's best answer",
        "top_k": f"each question's best {selection.top_k} answers",
        "threshold": "every accepted answer",
        "random": f"{selection.top_k} accepted at random of each question",
        "dpo": "preference pairs",
    }[selection.select]
    scale = f"scores from {number_text(totals.low)} to {number_text(totals.high)}"
    return f"{script} \u00b7 {scale} \u00b7 selected: {how} \u00b7 accepted: {_rule(selection)}"


def _notes(totals: Totals) -> Iterator[str]:
    """What a reader must know before the figures."""
    if totals.torn:
        yield "The last line of the output is still being written, or was torn by a crash: it is left out here."
    if not totals.entries["output"]:
        yield "The output holds no record yet."
    elif not totals.answers["scored"] and not totals.unscored.total():
        yield "Nothing is scored yet: run score.py on this output for everything that needs scores."
    if totals.stopped.total():
        kinds = ", ".join(f"{count:,} by {name}" for count, _, name in totals.stopped.top())
        yield f"Drawing was stopped early for some questions ({kinds}); they have fewer answers than were asked for."


def _card(question: str, figure: str, unit: str, words: str, warns: bool = False) -> str:
    mark = " class=warns" if warns else ""
    return (
        f"<article{mark}><h2>{_text(question)}</h2><p class=figure>{_text(figure)} <span>{_text(unit)}</span></p>"
        f"<p>{_text(words)}</p></article>"
    )


def _cards(totals: Totals, curves: Optional[Curves], failed: int, selection: Selection) -> Iterator[str]:
    """The four questions a reader comes with, each with its answer."""
    entries, answers = totals.entries, totals.answers
    asked = entries["output"] + failed
    lost = entries["output"] - entries["scored"]
    words = f"{entries['accepted']:,} of {asked:,} questions. "
    words += f"{failed:,} failed" + (f", {lost:,} have no scored answer." if lost else ".")
    share = _percent(entries["accepted"], asked)
    yield _card("Did it work?", share, "have an accepted answer", words, failed > asked * 0.05)
    yield _judge_card(totals)
    yield _more_card(curves)
    unit = "pairs" if selection.select == "dpo" else "conversations"
    words = f"From {_plural(entries['selected'], 'question')}, {_percent(entries['selected'], asked)} of all."
    if totals.tokens["answered"]:
        kept = _percent(totals.tokens["selected"], totals.tokens["answered"])
        words += f" {kept} of the generated tokens are in selected answers."
    yield _card("What is kept?", f"{totals.rows:,}", unit, words, answers["scored"] > 0 and not totals.rows)


def _within(totals: Totals) -> Estimate:
    """The mean rank correlation of score and length within a question, with its 95 % interval over questions."""
    count, total, squares = totals.within
    mean = total / count if count else 0.0
    reach = 1.96 * math.sqrt(max(0.0, squares / count - mean * mean) / count) if count else 1.0
    return Estimate(mean, mean - reach, mean + reach)


def _likes_length(totals: Totals) -> bool:
    found = _within(totals)
    return totals.within[0] >= 10 and found.mean >= LIKES_LENGTH and found.low > 0


def _judge_card(totals: Totals) -> str:
    comparable, tied = totals.entries["comparable"], totals.entries["tied"]
    drawn, unscored = totals.answers["answered"], totals.unscored.total()
    question = "Are the scores sane?"
    if not totals.answers["scored"]:
        why = "No answer got a score: see below why." if unscored else "Score the output first."
        return _card(question, "\u2013", "no scores", why, unscored > 0)
    words = [f"{_percent(unscored, drawn)} of the answers are unscored."]
    if totals.within[0]:
        found = _within(totals)
        says = "it seems to pay for length" if _likes_length(totals) else "no sign that it pays for length"
        words.append(f"Score and length within a question: \u03c1 = {_signed(found.mean)}, {says}.")
    if totals.spread[0]:
        words.append(f"It disagrees with itself by {totals.spread[1] / totals.spread[0]:.2f} (mean spread).")
    in_between = len({score for score, _ in totals.exact}) > 2  # a rule that says right or wrong ties without fault
    odd = _likes_length(totals) or unscored > drawn * 0.05 or (in_between and tied > comparable * 0.5)
    share = _percent(tied, comparable) if comparable else "\u2013"
    return _card(question, share, "of questions got the same score for every answer", " ".join(words), odd)


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "\u2212")


def _more_card(curves: Optional[Curves]) -> str:
    question = "Would more samples help?"
    if curves is None or curves.last_pass is None or curves.last_best is None:
        return _card(question, "\u2013", "not measurable", "It takes at least two scored answers a question.")
    most, gain = curves.steps[-1], curves.last_pass
    reach = f"(\u00b1{100 * (gain.high - gain.mean):.1f}) " if gain.high > gain.mean else ""
    words = (
        f"Going from {most - 1} to {most} answers a question gave {_signed(100 * gain.mean, 1)} points "
        f"{reach}of questions with an accepted answer, and "
        f"{_signed(curves.last_best.mean)} of best score. "
    )
    words += (
        "Stopped questions were drawn no further, so this is what the run gained, not what one more draw of each would."
        if curves.running
        else "One more brings no more than that, on average."
    )
    return _card(question, f"{_signed(100 * gain.mean, 1)} pts", f"from the {_ordinal(most)} sample", words)


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _funnel(totals: Totals, failed: int, selection: Selection) -> Iterator[str]:
    """Rows of the funnel: step, share of the entries as a bar, entries, answers, tokens."""
    entries, answers, tokens = totals.entries, totals.answers, totals.tokens
    asked = entries["output"] + failed
    estimate = "\u2248\u202f" if tokens["shared"] else ""
    unit = "pairs" if selection.select == "dpo" else "rows"
    rows = (
        ("Asked", asked, "", ""),
        ("Answered", entries["answered"], f"{answers['answered']:,}", _tokens(tokens["answered"], "generated")),
        ("Scored", entries["scored"], f"{answers['scored']:,}", _tokens(tokens["judge"], "judging")),
        (
            "Accepted",
            entries["accepted"],
            f"{answers['accepted']:,}",
            _tokens(tokens["accepted"], "generated", estimate),
        ),
        (
            "Selected",
            entries["selected"],
            f"{totals.rows:,} {unit}",
            _tokens(tokens["selected"], "generated", estimate),
        ),
    )
    for name, count, made, spent in rows:
        width = 100 * count / asked if asked else 0
        yield (
            f"<tr class={name.lower()}><th scope=row>{name}</th><td class=bar><i style='width:{width:.2f}%'></i></td>"
            f"<td data-unit=questions>{count:,}</td><td>{_text(_percent(count, asked))}</td>"
            f"<td data-unit={'answers' if name not in ('Asked', 'Selected') else ''}>{made}</td><td>{spent}</td></tr>"
        )


def _tokens(count: int, what: str, sign: str = "") -> str:
    return f"{sign}{_short(count)} <small>{what}</small>" if count else ""


def _funnel_note(totals: Totals, failed: int, selection: Selection) -> str:
    words = f"{_plural(totals.entries['output'], 'question')} in the output, {failed:,} failed. "
    words += f"Accepted: {_rule(selection)}."
    if totals.answers["cut"]:
        words += f" {_plural(totals.answers['cut'], 'answer was', 'answers were')} cut by the token limit."
    if totals.tokens["shared"]:
        words += (
            f" {_plural(totals.tokens['shared'], 'request')} brought several answers under one token count, which is"
            " split over them by their lengths (\u2248)."
        )
    return words


def _score_note(totals: Totals, selection: Selection) -> str:
    scored = totals.answers["scored"]
    words = f"{_plural(scored, 'score')}; {_plural(totals.unscored.total(), 'answer')} unscored."
    if scored and selection.accept_score is not None:
        words += f" {_percent(totals.answers['accepted'], scored)} of the scored answers are accepted."
    if totals.answers["outside"]:
        words += f" {_plural(totals.answers['outside'], 'score')} outside the range."
    return words


def _population(curves: Curves, totals: Totals) -> str:
    sampled = f" (a sample of the {totals.drawn.seen:,})" if totals.drawn.seen > CURVE_ENTRIES else ""
    which = "" if curves.running else f" with at least {_plural(curves.steps[-1], 'answer')}"
    words = f"Over {_plural(curves.entries, 'question')}{which}{sampled}; band: 95\u202f% interval over questions."
    if curves.running:
        words += (
            " Some were stopped by what they had drawn, so the answers count in the order drawn and a stopped question"
            " keeps what it had; draws dropped in flight do not count, which flatters the early steps a little."
        )
    return words


def _pass_note(curves: Optional[Curves], totals: Totals, selection: Selection) -> str:
    if curves is None:
        return "No scored answers."
    top = f"Here, without --accept_score, accepted is a score of {number_text(totals.high)}. "
    return (top if selection.accept_score is None else "") + _population(curves, totals)


def _best_note(curves: Optional[Curves]) -> str:
    if curves is None:
        return "No scored answers."
    last = curves.best[-1]
    return (
        f"Mean of the best score of k answers, same questions: {curves.best[0].mean:.2f} at one, "
        f"{last.mean:.2f} at {curves.steps[-1]}."
    )


def _length_note(totals: Totals) -> str:
    if not totals.dots.items:
        return "No scored answers."
    rho = spearman([score for _, score, _ in totals.dots.items], [length for length, _, _ in totals.dots.items])
    words = "Line: mean score at that length."
    if not math.isnan(rho):
        words += f" Rank correlation \u03c1 = {_signed(rho)} over all"
        words += f", {_signed(_within(totals).mean)} within a question." if totals.within[0] else "."
    if _likes_length(totals):
        words += " Longer answers to the same question score higher: check that the judge does not pay for length."
    if totals.dots.seen > DOTS:
        words += f" {DOTS:,} of {totals.dots.seen:,} answers are drawn."
    return words


def _ratio_note(totals: Totals, selection: Selection) -> str:
    pairs = totals.longer["pairs"]
    if not pairs:
        return "Nothing to compare."
    other = "its rejected one" if selection.select == "dpo" else "the median of the question's other answers"
    longer, shorter = (_percent(totals.longer[side], pairs) for side in ("longer", "shorter"))
    what = "chosen" if selection.select == "dpo" else "selected"
    return f"Of {pairs:,} {what} answers {longer} are longer than {other}, {shorter} shorter."


def _all_scored(totals: Totals) -> str:
    return "Every answer has a score." if totals.answers["scored"] else "Nothing is scored."


def _kinds(rows: Sequence[Tuple[int, str, str]], empty: str) -> str:
    """A list of reasons with their counts, the most frequent first."""
    if not rows:
        return f"<p class=quiet>{_text(empty)}</p>"
    most = max(count for count, _, _ in rows)
    items = (
        f"<li><b>{count:,}</b><i style='width:{100 * count / most:.1f}%'></i>"
        f"<span>{f'<em>{_text(tag)}</em> ' if tag else ''}{_text(words)}</span></li>"
        for count, tag, words in rows
    )
    return f"<ul class=kinds>{''.join(items)}</ul>"


def _table_note(totals: Totals) -> str:
    shown, there = len(totals.table.scores), totals.answers["answered"]
    words = f"The first {shown:,} of {there:,} candidates" if totals.table.full else _plural(there, "candidate")
    words += f" of {_plural(len(totals.table.first), 'question')}."
    if totals.table.full:
        words += (
            f" The page stops at {MOST_CANDIDATES:,} candidates or {MOST_TEXT >> 20} MB of text; the output has all."
        )
    if totals.table.images_left_out:
        words += (
            f" {_plural(totals.table.images_left_out, 'image')} shown by name: missing, or past {MOST_IMAGES >> 20} MB."
        )
    return words


def _charts(totals: Totals, curves: Optional[Curves], selection: Selection) -> Dict[str, Any]:
    """The numbers that the page's charts draw."""
    return {
        "range": [totals.low, totals.high],
        "accept": selection.accept_score,
        "dpo": selection.select == "dpo",
        "scores": _histogram(totals),
        "curves": None
        if curves is None
        else {"k": curves.steps, "pass": curves.passed, "best": curves.best, "running": curves.running},
        "dots": totals.dots.items[:DOTS],
        "trend": [
            [2 ** ((cell + 0.5) / OCTAVE), total / count]
            for cell, (count, total) in sorted(totals.trend.items())
            if count >= max(5, totals.dots.seen // 500)
        ],
        "ratios": sorted((2 ** (step / OCTAVE), count) for step, count in totals.ratios.items()),
    }


def _histogram(totals: Totals) -> Dict[str, Any]:
    """A bar for each score where they are few, else for each bin; by status."""
    values = sorted({score for score, _ in totals.exact})
    if len(values) <= EXACT and len(totals.exact) <= EXACT * len(STATUSES):
        gaps = [late - early for early, late in zip(values, values[1:])]
        width = min([*gaps, (totals.high - totals.low) / 4 or 1.0])
        counts = [[totals.exact[score, status] for score in values] for status in range(len(STATUSES))]
    else:
        width = (totals.high - totals.low) / BINS
        values = [totals.low + (place + 0.5) * width for place in range(BINS)]
        counts = [[totals.binned[place, status] for place in range(BINS)] for status in range(len(STATUSES))]
    return {"at": values, "width": width, "counts": counts}
