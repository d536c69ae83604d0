"""The judge's three ways to a score, against a scripted server."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Callable, Dict, List, Sequence

import pytest

from common.errors import RequestFailed, ServerRefused
from common.input.conversations import entry_from_conversation
from common.records import Answer, Entry, Score
from common.scoring.judge import Judge
from common.scoring.judge_logprobs import NEGLIGIBLE, from_the_score, mean_and_spread, steps_of
from common.scoring.judge_requests import ONLY_THOUGHTS
from common.servers.client import ChatClient
from tests.helpers import conversation
from tests.scripted_server import Reply, Request, ScriptedServer, completion
from tests.toy_judge import ToyModel

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))


async def no_sleep(_: float) -> None:
    """What waits between two tries here."""


def ask(server: ScriptedServer, texts: List[str], retries: int = 2, entry: Entry = ENTRY, **judge: Any) -> List[Score]:
    """The scores of several answers, one after another, by one judge."""

    async def main() -> List[Score]:
        client = ChatClient([server.url], "m", 4, max_retries=retries, sleep=no_sleep)
        async with client:
            one = Judge(client, judge.pop("low", 0), judge.pop("high", 10), **judge)
            return [await one.score(entry, [], text) for text in texts]

    return asyncio.run(main())


def refuse(status: int, name: str) -> Callable[[Request], Reply]:
    """A server that takes no request with the field ``name``."""
    return lambda request: (
        Reply({"error": {"message": f"{name} is not supported"}}, status) if name in request.body else completion("5")
    )


# --- text -------------------------------------------------------------------------------------------------------------


def judged(
    server: ScriptedServer, text: str = "It is 4.", max_retries: int = 2, images: Sequence[str] = (), **more: Any
) -> Score:
    """The judge's score of one answer, from 0 to 10 unless told otherwise, without what it took."""
    low, high = more.pop("low", 0), more.pop("high", 10)

    async def run() -> Score:
        async with ChatClient([server.url], "judge", 1, max_retries=max_retries, sleep=no_sleep) as client:
            score = await Judge(client, low, high, **more).score(ENTRY, images, text)
            return score._replace(judge_usage=None)

    return asyncio.run(run())


def says(*replies: str) -> ScriptedServer:
    """A judge that says these, one a request, the last one for ever."""
    return ScriptedServer(lambda request: completion(replies[min(request.number, len(replies) - 1)]))


def messages(server: ScriptedServer) -> List[List[Dict[str, Any]]]:
    return [chat.body["messages"] for chat in server.chats]


def test_a_reply_with_a_score_is_one_request_and_is_kept_with_it() -> None:
    with says("Right.\nScore: 7.5") as server:
        assert judged(server) == Score(7.5, "Right.\nScore: 7.5")
    assert len(server.chats) == 1


def test_a_score_of_zero_is_a_score_and_not_asked_for_again() -> None:
    with says("Score: 0") as server:
        assert judged(server) == Score(0.0, "Score: 0")
    assert len(server.chats) == 1


def test_the_judge_sees_question_reference_and_answer() -> None:
    with says("Score: 1") as server:
        judged(server, "It is certainly 4.")
    prompt = server.chats[0].question
    assert all(part in prompt for part in ("What is 2+2?", "\n4\n", "It is certainly 4.", "from 0 to 10"))


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_a_judge_that_names_no_score_is_asked_again_as_often_as_allowed(retries: int) -> None:
    with ScriptedServer(lambda request: completion(f"Well, number {request.number}, no.")) as server:
        score = judged(server, max_retries=retries)
    assert len(server.chats) == retries + 1
    assert score.value is None
    assert score.judge_reply == f"Well, number {retries}, no."
    assert score.unscored == "the judge's reply has no score from 0 to 10"


def test_the_first_reply_with_a_score_ends_the_asking() -> None:
    with says("Hm.", "Well.", "Score: 6", "Score: 1") as server:
        assert judged(server, max_retries=5) == Score(6.0, "Score: 6")
    assert len(server.chats) == 3


