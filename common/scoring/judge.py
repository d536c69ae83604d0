"""``--scorer judge``: an LLM scores the answer by its words, by a JSON object, or by its token probabilities.

In each mode the result is a number in the range, or an unscored answer with its reason. So is an answer that the
judge's server refuses for good. A request that failed in another way is neither.

Example: ``score = await Judge(client, 0, 10, mode="logprob").score(entry, [], "2 + 2 is 4")``
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import functools
import math
import statistics
from typing import Any, Collection, Iterator, Sequence

from ..errors import BadEntry, RequestFailed, Retryable, UsageError
from ..flag_types import float_between, int_between, path
from ..records import Answer, Entry, Record, Score, fingerprint, number_text, score_from_line
from ..servers.client import ChatClient
from ..servers.messages import Message
from ..thinking import without_thoughts
from .judge_logprobs import ProbabilityReader
from .judge_prompt import (
    ask_again,
    default_template,
    judge_messages,
    judge_text,
    own_prompt,
    read_judge_prompt,
    with_thoughts,
)
from .judge_reply import NO_SCORE, Reading, read_verdict
from .judge_requests import JudgeRequests, Usage, fault_of
from .rows import ROW_KEYS, own_keys_in, row_of, row_texts
from .shapes import AnswerScorer, Verdicts, maker_of

MODES = ("text", "json", "logprob")
MAX_TOKENS = {"text": 1024, "json": 1024, "logprob": 8}  # in logprob mode, the judge says only its score
MOST_SCORES = 1000  # of logprob mode


_VERDICT_SCHEMA = {
    "type": "object",
    "properties": {"reasoning": {"type": "string"}, "score": {"type": "number"}},
    "required": ["reasoning", "score"],
    "additionalProperties": False,
}
_JSON_FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": _VERDICT_SCHEMA}}


class Judge(AnswerScorer):
    """Scores from ``low`` to ``high``. The score is the mean of ``samples`` replies.

    ``template`` is the user's own prompt, ``temperature`` None means the server's, and ``max_tokens`` None means
    ``MAX_TOKENS``. ``sees_thoughts`` says whether the judge is shown the thoughts of the answers too. ``score`` raises
    Retryable if a request failed in all its tries, or ServerRefused if the server does not support the ``mode``.
    """

    name = "judge"
    usage = "judge"
    help = "an LLM scores the answer"
    needs_client = True

    def __init__(
        self,
        client: ChatClient,
        low: float,
        high: float,
        mode: str = "text",
        samples: int = 1,
        template: str | None = None,
        temperature: float | None = 0.0,
        max_tokens: int | None = None,
        wants_images: bool = False,
        sees_thoughts: bool = False,
    ) -> None:
        max_tokens = max_tokens or MAX_TOKENS[mode]
        settings: dict[str, Any] = {
            "model": client.model,
            "score_min": low,
            "score_max": high,
            "prompt": fingerprint(template or own_prompt(mode)),
            "judge_mode": mode,
            "judge_samples": samples,
            "judge_temperature": temperature,
            "judge_max_tokens": max_tokens,
            "judge_images": wants_images,
            "extra_body": client.extra_body,
            **({"judge_thoughts": True} if sees_thoughts else {}),
            **({ROW_KEYS: own_keys_in(template)} if own_keys_in(template) else {}),
        }
        super().__init__(settings)
        self.needed_keys = [("--judge_prompt", key) for key in own_keys_in(template)]
        self.wants_images = wants_images
        self._client = client
        self._low = low
        self._high = high
        self._mode = mode
        self._samples = samples
        self.part_ids = frozenset(map(fingerprint, fewer_replies(settings)))
        self._template = template
        self._sees_thoughts = sees_thoughts
        self._requests = JudgeRequests(client, temperature, max_tokens)
        self._probability_reader = ProbabilityReader(self._requests, low, high)

    @staticmethod
    def add_flags(group: argparse._ArgumentGroup) -> None:
        """--judge_prompt, --judge_mode and how the judge's replies are sampled."""
        add = group.add_argument
        add(
            "--judge_prompt",
            type=path,
            metavar="FILE",
            help="a prompt of your own with {question}, {reference}, {answer}, and {row.KEY} for a key of the entry",
        )
        add("--print_judge_prompt", action="store_true", help="print the judge's default prompt and exit")
        add("--judge_thoughts", action="store_true", help="show the judge the thoughts of the answers too")
        add("--judge_samples", type=int_between(1), default=1, metavar="K", help="replies whose mean is the score")
        add_reply_flags(group)

    @classmethod
    def from_flags(cls, spec: str, args: argparse.Namespace, client: ChatClient | None) -> Judge:
        """The judge that the --judge flags ask for."""
        assert client is not None
        check_flags(args)
        return cls(
            client,
            args.score_min,
            args.score_max,
            mode=args.judge_mode,
            samples=args.judge_samples,
            template=read_judge_prompt(args.judge_prompt) if args.judge_prompt else None,
            temperature=float(args.judge_samples > 1) if args.judge_temperature is None else args.judge_temperature,
            max_tokens=args.judge_max_tokens,
            wants_images=args.judge_images,
            sees_thoughts=args.judge_thoughts,
        )

    @property
    def requests_per_answer(self) -> int:
        """One request per reply."""
        return self._samples

    def recalls(self, line: Record) -> bool:
        """Whether a panel that this judge was in paid for one of its scores."""
        is_of_panel = "verdict" in line or "panel" in line
        return is_of_panel and any(maker == self.settings_id for maker, _, _ in judged_in(line))

    async def score_with(self, entry: Entry, images: Sequence[str], answer: Answer, verdicts: Verdicts) -> Score:
        """As ``score_answer``, unless a panel has this judge's score already."""
        known = judged_before(verdicts.lines, [self.settings_id], answer.digest, self.retry_unscored)
        return known[-1] if known else await self.score_answer(entry, images, answer)

    async def score_answer(self, entry: Entry, images: Sequence[str], answer: Answer) -> Score:
        """As ``score``, of the answer with its reasoning if the judge is to see thoughts."""
        text = with_thoughts(answer) if self._sees_thoughts else answer.text
        return await self._score_text(entry, images, text, row_of(entry, answer))

    async def score(self, entry: Entry, images: Sequence[str], text: str) -> Score:
        """The score of one answer's text; ``images`` are the URLs that the judge is shown."""
        return await self._score_text(entry, images, text, row_of(entry, Answer(text)))

    async def _score_text(self, entry: Entry, images: Sequence[str], text: str, row: dict[str, Any]) -> Score:
        answer = text if self._sees_thoughts else without_thoughts(text)
        if answer is None or (text.strip() and not answer.strip()):
            return Score(None, unscored="the answer has only thoughts")
        try:
            texts = row_texts(self._template or "", row)
        except BadEntry as error:
            return Score(None, unscored=str(error))
        prompt = judge_text(entry, answer, self._low, self._high, self._template, self._mode, texts)
        ask = functools.partial(self._score_once, entry.entry_id, judge_messages(prompt, images), answer)
        if self._samples == 1:
            return await ask()
        tasks = [asyncio.ensure_future(ask()) for _ in range(self._samples)]
        try:
            return mean_score(await asyncio.gather(*tasks))
        finally:  # if one fails, there is no score, and the others need not go on
            for task in tasks:
                task.cancel()

    def rest(self, known: Score) -> Judge:
        """The judge that is asked for the replies that a score of fewer replies lacks."""
        other = copy.copy(self)
        other._samples = self._samples - len(replies_of(known))
        return other

    def joined(self, known: Score, more: Score) -> Score:
        """The mean of all replies."""
        return mean_score([*replies_of(known), *replies_of(more)])

    async def room(self, depth: int) -> None:
        """Returns when fewer requests wait than ``depth`` times the number in flight."""
        await self._client.room(depth)

    def idle(self) -> bool:
        """Whether a request would be sent at once."""
        return self._client.idle()

    async def _score_once(self, entry_id: str, messages: list[Message], answer: str) -> Score:
        """One judgement. A request that the server refuses for good leaves the answer unscored."""
        usage = Usage(entry_id)
        try:
            if self._mode == "logprob":
                score = await self._probability_reader.score(messages, usage)
            else:
                score = await self._score_by_words(messages, usage, answer)
        except Retryable:
            raise  # the server's fault: the next run asks again
        except RequestFailed as error:
            score = Score(None, unscored=f"the judge's server refused the request: {error}")
        return score._replace(judge_usage=usage.spent)

    async def _score_by_words(self, messages: list[Message], usage: Usage, answer: str) -> Score:
        """The verdict of a reply. After a reply that says something else, the judge is shown it, and asked again."""
        features = {"response_format": _JSON_FORMAT} if self._mode == "json" else {}
        turns = messages
        for _ in range(self._client.max_retries + 1):
            reply = await self._requests.ask_with_room(usage, turns, features)
            fault = fault_of(reply)
            if fault is not None:
                return Score(None, reply.text, f"the judge's reply {fault}")
            reading = read_verdict(reply.text, self._low, self._high, answer)
            if reading.value is not None:
                return Score(reading.value, reply.text)
            said = without_thoughts(reply.text) or ""
            turns = ask_again(messages, said.strip(), self._low, self._high, self._mode)
        return Score(None, reply.text, f"the judge's reply {self._reason(reading)}")

    def _reason(self, reading: Reading) -> str:
        bounds = f" from {number_text(self._low)} to {number_text(self._high)}" if reading == NO_SCORE else ""
        return f"{reading.why}{bounds}"


