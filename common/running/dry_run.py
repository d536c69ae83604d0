"""``--dry_run``: what a run would read, do and send. Nothing is sent, and no file is written.

Example: ``sys.exit(dry_run(job))``
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Awaitable, Iterator

from ..errors import BrokenInput, EntryFailed, plural, printable
from ..input.joined import open_input
from ..records import Answer, PendingEntry, Score
from ..scoring.shapes import AnswerScorer, EntryScorer, Scorer
from ..servers.client import ChatClient
from ..servers.connection import NotSent
from ..storage.held import Held
from .candidates import Candidates
from .entries import fill
from .entry_state import EntryState
from .estimate import roles_of
from .job import Job, Pipeline
from .run import check_results, read_ahead, show
from .survey import Survey

PLACEHOLDER = "(an answer of the generator)"
GENERATOR = "generator "  # before the name of one of several
ANOTHER = "(another answer of the generator)"
DEPENDS = "it depends on the server: one that finds loops itself gets repetition_detection in place of stream"
UNASKED = "a dry run asks no scorer"
FREE_PORT = "http://127.0.0.1:0/v1"  # the address of an embedded server that is not started


@dataclass
class Plan:
    """What a run would do: entries by what becomes of them, and how many answers and requests they take."""

    entries: Counter[str] = field(default_factory=Counter)
    answers: int = 0  # to sample
    scores: int = 0  # to ask a scorer for
    requests: Counter[str] = field(default_factory=Counter)  # by role
    first: dict[str, NotSent] = field(default_factory=dict)  # by role
    with_placeholder: bool = False  # whether the scorer's request shows the placeholder


def dry_run(job: Job) -> int:
    """Prints the plan of a job and its first requests; returns 0, or 1 if items cannot be read: they would fail.

    Raises UsageError as the run would. At damage in the input, it raises BrokenInput after it has printed the rest.
    """
    broken = None
    survey, plan = Survey(), Plan()
    with contextlib.closing(open_input(job.input_files)) as source, hold(job) as held:
        check_results(job, held.results)
        if job.pipeline.sampler is not None:
            job.pipeline.sampler.is_mixed = held.is_mixed
        try:
            for item in islice(read_ahead(source, job), job.limit):
                pending = survey.look(job, item)
                if pending is not None:
                    add(job, held, plan, pending)
        except BrokenInput as error:
            broken = error
        rows = [*recognised(job, source.shape, survey), *planned(job, plan)]
    show(
        "\n".join(
            [f"{job.script}: nothing was sent, and nothing was written", *lines_of(rows), *requests_of(job, plan)]
        )
    )
    if broken is not None:
        raise broken
    return 1 if survey.unreadable else 0


def hold(job: Job) -> Held:
    """What the output and the ledger of a job hold."""
    scorer = job.pipeline.scorer
    return Held(
        job.output_file,
        job.ledger_file,
        job.settings(),
        allow_mixed=job.allow_mixed,
        score_range=job.ledger_range,
        look_again=scorer is not None and scorer.retry_unscored,
    )


def add(job: Job, held: Held, plan: Plan, pending: PendingEntry) -> None:
    """Adds one entry to the plan."""
    entry_id = pending.entry.entry_id
    status = held.meet(entry_id)
    if status != "new":
        plan.entries[status] += 1
        return
    state = EntryState(pending.entry, dict(enumerate(pending.answers or ())))
    record = held.old_record(entry_id)
    if record is not None:
        state.take_record(record, held.before, job.pipeline)
    state.recall(held.ledger.recall(entry_id), job.pipeline)
    if state.is_complete(job.pipeline):
        plan.entries["done" if record is not None else "from the ledger"] += 1
        return
    plan.entries["to do"] += 1
    count(job.pipeline, plan, state)
    sends = {name for name in senders(job) if name == "scorer" or missing_of(name, state, job.pipeline)}
    if not plan.first.keys() >= sends:
        asyncio.run(make_requests(job, plan, state))


def count(pipeline: Pipeline, plan: Plan, state: EntryState) -> None:
    """Adds the answers, the scores and the requests that an entry needs at most."""
    indices = state.missing(pipeline.sampler)
    missing = len(indices)
    if pipeline.sampler is not None:
        plan.answers += missing
        plan.requests["generator"] += pipeline.sampler.request_count(state.entry.entry_id, indices)
    scorer = pipeline.scorer
    if scorer is not None:
        unscored = {one.digest for _, one in state.whole_answers() if one.digest not in state.scores}
        plan.scores += len(unscored) + missing
        if isinstance(scorer, EntryScorer):
            distinct = {one.digest for _, one in state.whole_answers()}
            plan.requests["scorer"] += scorer.requests_for(len(distinct) + missing)
            return
        plan.requests["scorer"] += missing * scorer.requests_per_answer
        for digest in unscored:
            known = state.parts.get(digest)
            rest = scorer.rest(known) if known is not None and isinstance(scorer, AnswerScorer) else scorer
            plan.requests["scorer"] += rest.requests_per_answer


# The first request of each role


async def make_requests(job: Job, plan: Plan, state: EntryState) -> None:
    """Notes an entry's first request of each role that has none yet; of an entry that cannot be sent, none."""
    pipeline = job.pipeline
    try:
        await fill(state, job)
        async with contextlib.AsyncExitStack() as stack:
            for name, clients in senders(job).items():
                if name not in plan.first:
                    for client in clients:
                        await stack.enter_async_context(paper(client))
                    await note(plan, name, asks_of(name, pipeline, plan, state))
    except EntryFailed:
        return


