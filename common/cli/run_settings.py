"""The settings that a run writes beside its output, read back as flags: what made the answers and the scores.

They name neither files nor servers, and not the prompts in files, of which they hold the fingerprints.

Example: ``flags_of_settings({"generator temperature": 0.3}, "out.jsonl.settings.json", ["temperature"], [])``
"""

from __future__ import annotations

import re
from typing import Any, Collection, Mapping

from ..errors import UsageError, did_you_mean
from ..records import fingerprint
from ..scoring.judge import MAX_TOKENS
from ..scoring.judge_prompt import FORMS_ASKED, own_prompt
from ..scoring.scorers import SCORERS
from ..storage.result_files import WRITTEN
from ..storage.run_files import MIX, POPULATION, UNFINISHED, generators_in

# What the settings hold and not every command has a flag for.
WITHOUT_FLAG = {
    WRITTEN,
    UNFINISHED,
    *"input answers_per_question max_tokens accept_score stop_after give_up_after stop_sure".split(),
}

TEMPLATE = "prompt_template"  # of a generator


def is_settings(values: Mapping[Any, Any]) -> bool:
    """Whether a file's values are the settings that a run wrote beside its output.

    >>> is_settings({"generator model": "m", "written": {}}), is_settings({"temperature": 1})
    (True, False)
    """
    return WRITTEN in values or any(re.match("(generator|scorer) ", str(name)) for name in values)


def flags_of_settings(
    settings: Mapping[str, Any], path: str, flags: Collection[str], named: Collection[str]
) -> dict[str, Any]:
    """The flags, by destination, that make a run with these settings. What this command has no flag for is left out.

    UsageError if there was a prompt template or a judge's prompt of the user's own, which settings do not hold, and
    ``named`` lacks one too.
    """
    found: dict[str, Any] = {}
    has_template = any(TEMPLATE in one for one in generators_in(dict(settings)))
    if has_template and TEMPLATE in flags and TEMPLATE not in named:
        raise UsageError(f"{path} does not hold the prompt template: name it with --prompt_template")
    for name, value in settings.items():
        if name in (f"{POPULATION}{TEMPLATE}", MIX):
            continue
        role, space, rest = str(name).partition(" ")
        flag = next((one for one in (f"{role}_{rest}", rest if space else name) if one in flags), None)
        is_mistaken = not space and name not in WITHOUT_FLAG and did_you_mean(role, flags)
        if flag is not None or is_mistaken:
            found[flag or name] = value
    if isinstance(settings.get(MIX), list):
        if isinstance(found.get("max_tokens"), list):
            del found["max_tokens"]  # each generator has a limit of its own
        found.update(_of_mix(settings, path, flags, named))
    if isinstance(found.get("scorer"), str):
        found["scorer"] = specs_of(found["scorer"])
    mode = str(settings.get("scorer judge_mode"))
    if "judge_mode" in found and mode in FORMS_ASKED:
        _leave_out_judge_defaults(found, mode)
        ours = fingerprint(own_prompt(mode))
        is_ours = settings.get("scorer prompt", ours) == ours  # compare has none of the user's own
        if not (is_ours or {"judge_prompt", "scorer"} & set(named)):
            raise UsageError(
                f"{path} does not hold the judge's prompt, which was not ours: name it with --judge_prompt"
            )
    return found


def _of_mix(settings: Mapping[str, Any], path: str, flags: Collection[str], named: Collection[str]) -> dict[str, Any]:
    """The flags that hold for all of several generators. UsageError unless ``named`` says where these are."""
    if "generators" in flags and not {"generators", "generator_model"} & set(named):
        raise UsageError(
            f"{path} is of several generators, and holds no servers: name them with --generators or --generator_model"
        )
    first, *others = generators_in(dict(settings))
    common = {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}
    common.pop(TEMPLATE, None)
    places = {name: next((one for one in (f"generator_{name}", name) if one in flags), None) for name in common}
    return {flag: common[name] for name, flag in places.items() if flag is not None}


def specs_of(scorer: str) -> list[str]:
    """The scorers of a setting, each as after --scorer.

    >>> specs_of("match python:my file.py:verify judge")
    ['match', 'python:my file.py:verify', 'judge']
    """
    return re.split(f" (?=(?:{'|'.join(SCORERS)})(?:[ :]|$))", scorer)


def _leave_out_judge_defaults(found: dict[str, Any], mode: str) -> None:
    """Removes what the judge's other flags give by themselves."""
    if found.get("judge_temperature") == float(found.get("judge_samples", 1) != 1):
        del found["judge_temperature"]
    if found.get("judge_max_tokens") == MAX_TOKENS[mode]:
        del found["judge_max_tokens"]