def add_reply_flags(group: argparse._ArgumentGroup) -> None:
    """The flags of a judge's reply, whatever it judges."""
    add = group.add_argument
    add("--judge_images", action="store_true", help="show the judge the entry's images")
    add("--judge_mode", choices=MODES, default="text", help="how the judge says its score")
    add(
        "--judge_temperature",
        type=float_between(0),
        metavar="T",
        help="the judge's sampling temperature (default: 0, or 1 for several samples)",
    )
    add(
        "--judge_max_tokens",
        type=int_between(1),
        metavar="N",
        help="tokens per judge's reply (default: 1024, or 8 in logprob mode)",
    )


def prompt_of_flags(args: argparse.Namespace) -> str:
    """The default prompt for the flags' mode and range, in the form of a ``--judge_prompt`` file."""
    check_flags(args)
    return default_template(args.score_min, args.score_max, args.judge_mode)


def check_flags(args: argparse.Namespace) -> None:
    """UsageError if the judge's flags cannot be used together."""
    low, high, samples = args.score_min, args.score_max, args.judge_samples
    if args.judge_mode == "logprob":
        if math.floor(high) - math.ceil(low) < 1:
            raise UsageError(
                f"--judge_mode logprob needs two whole numbers from --score_min {low:g} to --score_max {high:g}"
            )
        if high - low > MOST_SCORES:
            raise UsageError(f"--judge_mode logprob can use at most {MOST_SCORES} scores, not {low:g} to {high:g}")
        if samples > 1:
            raise UsageError("--judge_mode logprob needs no --judge_samples: it reads the whole distribution at once")
    if samples > 1 and args.judge_temperature == 0:
        raise UsageError(f"--judge_samples {samples} at --judge_temperature 0 asks for the same reply {samples} times")


