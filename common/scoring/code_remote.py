"""The answer's functions, as the tests call them: each call runs in the answer's own process (code_child.py).

What comes back is an object of a built-in class, made here, so a comparison is never the answer's own. Any other object
stays in its process: a ``RemoteObject`` can be called, iterated and asked for attributes, and is equal to no value.

Example: ``Remote(process).get("add")(1, 2) == 3``
"""

from __future__ import annotations

import builtins
import json
from typing import IO, Any, Iterator

from .code_child import decode, encode

LONGEST_REPLY = 64 << 20  # bytes


class Ended(BaseException):
    """The answer's process ended, or said something that is no reply. Tests do not catch it as an exception."""


class CannotTell(BaseException):
    """The tests do something that cannot be trusted or sent, such as comparing two objects of the answer's classes."""


class Remote:
    """The answer's process, by its pipes. ``fault`` says why it gives no more replies, ``last`` is its last value."""

    def __init__(self, requests: IO[bytes], replies: IO[bytes]) -> None:
        self.fault: str | None = None
        self.doubt: str | None = None
        self.last: Any = None
        self._requests = requests
        self._replies = replies

    def ready(self) -> None:
        """Waits for the process's first line."""
        self._read()

    def load(self, parts: list[str]) -> None:
        """Runs the answer's code; raises the exception that it raised."""
        self._ask({"do": "load", "parts": parts})

    def get(self, name: str, of: Any = None) -> Any:
        """A name of the answer's code, or an attribute of one of its objects. AttributeError if there is none."""
        reply = self._ask({"do": "get", "name": name, "of": of})
        if "missing" in reply:
            raise AttributeError(f"the answer has no {name}")
        return self._value(reply)

    def call(self, target: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Calls a function of the answer, and changes the arguments that it changed."""
        sent = [encode(argument, self._sent) for argument in arguments]
        words = {name: encode(value, self._sent) for name, value in named.items()}
        reply = self._ask({"do": "call", "target": target, "arguments": sent, "named": words})
        for argument, new in zip(arguments, reply.get("after", ())):
            _change(argument, self._decoded(new))
        self.last = self._value(reply)
        return self.last

    def run(self, parts: list[str], stdin: str) -> dict[str, Any]:
        """Runs the answer's code as a program: ``stdout``, ``status`` (of ``waitpid``) and ``text``, its last error."""
        return self._ask({"do": "run", "parts": parts, "stdin": stdin})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.fault is not None:
            raise Ended(self.fault)
        try:
            self._requests.write(json.dumps(request).encode("ascii") + b"\n")
            self._requests.flush()
        except OSError:
            raise self._ended("the answer's process ended") from None
        reply = self._read()
        if "raised" in reply:
            raise _exception(reply)
        return reply

    def _read(self) -> dict[str, Any]:
        line = self._replies.readline(LONGEST_REPLY)
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            long = len(line) == LONGEST_REPLY
            raise self._ended("the answer's result is too long" if long else "the answer's process ended")
        return reply

    def _ended(self, fault: str) -> Ended:
        self.fault = fault
        return Ended(fault)

    def _value(self, reply: dict[str, Any]) -> Any:
        if "value" not in reply:
            raise self._ended("the answer's process gave no result")
        return self._decoded(reply["value"])

    def _decoded(self, value: Any) -> Any:
        try:
            return decode(value, lambda reference: RemoteObject(self, int(reference["object"])))
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError):
            raise self._ended("the answer's process gave no result") from None

    def _sent(self, value: Any) -> Any:
        if isinstance(value, RemoteObject):
            return value._answer_reference
        raise self.cannot_tell(
            f"the tests give the answer a {type(value).__name__}, which cannot be sent to its process"
        )

    def cannot_tell(self, doubt: str) -> CannotTell:
        """The error of a test that is undecided."""
        self.doubt = doubt
        return CannotTell(doubt)


class RemoteObject:
    """A function, a class or another object of the answer's, which stays in the answer's process."""

    def __init__(self, remote: Remote, number: int) -> None:
        self._answer_reference = {"object": number}
        self._answer_remote = remote

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._answer_remote.call(self._answer_reference, arguments, named)

    def __getattr__(self, name: str) -> Any:
        return self._answer_remote.get(name, self._answer_reference)

    def _answer_method(self, name: str, *arguments: Any) -> Any:
        try:
            method = self._answer_remote.get(name, self._answer_reference)
        except AttributeError as error:
            raise TypeError(str(error)) from None  # as Python itself says it
        return method(*arguments)

    def __iter__(self) -> Iterator[Any]:
        items = self._answer_method("__iter__")
        while True:
            try:
                yield items.__next__()
            except StopIteration:
                return

    def __next__(self) -> Any:
        return self._answer_method("__next__")

    def __len__(self) -> int:
        return int(self._answer_method("__len__"))

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return self._answer_method("__getitem__", key)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RemoteObject) and other._answer_reference != self._answer_reference:
            raise self._answer_remote.cannot_tell("the tests compare two objects of the answer's own classes")
        return isinstance(other, RemoteObject)

    def _answer_both(self, other: object) -> Any:
        """With a plain value there is no such operation: the answer's class does not decide what it gives."""
        if isinstance(other, RemoteObject):
            raise self._answer_remote.cannot_tell("the tests calculate with two objects of the answer's own classes")
        return NotImplemented

    __add__ = __sub__ = __mul__ = __truediv__ = __lt__ = __le__ = __gt__ = __ge__ = _answer_both

    def __instancecheck__(self, instance: object) -> bool:
        raise self._answer_remote.cannot_tell("the tests ask for the class of an object of the answer's")

    def __str__(self) -> str:
        return str(self._answer_method("__str__"))

    def __hash__(self) -> int:
        return hash(self._answer_reference["object"])


def _exception(reply: dict[str, Any]) -> Exception:
    """The exception of the answer's process, as one of the nearest built-in class."""
    names = [name for name in reply["raised"] if isinstance(name, str)] if isinstance(reply["raised"], list) else []
    text = str(reply.get("text"))
    for name in names:
        kind = None if name == "ModuleNotFoundError" else getattr(builtins, name, None)  # the tests' own is another
        if isinstance(kind, type) and issubclass(kind, Exception):
            shown = text if names[0] == name else f"{names[0]}: {text}"
            try:
                return kind(shown)
            except TypeError:  # some take more arguments
                continue
    return RuntimeError(f"{''.join(names[:1])}: {text}")


def _change(old: Any, new: Any) -> None:
    """Makes a list, dict, set or bytearray what the answer's function made of it."""
    if type(old) is not type(new) or not isinstance(old, (list, dict, set, bytearray)):
        return
    if isinstance(old, (list, bytearray)):
        old[:] = new
    else:
        old.clear()
        old.update(new)
