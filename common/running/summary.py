"""The end of a run in a few lines: what was done, what it cost, what failed and why, and what to do next.

Example: ``print(summary("reject.py", counts, {"generator": traffic}, seconds=41.0, rows=[("output", "out.jsonl")]))``
"""

from __future__ import annotations

from typing import Iterable, Mapping, NamedTuple, Sequence

from ..errors import plural, printable
from ..records import Record
from ..results.export import Selected
from ..results.reasons import ReasonCounts
from ..results.record_view import candidates_of
from ..results.selection import Selection
from ..scoring.same_answer import FREE_TEXT, NO_REFERENCE
from ..servers.client import Traffic
from ..servers.slots import Server
from .counts import Counts
from .generators import Generators

MOST_REASONS = 5  # reasons in each list
MANY = 0.05  # share of cut answers from which a larger limit is advised
LAST = ("warning", "next")  # rows that come after all others, in this order
REMEDIES = {  # what to do about a reason of unscored answers
    FREE_TEXT: "a rule cannot compare free texts: add a judge (--scorer match judge)",
    NO_REFERENCE: (
        "add a judge for the entries without a reference (--scorer match judge); with another --reference_key they are "
        "other entries, whose answers are sampled again"
    ),
}
JUDGE_SAID = "the judge's reply"  # begins the reasons that another reply may change


def server_rows(servers: Sequence[Server], found: bool) -> list[tuple[str, str]]:
    """(kind, text) per server of a role, if there are several or if ``found``: ``auto`` found their concurrency."""
    if len(servers) < 2 and not found:
        return []
    every = sum(server.requests for server in servers)
    rows = []
    for server in servers:
        share = plural(server.requests, "request")
        share += f" ({server.requests / max(1, every):.0%})" if len(servers) > 1 else ""
        share += f", {plural(server.errors, 'error')}"
        each = f"{server.seconds / max(1, server.requests):.2f} s each, up to {server.peak} in flight"
        rows.append(("server", f"{server.url}: {share}, {each}" + (f" (auto found {server.limit})" if found else "")))
    return rows


def generator_rows(generators: Generators, counts: Counts) -> list[tuple[str, str]]:
    """(kind, text) per generator, if there are several: its answers and its tokens in this run."""
    if not generators.are_several:
        return []
    rows = []
    for sampler in generators.samplers:
        answers, traffic = counts.sampled_by[sampler.settings_id], sampler.client.traffic
        tokens = f"{traffic.prompt_tokens:,} prompt and {traffic.tokens:,} completion tokens"
        rows.append(("generator", f"{sampler.name}: {answers:,} answers, {tokens}"))
    return rows


def summary(
    script: str,
    counts: Counts,
    traffic: Mapping[str, Traffic],
    seconds: float,
    rows: Sequence[tuple[str, str]],
    not_begun: int = 0,
) -> str:
    """The end of a run; ``traffic`` is by role, ``rows`` are (kind, text) pairs such as the files and what to do.

    ``not_begun`` is about how many entries of the input were not looked at.
    """
    rate = 1 / max(seconds, 1e-9)
    lines = [
        _entries(counts, seconds, not_begun),
        *_answers(counts, rate),
        *_requests(traffic, rate),
        *_scores(counts),
        *reason_rows("failed", counts.failures),
        *reason_rows("unscored", counts.reasons),
        *sorted(rows, key=lambda row: LAST.index(row[0]) if row[0] in LAST else -1),
    ]
    return "\n".join([script, *(f"  {name:<9} {printable(text)}" for name, text in lines)])


def _entries(counts: Counts, seconds: float, not_begun: int) -> tuple[str, str]:
    parts = [f"{counts.done:,} done", f"{counts.skipped:,} skipped (already done)", f"{counts.failed:,} failed"]
    if counts.unfinished:
        parts.append(f"{counts.unfinished:,} written, unfinished")
    if counts.postponed > counts.unfinished:
        parts.append(f"{counts.postponed - counts.unfinished:,} postponed")
    if not_begun:
        parts.append(f"about {not_begun:,} not begun")
    if counts.duplicates:
        others = f" ({counts.other_keys:,} differ in their other keys)" if counts.other_keys else ""
        parts.append(f"{plural(counts.duplicates, 'duplicate')} left out{others}")
    return "entries", ", ".join(parts) + f" in {seconds:.1f} s ({counts.done / max(seconds, 1e-9):.1f}/s)"