def fewer_replies(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The judge's settings with fewer replies per score. A single reply has another temperature by default."""
    scorer = {"scorer": Judge.name, **settings}
    for samples in range(1, scorer["judge_samples"]):
        yield {**scorer, "judge_samples": samples}
    if scorer["judge_samples"] > 1 and scorer["judge_temperature"] == 1.0:
        yield {**scorer, "judge_samples": 1, "judge_temperature": 0.0}


def judged_in(line: Record) -> Iterator[tuple[str, str, Score]]:
    """(maker, digest of the answer, score) of each judge's score in a ledger line; a panel's line has several."""
    digest = line.get("digest") or line.get("verdict") or ""
    if "score" in line:
        yield maker_of(line), digest, score_from_line(line)
    for one in line.get("panel") or ():
        if isinstance(one, dict) and isinstance(one.get("made_by"), str) and _is_score(one.get("score", "")):
            yield one["made_by"], digest, score_from_line(one)


def _is_score(value: object) -> bool:
    """Whether a value may be a score: records may come from others."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value))


def judged_before(lines: Sequence[Record], makers: Collection[str], digest: str, scored_only: bool) -> list[Score]:
    """The scores that these makers gave an answer before."""
    found = [score for line in lines for maker, text, score in judged_in(line) if text == digest and maker in makers]
    return [score for score in found if not (scored_only and score.value is None)]


def replies_of(score: Score) -> list[Score]:
    """The score of each reply that a score is the mean of. The first one has what they took together."""
    if score.judge_samples is None:
        return [score]
    first, *others = [Score(one["score"], one["reply"], score.unscored) for one in score.judge_samples]
    return [first._replace(judge_usage=score.judge_usage), *others]


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean and the standard deviation of several replies' scores; replies without a score do not count."""
    samples = [{"score": score.value, "reply": score.judge_reply} for score in scores]
    values = [score.value for score in scores if score.value is not None]
    usage = usage_of(scores)
    if not values:
        return Score(None, unscored=scores[0].unscored, judge_samples=samples, judge_usage=usage)
    spread = statistics.pstdev(values)
    return Score(statistics.fmean(values), spread=spread, judge_samples=samples, judge_usage=usage)


def usage_of(scores: Sequence[Score]) -> dict[str, int]:
    """What several scores took together."""
    usage: dict[str, int] = {}
    for score in scores:
        for name, count in (score.judge_usage or {}).items():
            usage[name] = usage.get(name, 0) + count
    return usage