def paper(client: ChatClient) -> ChatClient:
    """The client as one that sends nothing."""
    client.sends = False
    client.urls = client.urls or [FREE_PORT]
    client.concurrency = client.concurrency or 1  # auto would ask the server how busy it is
    return client


def senders(job: Job) -> dict[str, list[ChatClient]]:
    """The clients by their roles; several generators by their names."""
    roles, generators = roles_of(job), job.pipeline.sampler
    if generators is None or not generators.are_several:
        return roles
    del roles["generator"]
    return {**{f"{GENERATOR}{one.name}": [one.client] for one in generators.samplers}, **roles}


def missing_of(name: str, state: EntryState, pipeline: Pipeline) -> list[int]:
    """The missing answers that are one generator's, by its name among the senders."""
    generators, missing = pipeline.sampler, state.missing(pipeline.sampler)
    if generators is None or not name.startswith(GENERATOR):
        return missing
    entry_id = state.entry.entry_id
    return [index for index in missing if generators.of(entry_id, index).name == name[len(GENERATOR) :]]


def asks_of(name: str, pipeline: Pipeline, plan: Plan, state: EntryState) -> Iterator[Awaitable[object]]:
    """What makes a role, or one of several generators, send its requests for an entry."""
    if name != "scorer":
        wanted = missing_of(name, state, pipeline)
        others = {index: Answer(PLACEHOLDER) for index in state.missing(pipeline.sampler) if index not in wanted}
        if wanted:
            own = as_scored(replace(state, answers={**state.answers, **others}))
            alone = pipeline._replace(stop_rule=None if others else pipeline.stop_rule)
            yield Candidates(own, alone, lambda line: None, lambda error: None).run()
        return
    unscored = [one for _, one in state.whole_answers() if one.digest not in state.scores]
    plan.with_placeholder = not unscored
    for scorer in pipeline.scorer.askers() if pipeline.scorer is not None else ():
        yield ask(scorer, state, unscored or [Answer(PLACEHOLDER)])


def as_scored(state: EntryState) -> EntryState:
    """An entry whose answers at hand all have a score, since a run samples once it has these: where a scorer is still
    to be asked, one that accepts nothing."""
    unknown = {one.digest: Score(None, unscored=UNASKED) for one in state.answers.values()}
    return replace(state, scores={**unknown, **state.scores}, parts={**unknown, **state.parts})


