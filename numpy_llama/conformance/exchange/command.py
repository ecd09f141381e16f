"""Ask a program every question: a command, started once for each case, with a limit of time."""

import os
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from numpy_llama.conformance.apart import end
from numpy_llama.conformance.exchange.answers import Asked
from numpy_llama.errors import LlamaError

SECONDS = 10.0  # for one question
PATIENCE = 3  # questions of one function that may fail before any is answered; the rest is spared
SHOWN = 200  # characters of what a failing command printed last


def split_command(text: str) -> list[str]:
    """A command as words, as a shell would cut it; no shell is ever run.

    raises  LlamaError where it can't be cut, or doesn't say where {in} and {out} go
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise LlamaError(f"can't be cut into words ({error})", where=f"--exec {text}") from None
    for place in ("{in}", "{out}"):
        if not any(place in word for word in words):
            raise LlamaError(f"no {place}", where=f"--exec {text}", expected="a command such as 'my_llama {in} {out}'")
    return words


def ask_all(folder: Path, command: Sequence[str], seconds: float = SECONDS) -> dict[str, str]:
    """Start the command for each question of an emitted folder.

    command  words, in which {in}, {out}, {case} and {function} are replaced
    seconds  for each question
    returns  why some have no answer: the name of the question → what became of the command
    raises   LlamaError where the command can't be started at all
    """
    asked = Asked.read(folder)
    reasons: dict[str, str] = {}
    answered, failed, given_up = Counter[str](), Counter[str](), dict[str, str]()
    for name, case in asked.cases.items():
        function = case["function"]
        if function in given_up:
            reasons[name] = given_up[function]
            continue
        out = asked.out / name
        out.mkdir(parents=True, exist_ok=True)
        places = {"{in}": str(folder / "in" / name), "{out}": str(out), "{case}": name, "{function}": function}
        why = _ask(list(_filled(command, places)), seconds)
        if why == "" and not asked.has_answer(name):
            why = "the command ended well and wrote nothing"
        if why:
            reasons[name] = why
            failed[function] += 1
            if "not finished" in why or (failed[function] >= PATIENCE and not answered[function]):
                given_up[function] = why
        else:
            answered[function] += 1
    return reasons


def _filled(command: Sequence[str], places: dict[str, str]) -> Iterator[str]:
    for word in command:
        for place, value in places.items():
            word = word.replace(place, value)
        yield word


def _ask(command: list[str], seconds: float) -> str:
    """Run one command; why it failed, empty where it didn't."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that whatever it starts can be ended with it
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LlamaError(f"can't be started ({reason})", where=f"--exec {command[0]}") from None
    said = _Tail(process.stderr)
    try:
        status: int | None = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        end(process)
    if status == 0:
        return ""
    if status is None:
        return f"not finished after {seconds:g} s"
    lines = said.text().strip().splitlines()
    last = f": {lines[-1][:SHOWN]}" if lines else ""
    return (f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}") + last


class _Tail:
    """The last that a process prints, however much that is."""

    def __init__(self, stream: IO[bytes] | None):
        assert stream is not None
        self._stream, self._kept = stream, b""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while part := os.read(self._stream.fileno(), 65536):
            self._kept = (self._kept + part)[-4096:]

    def text(self) -> str:
        """What was kept, once nobody can write any more."""
        self._reader.join(timeout=1.0)  # a process that was let go may still hold the other end
        return self._kept.decode("utf-8", "replace")
