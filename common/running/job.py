"""A job: all that one command is asked to do, as plain data.

Example: ``Job(script="sampling.py", input_file="data/input.json", output_file="out.jsonl", ...).settings()``
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Sequence

from ..records import PendingEntry
from ..results.cleaning.cleaner import Cleaning
from ..results.examples import RowOptions
from ..results.selection import Selection
from ..scoring.shapes import EntryScorer, Scorer
from ..servers.client import ChatClient
from ..servers.local import LocalServer
from ..storage.ledger_lines import ANY, Range
from .early_stopping import StopRule, StopSure
from .generators import Generators
from .progress import LINE_EVERY

if TYPE_CHECKING:
    from ..results.calibration import Calibration
    from .batch import Batch

ROWS = RowOptions()


class Pipeline(NamedTuple):
    """What each entry goes through. A Ray worker gets a pickled copy of it."""

    clients: Sequence[ChatClient]  # of all roles
    sampler: Generators | None = None  # None: the answers come with the input
    scorer: Scorer | None = None  # None: the answers are only sampled
    stop_rule: StopRule | StopSure | None = None  # None: each entry gets all its answers

    def role_of(self, client: ChatClient) -> str:
        """What a client is for: it is a generator's, or the scorer's."""
        is_generator = self.sampler is not None and any(client is one for one in self.sampler.clients)
        return "generator" if is_generator else "scorer"


@dataclass
class Results:
    """What is made of the output when the run ends."""

    selection: Selection = field(default_factory=Selection)
    selected_file: str | None = None
    selected_format: str = "sharegpt"
    selected_keys: Sequence[str] = ()
    selected_order: str = "input"
    most_rows: int | None = None  # in the selected file: the first of the output
    rows: RowOptions = ROWS  # how the rows show thoughts and the system prompt
    report_file: str | None = None
    score_range: tuple[float, float] | None = (0.0, 10.0)  # of the scorer; the report's axes. None: without a range
    calibration_file: str | None = None  # where the calibration goes, if the answers are labelled ones
    calibration: Calibration | None = None  # from which the thresholds of the selection come
    cleaning: Cleaning = field(default_factory=Cleaning)  # what is kept out of the selected file
    licence: str | None = None  # of the selected file, for its card
    push_to_hub: str | None = None  # the dataset on the Hub that the selected file is sent to
    command: Sequence[str] = ()  # the words of the command line, for the card

    @property
    def lowest_score(self) -> float | None:
        """The lowest score that the scorer can give, if there is one."""
        return None if self.score_range is None else self.score_range[0]


@dataclass
class Job:
    """One command's work, as its flags describe it."""

    script: str  # the command's name in messages
    input_file: str  # a file, or a folder of files
    output_file: str
    ledger_file: str  # where each answer and each score is kept as it arrives
    keep_ledger: bool  # True: the ledger is the user's --cache_file; False: it is removed once the output holds it all
    read: Callable[[object, int], PendingEntry]  # makes an entry of an input item and its line; raises BadEntry
    pipeline: Pipeline
    results: Results = field(default_factory=Results)
    local: LocalServer | None = None  # the embedded server of --local, which this run starts
    ray: str | None = None  # the address of a Ray cluster ("": this machine's), where its workers process the entries
    image_root: str | None = None  # the folder that image paths may not leave; None: the input's folder, and no limit
    max_image_bytes: int = 20 << 20
    limit: int | None = None  # process only the first entries
    token_budget: int | None = None  # start no request for an answer after this many completion tokens
    time_budget: float | None = None  # nor after this many seconds
    target_accepted: int | None = None  # nor once the selection has this many rows
    breadth: bool = False  # one answer for every entry, then a second one where it is needed
    estimate: int | None = None  # process only this many entries, spread over the input, and estimate the whole job
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by role: of prompt and completion tokens
    batch: Batch | None = None  # takes requests and replies in place of the servers
    allow_mixed: bool = False  # add to an output that other settings wrote
    quiet: bool = False
    line_every: float = LINE_EVERY  # seconds between two lines of progress, where stderr is not a terminal
    more_inputs: Sequence[str] = ()  # records of the same entries, whose answers are joined to those of ``input_file``

    @property
    def input_files(self) -> list[str]:
        """All inputs."""
        return [self.input_file, *self.more_inputs]

    @property
    def errors_file(self) -> str:
        """The file of the entries that failed."""
        return self.output_file + ".errors.jsonl"

    @property
    def image_folder(self) -> str:
        """The folder that relative image paths are relative to."""
        source = os.path.abspath(self.input_file)
        return self.image_root or (source if os.path.isdir(source) else os.path.dirname(source))

    @property
    def ledger_range(self) -> Range:
        """The range of the scores in the ledger, also of those that are a part of others."""
        scorer = self.pipeline.scorer
        part = scorer.part if isinstance(scorer, EntryScorer) else None
        return ANY if part is not None and not part.has_range else self.results.score_range or ANY

    def settings(self) -> dict[str, Any]:
        """All that makes this run's records what they are, as flat JSON, for the file beside the output."""
        _, sampler, scorer, stop_rule = self.pipeline
        settings: dict[str, Any] = {}
        if sampler is not None:
            settings.update(sampler.settings())
        else:
            settings["input"] = [version_of(path) for path in self.input_files]
        if scorer is not None:
            settings.update({f"scorer {name}": value for name, value in scorer.settings.items()})
        if stop_rule is not None:
            settings.update(dataclasses.asdict(stop_rule))
        return settings


def version_of(path: str) -> list[int]:
    """Bytes and time of the last change of a file or of all files in a folder: others once its content is another."""
    folders = os.walk(path) if os.path.isdir(path) else [(os.path.dirname(path), [], [os.path.basename(path)])]
    files = [os.stat(os.path.join(folder, name)) for folder, _, names in folders for name in names]
    return [sum(file.st_size for file in files), max([file.st_mtime_ns for file in files] or [0])]
