"""distilabel: a pipeline of TextGeneration steps, the second of which judges the first one's rows.

Its requests in flight are the batch size of a step: a step waits for all of a batch. Each question stands in the data
as often as it wants answers, since ``num_generations`` would ask for all of them in one request. Its cache is off.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any, Dict

import peer_io
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

TEMPLATE = peer_io.JUDGE.format(question="{{ instruction }}", answer="{{ answer }}")


def model(port: int) -> OpenAILLM:
    """A server's model, without retries."""
    return OpenAILLM(
        model="m",
        base_url=peer_io.url(port),
        api_key="none",
        max_retries=0,
        generation_kwargs={"temperature": 0.8},
    )


def settings(args: argparse.Namespace) -> Dict[str, Any]:
    """What both steps have: the batch size, and no copy of the raw replies."""
    return {"input_batch_size": args.in_flight, "add_raw_output": False, "add_raw_input": False}


def run(args: argparse.Namespace, folder: str) -> None:
    """The answers, and their scores where there is a judge."""
    data = [{"instruction": question} for question in peer_io.asked(args)]
    with Pipeline(name="peers", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(data=data, batch_size=args.in_flight)
        answers = TextGeneration(llm=model(args.port), output_mappings={"generation": "answer"}, **settings(args))
        load >> answers
        if args.judge_port:
            scores = TextGeneration(
                llm=model(args.judge_port),
                template=TEMPLATE,
                columns=["instruction", "answer"],
                output_mappings={"generation": "score"},
                **settings(args),
            )
            answers >> scores
    rows = pipeline.run(use_cache=False)["default"]["train"]
    peer_io.write(
        args,
        ({"question": row["instruction"], "answer": row["answer"], "score": row.get("score")} for row in rows),
    )


if __name__ == "__main__":
    os.environ["DISTILABEL_LOG_LEVEL"] = "WARNING"
    with tempfile.TemporaryDirectory() as name:
        run(peer_io.arguments(), name)