async def ask(scorer: Scorer, state: EntryState, answers: list[Answer]) -> None:
    images = state.images if scorer.wants_images else []
    if isinstance(scorer, EntryScorer):
        texts = [answer.text for answer in (*answers, Answer(ANOTHER))[: max(2, len(answers))]]
        await scorer.score_together(state.entry, images, texts)
    elif isinstance(scorer, AnswerScorer):
        known = state.parts.get(answers[0].digest)
        await (scorer if known is None else scorer.rest(known)).score_answer(state.entry, images, answers[0])


async def note(plan: Plan, role: str, asks: Iterator[Awaitable[object]]) -> None:
    """Notes the first request that one of ``asks`` makes."""
    for one in asks:
        if role in plan.first:
            asyncio.ensure_future(one).cancel()
            continue
        try:
            await one
        except NotSent as request:
            plan.first[role] = request


# What is printed


def recognised(job: Job, shape: str, survey: Survey) -> Iterator[tuple[str, str]]:
    """(kind, text) of what was read."""
    yield "input", f"{', '.join(job.input_files)}: {shape}, {survey.items:,} item{'s' * (survey.items != 1)}"
    if survey.read:
        yield "", f"read: {keys_of(survey.read)}"
    if survey.kept:
        yield "", f"kept in the records: {keys_of(survey.kept)}"
    has = ", ".join(f"{name} {number:,}" for name, number in survey.has.items())
    yield "", f"entries with {has}" if has else "no entry has a reference, a system text, an earlier turn or an image"
    if survey.answers:
        yield "", f"{survey.answers:,} answers come with the input"
    if survey.first_error is not None:
        items = f"{survey.unreadable:,} item{'s' * (survey.unreadable != 1)}"
        yield "refused", f"{items} cannot be read; the first: {survey.first_error}"


def keys_of(keys: Counter[str]) -> str:
    return ", ".join(f"{key} ({count:,})" for key, count in keys.most_common(20))


def planned(job: Job, plan: Plan) -> Iterator[tuple[str, str]]:
    """(kind, text) of what a run would do."""
    found = plan.entries
    more = f", {found['from the ledger']:,} from the ledger" if found["from the ledger"] else ""
    twice = found["duplicate"]
    again = f", {plural(twice, 'duplicate')} left out" if twice else ""
    yield "entries", f"{found['to do']:,} to do, {found['done']:,} done before{more}{again}"
    pipeline = job.pipeline
    most = "up to " if pipeline.stop_rule is not None else ""
    if pipeline.sampler is not None:
        yield "answers", f"{most}{plan.answers:,} to sample"
    if pipeline.scorer is not None:
        yield "scores", f"{most}{plan.scores:,} by {pipeline.scorer.name}"
    for role, clients in roles_of(job).items():
        models = " and ".join(client.model for client in clients)
        slots = sum(client.concurrency or 0 for client in clients) or "auto"
        is_one_of_several = pipeline.scorer is not None and pipeline.scorer.askers() != [pipeline.scorer]
        upper = "up to " if role == "scorer" and is_one_of_several else most
        yield (
            role,
            f"{upper}{plan.requests[role]:,} requests for {models}, {slots} in flight",
        )


def lines_of(rows: list[tuple[str, str]]) -> list[str]:
    return [f"  {name:<9} {printable(text)}" for name, text in rows]


def requests_of(job: Job, plan: Plan) -> Iterator[str]:
    """The first request of each role, as it would be sent."""
    for role in senders(job):
        yield ""
        request = plan.first.get(role)
        if request is None:
            yield f"{role}: no request"
            continue
        unlike = f'; "{PLACEHOLDER}" stands for the answer' if role == "scorer" and plan.with_placeholder else ""
        local = "; the embedded server's port is chosen when it starts" if request.url.startswith(FREE_PORT) else ""
        can_loop = role == "generator" and any(client.stops_loops for client in roles_of(job)[role])
        loops = f"; {DEPENDS}" if can_loop else ""
        yield f"{role}: the first request{unlike}{local}{loops}"
        yield f"POST {request.url}"
        yield from (f"{name}: {printable(value)}" for name, value in request.headers.items())
        yield ""
        yield request.body.decode()
