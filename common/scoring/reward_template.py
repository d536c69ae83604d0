"""``--reward_template FILE``: a chat template (Jinja, as in a tokenizer's configuration), for a server that cannot
render the messages itself.

Templates are run as transformers runs them: in a sandbox, with the blocks trimmed.

Example: ``ChatTemplate("--reward_template", "rm.jinja").render([{"role": "user", "content": "2+2?"}])``
"""

from __future__ import annotations

from typing import Any, Sequence

from ..errors import BadEntry, UsageError
from ..extras import require
from ..records import fingerprint
from ..servers.messages import Message

SPECIAL_TOKENS = ("eos_token", "pad_token", "unk_token")  # of the tokenizer, which is not here
EXAMPLE = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]


class ChatTemplate:
    """The template in a file. UsageError if it cannot be read, is not a template, or does not render messages.

    ``bos_token`` is empty in it: the servers add that token. Another process that gets the template parses it again.
    """

    def __init__(self, flag: str, path: str) -> None:
        self._flag = flag
        self.path = path
        try:
            with open(path, encoding="utf-8") as file:
                self._source = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{flag}: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        self._template: Any = None
        try:
            text = self.render(EXAMPLE)
        except BadEntry as error:
            raise UsageError(f"{error}; write the texts of special tokens, such as </s>, into the file") from error
        if not all(message["content"] in text for message in EXAMPLE):
            raise UsageError(f"{flag}: {path} must render the content of messages, as a chat template does")

    @property
    def version(self) -> str:
        """12 hex digits that change with the template."""
        return fingerprint(self._source)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_template": None}

    def render(self, messages: Sequence[Message]) -> str:
        """The text of messages. BadEntry if the template refuses them."""
        jinja2 = require("jinja2", self._flag, "report")
        if self._template is None:
            self._template = self._parsed(jinja2)
        try:
            strict = {name: jinja2.StrictUndefined(name=name) for name in SPECIAL_TOKENS}
            return str(self._template.render(messages=messages, bos_token="", add_generation_prompt=False, **strict))
        except (jinja2.TemplateError, TypeError, ValueError, AttributeError) as error:
            raise BadEntry(f"{self._flag}: {self.path} cannot render these messages: {error}") from error

    def _parsed(self, jinja2: Any) -> Any:
        sandbox = require("jinja2.sandbox", self._flag, "report")
        environment = sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        environment.globals["raise_exception"] = refuse
        environment.globals["tools"] = None
        try:
            return environment.from_string(self._source)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"{self._flag}: {self.path} line {error.lineno}: {error.message}") from error