def _answers(counts: Counts, rate: float) -> list[tuple[str, str]]:
    """The answers, and those that were cut."""
    rows = []
    if counts.answers or counts.recalled:
        again = f", {counts.recalled:,} from the ledger" if counts.recalled else ""
        rows.append(("answers", f"{counts.answers:,} sampled{again} ({counts.answers * rate:.1f}/s)"))
    if counts.cut:
        reasons = ", ".join(f"{number:,} by {reason}" for reason, number in counts.cut.most_common())
        rows.append(("cut", f"{sum(counts.cut.values()):,} answers: {reasons}"))
    return rows


def _requests(traffic: Mapping[str, Traffic], rate: float) -> list[tuple[str, str]]:
    """The requests of all roles, and the tokens of each."""
    if not traffic:
        return []
    requests, retries, dropped = (
        sum(getattr(one, name) for one in traffic.values()) for name in ("requests", "retries", "cancelled")
    )
    sent = f"{requests:,} sent, {retries:,} retries" + (f", {dropped:,} dropped" if dropped else "")
    return [
        ("requests", sent),
        *(
            ("tokens", f"{role}: {one.prompt_tokens:,} prompt, {one.tokens:,} completion ({one.tokens * rate:.0f}/s)")
            for role, one in traffic.items()
        ),
        *(("loops", loops_text(one)) for one in traffic.values() if one.loops),
    ]


def loops_text(traffic: Traffic) -> str:
    """The loops that were stopped: the tokens of these answers, and those that they would have taken besides.

    How long they would have gone on is not known: at most to the limit of tokens, where there is one. Else the mean of
    the answers that the server's own limit cut is a guess.

    >>> loops_text(Traffic(loops=2, loop_tokens=2100, loop_room=61900))
    '2 answers stopped after 2,100 tokens; up to 61,900 saved, if they had gone on to the token limit'
    >>> loops_text(Traffic(loops=2, loop_tokens=2000, cut=1, cut_tokens=4000))
    '2 answers stopped after 2,000 tokens; about 6,000 saved, if they were as long as answers cut by length (1 here)'
    """
    answers = f"{plural(traffic.loops, 'answer')} stopped after {plural(traffic.loop_tokens, 'token')}"
    if traffic.loop_room:
        return f"{answers}; up to {traffic.loop_room:,} saved, if they had gone on to the token limit"
    if traffic.cut:
        more = max(0, round(traffic.loops * traffic.cut_tokens / traffic.cut) - traffic.loop_tokens)
        return f"{answers}; about {more:,} saved, if they were as long as answers cut by length ({traffic.cut:,} here)"
    return answers


def _scores(counts: Counts) -> list[tuple[str, str]]:
    if counts.mean_score is None and not counts.unscored:
        return []
    mean = "" if counts.mean_score is None else f"mean {counts.mean_score:.2f}, "
    text = f"{mean}{counts.scores:,} scored, {counts.unscored:,} unscored"
    share = counts.accepted_share
    accepted = f", {counts.accepted:,} accepted ({share:.0%})" if share is not None else ""
    return [("scores", f"{text}{accepted}{_about(counts)}")]


def _about(counts: Counts) -> str:
    """Which answers the scores are those of, if they are neither those of the output nor those sampled in this run."""
    earlier = ", with their earlier answers" if counts.answers and counts.there else ""
    return f"; only of this run's entries{earlier}" if earlier or counts.skipped else ""


def reason_rows(kind: str, reasons: ReasonCounts) -> list[tuple[str, str]]:
    """A row per reason, the most frequent first.

    >>> reasons = ReasonCounts()
    >>> reasons.add("sample 400", "the prompt is too long")
    >>> reason_rows("failed", reasons)
    [('failed', '1 (sample 400): the prompt is too long')]
    """
    top = reasons.top(MOST_REASONS)
    rows = [
        (kind, f"{one.messages:,}{f' ({one.tag}):' if one.tag else ' because'} {_clipped(one.example)}") for one in top
    ]
    others = reasons.total() - sum(one.messages for one in top)
    return rows + ([(kind, f"{others:,} for other reasons")] if others else [])