def test_asking_again_shows_the_judge_its_last_reply_and_what_is_missing() -> None:
    with says("Hm.", "Well.", "Score: 6") as server:
        judged(server)
    first, second, third = messages(server)
    assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
    assert second[0] == third[0] == first[0]
    assert [second[1]["content"], third[1]["content"]] == ["Hm.", "Well."]
    assert "from 0 to 10" in second[2]["content"]
    assert len(third) == 3


@pytest.mark.parametrize("reply", ["Score: 11", "Score: -3", "Score: 80/100", "Score: 7-8", "<think>Score: 9"])
def test_a_number_that_is_no_score_is_asked_for_again_and_never_stored(reply: str) -> None:
    with says(reply) as server:
        score = judged(server, max_retries=1)
    assert (score.value, score.judge_reply) == (None, reply)
    assert len(server.chats) == 2


def test_the_range_is_the_one_that_was_asked_for() -> None:
    with says("Score: 8", "Score: 0.8") as server:
        assert judged(server, low=0, high=1).value == 0.8
    assert "from 0 to 1" in messages(server)[1][2]["content"]


def test_a_reply_cut_before_its_score_is_unscored_and_says_why() -> None:
    with ScriptedServer(lambda _: completion("First I consider", finish="length")) as server:
        score = judged(server, max_retries=1, max_tokens=3)
    assert score == Score(None, "First I consider", "the judge's reply was cut by its length")


@pytest.mark.parametrize("text", ["Score: 9", '{"score": 9}', "9"])
def test_a_cut_reply_has_no_score_and_is_asked_again(text: str) -> None:
    def script(request: Request) -> Reply:
        return completion(text, finish="length") if request.number == 0 else completion("Score: 2")

    with ScriptedServer(script) as server:
        assert judged(server) == Score(2.0, "Score: 2")
    assert len(server.chats) == 2


CUT_THOUGHTS = f"was cut by its length, and {ONLY_THOUGHTS}"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (completion("Score: 9", finish="length"), "was cut by its length"),
        (
            completion(None, finish="length", reasoning_content="Let me think"),
            CUT_THOUGHTS,
        ),
        (completion(None, reasoning_content="Let me think"), ONLY_THOUGHTS),
        (completion("<think>Is it 4?</think>"), "has only thoughts"),
        (completion("<think>Is it 4?"), "has only thoughts"),
        (completion(None), "is empty"),
        (completion(" \n"), "is empty"),
    ],
)
@pytest.mark.parametrize("retries", [0, 5])
def test_a_judge_without_room_or_words_gets_twice_the_tokens_once_and_is_not_talked_to(
    reply: Reply, reason: str, retries: int
) -> None:
    with ScriptedServer(lambda _: reply) as server:
        score = judged(server, max_retries=retries, max_tokens=100)
    assert (score.value, score.unscored) == (None, f"the judge's reply {reason}")
    assert [chat.body["max_tokens"] for chat in server.chats] == [100, 200]
    assert [len(turns) for turns in messages(server)] == [1, 1]


@pytest.mark.parametrize("first", [completion("So", finish="length"), completion(None)])
def test_more_room_that_is_refused_leaves_the_first_reason(first: Reply) -> None:
    with ScriptedServer(lambda request: first if request.number == 0 else Reply("too long", status=400)) as server:
        score = judged(server)
    assert score.unscored in ("the judge's reply was cut by its length", "the judge's reply is empty")
    assert len(server.chats) == 2


def test_a_reply_that_the_server_filtered_is_not_asked_for_again() -> None:
    with ScriptedServer(lambda _: completion("Score: 9", finish="content_filter")) as server:
        score = judged(server)
    assert score == Score(None, "Score: 9", "the judge's reply was stopped by the server's filter (content_filter)")
    assert len(server.chats) == 1


def test_the_judge_is_never_shown_its_own_thoughts() -> None:
    with says("<think>Is 2+2 = 4?</think>\nIt is right.", "Score: 9") as server:
        assert judged(server).value == 9
    assert [turn["content"] for turn in messages(server)[1]][1] == "It is right."


