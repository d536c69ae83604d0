"""Writes docs/flags.md from the parsers: one table per group of flags.

Example: ``python -m tests.flags_page > docs/flags.md``
"""

from __future__ import annotations

import argparse
from typing import Dict, List, NamedTuple

from common.cli.commands import COMMANDS

SCRIPTS = {command.script: command for command in COMMANDS.values()}

INTRODUCTION = """\
# Flags

This page is generated from the parsers by `python -m tests.flags_page > docs/flags.md`. `--help` shows the flags that
most users need, and `--help_all` shows all. A flag without a default is off, or not set. Two names in one row mean the
same flag. The column "commands" names the scripts that have the flag. The installed
commands `rejection-sampling sample`, `score` and `reject` have the same flags. `rejection-sampling report` and `select`
have those of the groups "Selection", "Clean data" and "Card", and `--image_root`. `select` has `--verify FILE` too.

- `--port`, `--model` and `--concurrency` mean the same in all three scripts. They are other names of `--api_port`,
  `--generator_port`, `--model_name`, `--generator_model` and `--concurrent_requests`.
- A flag cannot be abbreviated. An unknown flag is refused. The message names the flag that was meant, or the command
  that has it.
- A flag that has no effect with the others is refused, such as `--judge_samples 3` with `--scorer match`. A value that
  is the default is never refused.
- `~` at the start of a path is the user's home.

## A file of flags

`--config job.yaml` sets flags by name. The file may be YAML, TOML (`.toml`) or JSON (`.json`). YAML, and TOML before
Python 3.11, need `pip install ".[config]"`.

```yaml
input_file: data/input.json
output_file: out/answers.jsonl
port: [8000, 8001]
scorer: [match, judge]
judge_images: true
extra_body: {top_k: 20}
```

- The command line wins. Relative paths are relative to the folder where the command runs.
- An unknown name is refused.
- A run's own `OUTPUT.settings.json` can be read back. It holds what made the answers and the scores. It does not hold
  files, servers, the selection and the text of a judge's prompt. If the run had several generators, name them again.
"""


class Row(NamedTuple):
    """One row of a table: a flag as a user writes it, its default and its help."""

    flag: str
    default: str
    text: str


def make_parser(command: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    return SCRIPTS[command].make_parser()


def flags_of(command: str) -> List[str]:
    """All flags of a command, without --help."""
    actions = (action for group in make_parser(command)._action_groups for action in group._group_actions)
    return [option for action in actions if action.dest != "help" for option in action.option_strings]


def page() -> str:
    """The whole page, in Markdown."""
    groups: Dict[str, Dict[Row, List[str]]] = {}
    for command in SCRIPTS:
        for group in make_parser(command)._action_groups:
            for action in group._group_actions:
                if action.dest not in ("help", "help_all", "version"):
                    rows = groups.setdefault(str(group.title), {})
                    rows.setdefault(_row(action), []).append(command)
    return INTRODUCTION + "".join(_table(title, rows) for title, rows in groups.items())


def _table(title: str, rows: Dict[Row, List[str]]) -> str:
    lines = [f"\n## {title[:1].upper()}{title[1:]}\n", "| flag | commands | default | meaning |", "|---|---|---|---|"]
    flags = [row.flag for row in rows]
    for row, commands in sorted(rows.items(), key=lambda item: flags.index(item[0].flag)):
        where = "all" if len(commands) == len(SCRIPTS) else ", ".join(f"`{command}`" for command in commands)
        lines.append(f"| `{row.flag}` | {where} | {row.default} | {row.text} |")
    return "\n".join(lines) + "\n"


def _row(action: argparse.Action) -> Row:
    values = str(action.metavar or " or ".join(map(str, action.choices or ())))
    if action.nargs == "?":
        values = f"[{values}]"
    elif action.nargs == "+":
        values = f"{values} ..."
    text = ((action.help or "") % vars(action)).replace("|", "\\|").replace("<", "&lt;")
    names = ", ".join(name for name in action.option_strings if name.startswith("--"))
    return Row(f"{names} {values}".strip(), _default(action), text)


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    value = " ".join(action.default) if isinstance(action.default, list) else action.default
    if value is None or value is False or value == {}:
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    print(page(), end="")
