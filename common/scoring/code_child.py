"""The process of an answer's code: runs the code, and calls its functions with the arguments that it is sent.

It holds no test, no expected value and no token, so the code can find none. It compares nothing: it sends plain values
back, and code_remote.py makes objects of the built-in classes from them. It runs as a script, with the standard library
only.

>>> encode((1, {2}), refuse)
{'tuple': [1, {'set': [2]}]}
>>> decode({"tuple": [1, {"set": [2]}]}, refuse)
(1, {2})
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import fractions
import json
import os
import signal
import sys
import types
from typing import Any, BinaryIO, Callable, Dict, List, NoReturn

MUTABLE = (list, dict, set, bytearray, collections.deque)
EXACT = 1 << 53  # whole numbers up to here are written as JSON's; a larger one in hex, which is read in linear time


def refuse(value: object) -> NoReturn:
    """Takes what is not a plain value. TypeError."""
    raise TypeError(f"{type(value).__name__} is not a plain value")


def _parts(*names: str) -> Callable[[Any], List[Any]]:
    return lambda value: [getattr(value, name) for name in names]


_DATE, _TIME = ("year", "month", "day"), ("hour", "minute", "second", "microsecond")
BUILT: List[Any] = [  # (class, tag, its arguments, made from them)
    (tuple, "tuple", list, lambda items: tuple(items)),
    (set, "set", list, set),
    (frozenset, "frozenset", list, frozenset),
    (collections.deque, "deque", list, collections.deque),
    (dict, "dict", lambda value: [list(pair) for pair in dict.items(value)], dict),
    (complex, "complex", _parts("real", "imag"), lambda parts: complex(*parts)),
    (range, "range", _parts("start", "stop", "step"), lambda parts: range(*parts)),
    (bytes, "bytes", lambda value: [value.hex()], lambda parts: bytes.fromhex(*parts)),
    (bytearray, "bytearray", lambda value: [value.hex()], lambda parts: bytearray.fromhex(*parts)),
    (decimal.Decimal, "decimal", lambda value: [str(value)], lambda parts: decimal.Decimal(*parts)),
    (fractions.Fraction, "fraction", _parts("numerator", "denominator"), lambda parts: fractions.Fraction(*parts)),
    (datetime.datetime, "datetime", _parts(*_DATE, *_TIME), lambda parts: datetime.datetime(*parts)),
    (datetime.date, "date", _parts(*_DATE), lambda parts: datetime.date(*parts)),
    (datetime.time, "time", _parts(*_TIME), lambda parts: datetime.time(*parts)),
    (
        datetime.timedelta,
        "timedelta",
        _parts("days", "seconds", "microseconds"),
        lambda parts: datetime.timedelta(*parts),
    ),
]
MAKE = {tag: make for _, tag, _, make in BUILT}


def encode(value: Any, keep: Callable[[Any], Any]) -> Any:
    """A value as JSON: an object of a subclass as one of its built-in class. ``keep`` gives that of any other value."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        number = int(value)
        return number if -EXACT < number < EXACT else {"int": hex(number)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [encode(item, keep) for item in list.__iter__(value)]
    for kind, tag, parts, _ in BUILT:
        if isinstance(value, kind) and getattr(value, "tzinfo", None) is None:
            return {tag: [encode(part, keep) for part in parts(value)]}
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return encode(value.item(), refuse)
    return keep(value)


def decode(value: Any, find: Callable[[Any], Any]) -> Any:
    """The value of ``encode``'s JSON; ``find`` gives the object of a tag that it does not know.

    TypeError or ValueError if the JSON is not ``encode``'s.
    """
    if isinstance(value, list):
        return [decode(item, find) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, parts),) = value.items()
    if tag == "int":
        return int(parts, 16)
    if tag in MAKE:
        return MAKE[tag]([decode(part, find) for part in parts])
    return find(value)


class Answer:
    """The namespace of the answer's code, and the objects that stay here because they are not plain values."""

    def __init__(self) -> None:
        self.module = types.ModuleType("answer")
        self._kept: List[Any] = []

    def handle(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The reply to a request; an exception of any class is a reply too."""
        try:
            result: Dict[str, Any] = getattr(self, "do_" + request["do"])(request)
            return result
        except _Program:
            raise
        except BaseException as error:  # noqa: BLE001 it is the answer's
            names = [kind.__name__ for kind in type(error).__mro__]
            return {"raised": names, "text": _text_of(error)}

    def do_load(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Runs the parts of the code, one after the other."""
        sys.modules["answer"] = self.module
        for part in request["parts"]:
            exec(compile(part, "answer", "exec", dont_inherit=True), vars(self.module))
        return {"value": None}

    def do_get(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """A name of the code, or an attribute of one of its objects."""
        owner = self.module if request["of"] is None else decode(request["of"], self._find)
        if not hasattr(owner, request["name"]):
            return {"missing": True}
        return {"value": encode(getattr(owner, request["name"]), self._keep)}

    def do_call(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Calls a function; the reply has the arguments as they are afterwards, if the function could change them."""
        function = decode(request["target"], self._find)
        arguments = [decode(value, self._find) for value in request["arguments"]]
        named = {name: decode(value, self._find) for name, value in request["named"].items()}
        reply = {"value": encode(function(*arguments, **named), self._keep)}
        if any(isinstance(argument, MUTABLE) for argument in arguments):
            reply["after"] = [encode(argument, self._keep) for argument in arguments]
        return reply

    def do_run(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Runs the code as a program, in a process of its own: its output, and how it ended."""
        for name, text in (("in", request["stdin"]), ("out", ""), ("err", "")):
            with open(name, "w", encoding="utf-8", errors="surrogatepass") as file:
                file.write(text)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            raise _Program("\n".join(request["parts"]))
        status = os.waitpid(child, 0)[1]
        with contextlib.suppress(OSError):  # nothing may be left of it
            os.killpg(child, signal.SIGKILL)
        said = _read("err").strip().split("\n")[-1]
        return {"stdout": _read("out"), "status": status, "text": said[:500]}

    def _keep(self, value: Any) -> Any:
        self._kept.append(value)
        return {"object": len(self._kept) - 1}

    def _find(self, value: Dict[str, Any]) -> Any:
        return self._kept[value["object"]]


class _Program(BaseException):
    """Leaves the loop of requests, in the process of a program."""


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except BaseException:  # noqa: BLE001 the class is the answer's own
        return ""


def _read(name: str) -> str:
    with open(name, encoding="utf-8", errors="replace") as file:
        return file.read()


def run_program(source: str) -> None:
    """Runs a program as ``python FILE`` would, with its standard streams in the files of ``do_run``."""
    for number, (name, flags) in enumerate([("in", os.O_RDONLY), ("out", os.O_WRONLY), ("err", os.O_WRONLY)]):
        descriptor = os.open(name, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(source, "answer", "exec", dont_inherit=True), vars(module))


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Replies to each line of requests with a line, until they end."""
    answer = Answer()
    for line in requests:
        reply = json.dumps(answer.handle(json.loads(line)))
        replies.write(reply.encode("ascii") + b"\n")
        replies.flush()


def main() -> None:
    """Puts the pipes of standard input and output aside, so that what the code reads and prints is no reply."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    sys.argv[:] = ["answer"]
    replies.write(b"{}\n")
    replies.flush()
    try:
        serve(requests, replies)
    except _Program as program:
        source = str(program)
    else:
        return
    requests.close()
    replies.close()
    run_program(source)


if __name__ == "__main__":
    main()