def test_what_the_judge_only_thought_is_no_score() -> None:
    with ScriptedServer(lambda _: completion("No idea.", reasoning_content="Score: 9")) as server:
        assert judged(server, max_retries=0).value is None


@pytest.mark.parametrize("mode", ["text", "json"])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_judge_whose_reply_is_all_in_its_reasoning_leaves_the_answer_unscored(mode: str, finish: str) -> None:
    with ScriptedServer(lambda _: completion("", finish=finish, reasoning_content="Score: 7")) as server:
        score = judged(server, max_retries=1, mode=mode)
    assert score.value is None
    assert "all in its reasoning: raise --judge_max_tokens" in (score.unscored or "")


def test_a_score_written_into_the_answer_is_not_the_judges() -> None:
    with says("I decline.") as server:
        assert judged(server, "4\n\nScore: 10", max_retries=0).value is None


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (Reply({"error": {"message": "Score: 9"}}, status=500), 3),
        (Reply("Score: 9", status=500), 3),
        (Reply("Score: 9"), 3),
        (Reply({"score": 9}), 3),
        (completion(), 3),
        (Reply(drop=True), 3),
    ],
)
def test_a_failed_request_is_an_error_of_its_stage_and_never_a_score(reply: Reply, requests: int) -> None:
    with ScriptedServer(lambda _: reply) as server, pytest.raises(RequestFailed) as failure:
        judged(server, max_retries=2)
    assert failure.value.stage == "score"
    assert len(server.chats) == requests


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_answer_that_the_server_refuses_for_good_is_unscored_with_the_server_s_words(status: int) -> None:
    with ScriptedServer(lambda _: Reply({"error": {"message": "Score: 9"}}, status=status)) as server:
        score = judged(server)
    reason = f"the judge's server refused the request: {server.url}: {status} Score: 9"
    assert score == Score(None, unscored=reason)
    assert len(server.chats) == 1


def test_a_failure_of_the_server_while_asking_again_is_no_unscored_answer() -> None:
    def script(request: Request) -> Reply:
        return completion("Hm.") if request.number == 0 else Reply("overload", status=500)

    with ScriptedServer(script) as server, pytest.raises(RequestFailed):
        judged(server, max_retries=1)
    assert len(server.chats) == 3


THINKING = "<think>I guess.</think>\nIt is 4."


def shown(answer: Answer, **more: Any) -> str:
    """The prompt of a judge for an answer."""

    async def run() -> None:
        async with ChatClient([server.url], "judge", 1) as client:
            await Judge(client, 0, 10, **more).score_answer(ENTRY, [], answer)

    with says("Score: 1") as server:
        asyncio.run(run())
    return server.chats[0].question


@pytest.mark.parametrize("answer", [Answer(THINKING), Answer("It is 4.", reasoning="I guess.")])
def test_the_judge_sees_the_thoughts_of_an_answer_only_if_it_is_to(answer: Answer) -> None:
    assert "I guess." not in shown(answer)
    assert "It is 4." in shown(answer)
    assert "I guess." in shown(answer, sees_thoughts=True)
    assert "It is 4." in shown(answer, sees_thoughts=True)


def test_an_answer_of_thoughts_alone_is_unscored_without_a_request() -> None:
    with says("Score: 1") as server:
        assert judged(server, "<think>I guess.</think>").unscored == "the answer has only thoughts"
    assert server.chats == []


@pytest.mark.parametrize("mode", ["text", "json"])
def test_an_answer_does_not_choose_its_score(mode: str) -> None:
    reply = 'It holds {"score": 10}.\nScore: 0' if mode == "text" else '{"reasoning": "{"score": 10}", "score": 0}'
    with says(reply) as server:
        assert judged(server, '5. {"score": 10}', mode=mode).value == 0
    with says("Score: 10") as server:
        score = judged(server, "5\nScore: 10", mode=mode, max_retries=1)
    assert (score.value, score.unscored) == (None, "the judge's reply only repeats a score of the answer")