def _clipped(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."


class Ending(NamedTuple):
    """How a run ended, as far as it says what to do next."""

    script: str  # as the user calls it
    output_file: str
    errors_file: str
    samples: bool  # whether the run samples answers
    scorer: str | None  # its name
    selection: Selection
    lowest_score: float | None  # that the scorer can give, if there is one
    selected_file: str | None
    selected: Selected | None  # what is in that file, if it was written
    is_over: bool  # whether nothing stopped the run before its end
    target: str | None = None  # what is missing to --target_accepted
    leftover: int = 0  # entries of the output that are not in the input


def warnings(counts: Counts, ending: Ending) -> list[str]:
    """What is probably not as the user wants it."""
    texts = []
    if counts.undecided and not counts.scores:
        texts.append(f"--scorer {ending.scorer} decided nothing: none of {counts.undecided:,} answers has a score")
    if ending.selected is not None:
        texts += selection_warnings(ending.selected, ending.selection.accept_score, ending.lowest_score)
    if ending.target is not None:
        texts.append(ending.target)
    if ending.leftover:
        texts.append(
            f"{ending.leftover:,} of the output's entries are not in the input; they are selected too: use a new "
            "--output_file for the entries of this input alone"
        )
    return texts


def selection_warnings(selected: Selected, accept_score: float | None, lowest_score: float | None) -> list[str]:
    """What is probably wrong with a selection. ``lowest_score`` is the lowest that the scorer gives, if there is one.

    >>> selection_warnings(Selected(records=8, chosen=0, rows=0), 9, 0)
    ['no answer is selected: none scores at least 9 (--accept_score)']
    """
    texts = []
    if selected.lowest and lowest_score is not None:
        texts.append(
            f"the lowest score, {lowest_score:g}, is that of {selected.lowest:,} of "
            f"{plural(selected.rows, 'selected answer')}: --accept_score S selects only answers that score at least S"
        )
    if selected.records and not selected.rows:
        least = "" if accept_score is None else f": none scores at least {accept_score:g} (--accept_score)"
        texts.append(f"no answer is selected{least}")
    return texts


def selection_rows(
    selected: Selected, accept_score: float | None, lowest_score: float | None, records: Iterable[Record]
) -> list[tuple[str, str]]:
    """The warnings about a selection from these records, with why their answers have no score if none is selected."""
    texts = selection_warnings(selected, accept_score, lowest_score)
    if not selected.records or selected.rows:
        return [("warning", text) for text in texts]
    reasons, usable, has_scores = ReasonCounts(), 0, False
    for record in records:
        has_scores = has_scores or "generated_scores" in record
        for one in candidates_of(record):
            usable += one.score is not None and not one.is_cut
            if one.score is None:
                reasons.add("", str(one.detail.get("unscored") or "it was not scored"))
    if not has_scores:
        texts = ["no answer is selected: the output has no scores; score it first with score.py"]
    elif not usable:
        texts = ["no answer is selected: each is cut or has no score"]
    return [*(reason_rows("unscored", reasons) if has_scores else []), *(("warning", text) for text in texts)]


def next_steps(counts: Counts, ending: Ending) -> list[str]:
    """What to do next, the most urgent first."""
    return [*_go_on(counts, ending), *_improve(counts, ending), *_use(ending)]


def _go_on(counts: Counts, ending: Ending) -> list[str]:
    """What the same command would do."""
    if not ending.is_over or counts.postponed:
        return ["run the same command again to go on"]
    if counts.failed > counts.hopeless:
        return ["run the same command again: it requests only what is missing"]
    if counts.failed:
        return [f"correct the entries that {ending.errors_file} names, and run the same command again"]
    return []


def _improve(counts: Counts, ending: Ending) -> list[str]:
    """What would make more of the answers useful."""
    steps = []
    cut = counts.cut["length"]
    if cut >= max(1, MANY * counts.recorded):
        share = f"the token limit cut {cut:,} of {counts.recorded:,} answers"
        again = "the same command then samples only these again" if ending.samples else "and sample these again"
        steps.append(f"raise --max_tokens: {share}; {again}")
    seen = {reason.example for reason in counts.reasons.top(MOST_REASONS)}
    steps += [remedy for reason, remedy in REMEDIES.items() if reason in seen]
    if any(reason.startswith(JUDGE_SAID) for reason in seen):
        steps.append("add --retry_unscored to ask the judge again where its reply had no score")
    return steps


def _use(ending: Ending) -> list[str]:
    """What the files are for."""
    if not ending.is_over:
        return []
    if ending.scorer is None:
        score = score_command(ending.script)
        return [f"score the answers: {score} --input_file {ending.output_file} --output_file FILE ..."]
    if ending.selected_file is None:
        return ["add --selected_file FILE to write the best answers as training data; this requests nothing"]
    return [f"train on {ending.selected_file}"] if ending.selected is not None and ending.selected.rows else []


def score_command(script: str) -> str:
    """How a user who calls the first script so calls ``score.py``.

    >>> score_command("sampling.py"), score_command("rejection-sampling sample")
    ('python score.py', 'rejection-sampling score')
    """
    return "python score.py" if script.endswith(".py") else f"{script.rpartition(' ')[0]} score".strip()