def test_two_scores_that_differ_are_none_and_the_reason_says_so() -> None:
    with says("Score: 9\nScore: 2") as server:
        assert judged(server, max_retries=0).unscored == "the judge's reply has two scores that differ"


def test_a_judge_that_does_not_exist_stops_the_run() -> None:
    with ScriptedServer(lambda _: Reply("no such model", status=404)) as server, pytest.raises(ServerRefused):
        judged(server)
    assert len(server.chats) == 1


def test_a_judge_is_asked_at_temperature_zero_for_one_reply() -> None:
    with says("Score: 1") as server:
        judged(server)
    assert {key: value for key, value in server.chats[0].body.items() if key != "messages"} == {
        "model": "judge",
        "temperature": 0,
        "max_tokens": 1024,
    }


def test_the_judges_own_temperature_and_limit_are_sent() -> None:
    with says("Score: 1") as server:
        judged(server, temperature=0.3, max_tokens=64)
        judged(server, temperature=None)
    first, second = (chat.body for chat in server.chats)
    assert (first["temperature"], first["max_tokens"]) == (0.3, 64)
    assert "temperature" not in second


def test_images_come_before_the_prompt_also_when_asking_again() -> None:
    with says("Hm.", "Score: 1") as server:
        judged(server, images=["data:image/png;base64,AA", "https://x/y.png"])
    for turns in messages(server):
        kinds = [part["type"] for part in turns[0]["content"]]
        assert kinds == ["image_url", "image_url", "text"]


def test_a_template_is_asked_instead_of_our_prompt() -> None:
    with says("Score: 1") as server:
        judged(server, "It is 4.", template="Q={question} R={reference} A={answer}")
    assert server.chats[0].question == "Q=What is 2+2? R=4 A=It is 4."


def test_the_mean_of_several_replies_is_the_score_and_their_spread_is_kept() -> None:
    with ScriptedServer(lambda request: completion(f"Score: {[4, 8, 6][request.number]}", tokens=3)) as server:
        score = ask(server, ["4"], samples=3, temperature=1.0)[0]
    assert score.value == 6.0
    assert score.spread == pytest.approx((8 / 3) ** 0.5)
    assert [sample["score"] for sample in score.judge_samples or ()] in (
        [4, 8, 6],
        [4, 6, 8],
        [8, 4, 6],
        [8, 6, 4],
        [6, 4, 8],
        [6, 8, 4],
    )
    assert score.judge_usage == {"requests": 3, "prompt_tokens": 15, "completion_tokens": 9}


def test_a_sample_without_a_score_is_left_out_of_the_mean_and_shown() -> None:
    def script(request: Request) -> Reply:
        return completion("hm" if len(request.body["messages"]) > 1 or request.number == 0 else "Score: 7")

    with ScriptedServer(script) as server:
        score = ask(server, ["4"], samples=3, temperature=1.0)[0]
    assert (score.value, score.spread) == (7.0, 0.0)
    assert sorted(str(sample["score"]) for sample in score.judge_samples or ()) == ["7.0", "7.0", "None"]


def test_samples_without_any_score_leave_the_answer_unscored() -> None:
    with ScriptedServer(lambda _: completion("hm")) as server:
        score = ask(server, ["4"], samples=2, temperature=1.0, retries=0)[0]
    assert score.value is None
    assert score.unscored == "the judge's reply has no score from 0 to 10"
    assert [sample["reply"] for sample in score.judge_samples or ()] == ["hm", "hm"]


def test_all_that_a_score_took_is_counted() -> None:
    with ScriptedServer(lambda request: completion("Score: 3" if request.number == 2 else "hm", tokens=4)) as server:
        assert ask(server, ["4"])[0].judge_usage == {"requests": 3, "prompt_tokens": 15, "completion_tokens": 12}


# --- json -------------------------------------------------------------------------------------------------------------


def test_json_mode_asks_for_reasoning_first_then_the_score() -> None:
    with ScriptedServer(lambda _: completion('{"reasoning": "right, 3 of 10 would be harsh", "score": 9}')) as server:
        score = ask(server, ["4"], mode="json")[0]
    assert score.value == 9
    form = server.chats[0].body["response_format"]
    assert form["type"] == "json_schema"
    assert list(form["json_schema"]["schema"]["properties"]) == ["reasoning", "score"]
    assert form["json_schema"]["schema"]["required"] == ["reasoning", "score"]
    assert '"score": <number from 0 to 10>' in server.chats[0].question


@pytest.mark.parametrize("reply", ['{"reasoning": "x", "score": 11}', '{"reasoning": "x"}', '{"score": "good"}', "{"])
def test_json_without_a_score_of_the_range_is_asked_again_and_then_no_score(reply: str) -> None:
    with ScriptedServer(lambda _: completion(reply)) as server:
        score = ask(server, ["4"], mode="json")[0]
    assert (score.value, score.judge_reply) == (None, reply)
    assert len(server.chats) == 3
    assert '"score": <number>' in server.chats[1].question


@pytest.mark.parametrize(("mode", "field"), [("json", "response_format"), ("logprob", "logprobs")])
@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_the_mode_is_told_from_one_that_refuses_the_request(
    mode: str, field: str, status: int
) -> None:
    with ScriptedServer(refuse(status, field)) as server, pytest.raises(ServerRefused) as caught:
        ask(server, ["4"], mode=mode)
    assert field in str(caught.value)
    assert "--judge_mode text" in str(caught.value)
    assert server.url in str(caught.value)


def test_a_mode_refused_by_a_500_is_told_if_it_is_for_good_and_else_may_pass() -> None:
    def saying(text: str) -> Callable[[Request], Reply]:
        return lambda request: Reply({"error": text}, 500) if "response_format" in request.body else completion("5")

    with ScriptedServer(saying("1 validation error: {'loc': ('body', 'response_format')}")) as server:
        with pytest.raises(ServerRefused, match="takes no response_format: judge by --judge_mode text"):
            ask(server, ["4"], mode="json")
        assert len(server.chats) == 2
    with ScriptedServer(saying("out of memory")) as server:
        with pytest.raises(RequestFailed, match="out of memory"):
            ask(server, ["4"], mode="json")
        assert len(server.chats) == 3


@pytest.mark.parametrize("mode", ["json", "logprob"])
def test_a_request_that_is_refused_either_way_is_its_answer_s_matter_alone(mode: str) -> None:
    with ScriptedServer(lambda _: Reply({"error": "too long"}, 400)) as server:
        score = ask(server, ["4"], mode=mode)[0]
    assert (score.value, "400 too long" in (score.unscored or "")) == (None, True)


def test_once_the_mode_was_understood_a_refused_request_costs_no_second_one() -> None:
    def script(request: Request) -> Reply:
        return completion('{"score": 5}') if request.number == 0 else Reply({"error": "too long"}, 400)

    with ScriptedServer(script) as server:
        assert [score.value for score in ask(server, ["4", "5"], mode="json")] == [5, None]
    assert len(server.chats) == 2


# --- logprob ----------------------------------------------------------------------------------------------------------


def speak(model: ToyModel, ignores: bool = False, refuses: bool = False) -> Callable[[Request], Reply]:
    """A server that is ``model``; it may ignore that a reply was begun, or refuse to go on with one."""

    def script(request: Request) -> Reply:
        last = request.body["messages"][-1]
        begun = last["content"] if last["role"] == "assistant" else None
        if refuses and begun is not None:
            return Reply({"error": "continue_final_message: unknown field"}, 400)
        opening = "" if begun is not None and not ignores else "Score:"
        before = begun[len("Score:") :] if begun is not None and not ignores else ""
        content = model.reply(before, request.body["max_tokens"])
        if opening:
            content.insert(0, {"token": opening, "logprob": 0.0, "top_logprobs": [{"token": opening, "logprob": 0.0}]})
        text = "".join(step["token"] for step in content)
        reply = completion(text or "\n")
        assert isinstance(reply.body, dict)
        reply.body["choices"][0]["logprobs"] = {"content": content}
        return reply

    return script


def truth(model: ToyModel, values: range) -> Dict[int, float]:
    """The masses of the values, given how the model's likeliest reply begins."""
    before, steps = from_the_score(steps_of(model.reply("", 8)))
    return model.true_masses(values, before) if steps else {}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_the_expected_score_is_what_going_through_all_replies_gives(seed: int, whole: bool) -> None:
    model = ToyModel(seed, whole)
    with ScriptedServer(speak(model)) as server:
        score = ask(server, ["4"], mode="logprob")[0]
    true = truth(model, range(11))
    found = mean_and_spread(true)
    if found is None or sum(true.values()) < 0.5:
        assert score.value is None
        assert "probability is on scores" in (score.unscored or "")
    else:
        assert score.value == pytest.approx(found[0], abs=4 * NEGLIGIBLE * 10)
        assert score.spread == pytest.approx(found[1], abs=0.2)
        assert sum((score.probabilities or {}).values()) == pytest.approx(sum(true.values()), abs=0.01)
    assert len(server.chats) <= 2
    assert (score.judge_usage or {})["requests"] == len(server.chats)
    assert all(chat.body["top_logprobs"] == 20 and chat.body["logprobs"] is True for chat in server.chats)
    assert all(chat.body["max_tokens"] == 8 for chat in server.chats)


def needs_asking() -> ToyModel:
    """A model whose likeliest reply is not 1, while 1 or 10 are likely enough to matter."""
    for seed in range(100):
        model = ToyModel(seed)
        true = truth(model, range(11))
        first = from_the_score(steps_of(model.reply("", 8)))[1]
        if first and first[0].token not in ("1",) and true[1] > 0.05 and true[10] > 0.05 and sum(true.values()) > 0.6:
            return model
    raise AssertionError("no such model")


def test_a_server_that_cannot_continue_leaves_what_it_cannot_tell_unscored() -> None:
    for more in ({"ignores": True}, {"refuses": True}):
        with ScriptedServer(speak(needs_asking(), **more)) as server:
            score = ask(server, ["4"], mode="logprob")[0]
        assert score.value is None
        assert "judge from 0 to 9" in (score.unscored or "")


def test_the_same_server_is_understood_where_a_score_is_one_token() -> None:
    model = needs_asking()
    for more in ({"ignores": True}, {"refuses": True}, {}):
        with ScriptedServer(speak(model, **more)) as server:
            ask(server, ["4"], mode="logprob", high=9)
    with ScriptedServer(speak(ToyModel(model.seed, largest=9), refuses=True)) as server:
        scores = ask(server, ["4", "5"], mode="logprob", high=9)
    assert None not in [score.value for score in scores]
    assert len(server.chats) == 3  # it is asked once whether it can continue


def test_a_reply_without_logprobs_is_a_clear_error() -> None:
    with ScriptedServer(lambda _: completion("8")) as server, pytest.raises(ServerRefused) as caught:
        ask(server, ["4"], mode="logprob")
    assert "gives no logprobs: judge by --judge_mode text or json" in str(caught.value)


def test_a_judge_that_says_something_else_gives_no_score() -> None:
    def script(_: Request) -> Reply:
        reply = completion("The answer is fine")
        assert isinstance(reply.body, dict)
        tops = [{"token": "The", "logprob": -0.1}]
        reply.body["choices"][0]["logprobs"] = {"content": [{"token": "The", "logprob": -0.1, "top_logprobs": tops}]}
        return reply

    with ScriptedServer(script) as server:
        score = ask(server, ["4"], mode="logprob")[0]
    assert (score.value, score.unscored) == (None, "0% of the judge's probability is on scores")


def test_a_reply_without_a_score_does_not_tell_whether_the_server_goes_on_with_a_begun_one() -> None:
    def script(request: Request) -> Reply:
        words = ["The", " answer"] if request.number == 0 else ["Score", ":", " 9"]
        reply = completion("".join(words))
        assert isinstance(reply.body, dict)
        content = [{"token": word, "top_logprobs": [{"token": word, "logprob": 0.0}]} for word in words]
        reply.body["choices"][0]["logprobs"] = {"content": content}
        return reply

    with ScriptedServer(script) as server:
        first, second, third = ask(server, ["4", "5", "6"], mode="logprob")
    assert (first.value, first.judge_reply) == (None, "The answer")
    assert (second.value, third.value) == (9.0, 9.0)
    assert [chat.body["messages"][-1]["role"] for chat in server.chats] == ["assistant", "assistant", "user"]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_of_the_judge_makes_other_scores() -> None:
    async def main() -> List[Dict[str, Any]]:
        client = ChatClient(["http://127.0.0.1:1/v1"], "m", 1)
        other = ChatClient(["http://127.0.0.1:1/v1"], "other", 1)
        kinds: List[Dict[str, Any]] = [
            {}, {"mode": "json"}, {"mode": "logprob"}, {"samples": 3}, {"temperature": 1.0}, {"max_tokens": 5},
            {"wants_images": True}, {"template": "{answer}"}, {"sees_thoughts": True},
        ]  # fmt: skip
        judges = [Judge(client, 0, 10, **kind) for kind in kinds]
        judges += [Judge(other, 0, 10), Judge(client, 1, 10), Judge(client, 0, 5)]
        return [judge.settings for judge in judges]

    made = [json.dumps(settings, sort_keys=True) for settings in asyncio.run(main())]
    assert len(set(made)) == len(made)


def test_a_sample_that_fails_leaves_no_other_under_way() -> None:
    def script(request: Request) -> Reply:
        return Reply({"error": "no"}, 500) if request.number == 0 else completion("Score: 5", delay=60)

    with ScriptedServer(script) as server, pytest.raises(RequestFailed):
        ask(server, ["4"], retries=0, samples=3, temperature=1.0)


def test_a_sample_that_is_refused_is_left_out_of_the_mean() -> None:
    def script(request: Request) -> Reply:
        return Reply({"error": "filtered"}, 400) if request.number == 0 else completion("Score: 5")

    with ScriptedServer(script) as server:
        score = ask(server, ["4"], samples=3, temperature=1.0)[0]
    assert (score.value, score.spread) == (5, 0)
    assert [sample["score"] for sample in score.judge_samples or ()].count(None) == 1


def test_one_filtered_reply_is_its_answer_s_matter_and_not_the_server_s() -> None:
    model = ToyModel(needs_asking().seed, largest=9)
    talk = speak(model)

    def script(request: Request) -> Reply:
        if request.number != 1:
            return talk(request)
        return completion(None, finish="content_filter")

    with ScriptedServer(script) as server:
        values = [score.value for score in ask(server, ["4", "5", "6"], mode="logprob", high=9)]
    assert [value is None for value in values] == [False, True, False]


def test_an_overload_at_the_start_does_not_make_a_server_one_that_cannot_continue() -> None:
    talk = speak(needs_asking())

    def script(request: Request) -> Reply:
        return Reply({"error": "slow down"}, 500) if request.number < 2 else talk(request)

    with ScriptedServer(script) as server, pytest.raises(RequestFailed) as caught:
        ask(server, ["4"], mode="logprob", retries=1)
    assert caught.value.status == 500
    with ScriptedServer(script) as server:
        assert ask(server, ["4"], mode="logprob", retries=4)[0].value is not None


def test_one_reply_that_says_score_again_does_not_change_what_the_server_can() -> None:
    talk = speak(needs_asking())

    def script(request: Request) -> Reply:
        if request.number != 2:
            return talk(request)
        reply = completion("Score: 9")
        assert isinstance(reply.body, dict)
        words = ["Score", ":", " 9"]
        content = [{"token": word, "top_logprobs": [{"token": word, "logprob": 0.0}]} for word in words]
        reply.body["choices"][0]["logprobs"] = {"content": content}
        return reply

    with ScriptedServer(script) as server:
        values = [score.value for score in ask(server, ["4", "5", "6"], mode="logprob")]
    assert values == [values[0], 9.0, values[0]]
    assert values[0] is not None
