"""Renders chat templates in a process that may fail, hang or eat its memory without harm to this one.

    rendered("{% for m in messages %}{{ m.content }}{% endfor %}", {"messages": [{"role": "user", "content": "Hi"}]})

The process is started for the first template and kept, so later ones cost a fraction of a millisecond; it is replaced
when it had to be ended, and ends with this one. What it does, and what it can't: chat_worker.py.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError

SECONDS = 5.0  # real templates take a thousandth of one
STARTING_SECONDS = 60.0
TEMPLATE_LIMIT = 256 * 1024  # characters; the longest in use are below 20,000
TEXT_LIMIT = 16 * 1024 * 1024  # characters
OLDEST = (3, 1, 6)  # of jinja2; ways out of the sandbox are known for those before


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """The text that a Jinja template makes of values.

    template  Jinja, as chat templates are written: trim_blocks, lstrip_blocks, loop controls; with raise_exception,
              strftime_now and tojson
    values    what the template sees, by name: dicts with str keys, lists, str, numbers, None
    raises    LlamaError naming the template's line, where it is no template, raises an exception or reaches for what it
              mustn't; where it takes longer than SECONDS, more memory than the process has, or writes without end;
              without jinja2
    source    render_jinja_template of transformers
    """
    if len(template) > TEMPLATE_LIMIT:
        found = f"{len(template)} characters"
        raise LlamaError("too long", where="chat_template", expected=f"at most {TEMPLATE_LIMIT}", found=found)
    try:
        request = json.dumps({"template": template, "values": values, "characters": TEXT_LIMIT})
    except RecursionError:
        raise LlamaError("nested too deep", where="messages") from None
    answer = _process.ask(request.encode("ascii"))
    if "text" in answer:
        return str(answer["text"])
    line, error = answer.get("line"), str(answer.get("error"))
    where = "chat_template" if line is None else f"chat_template, line {line}"
    if error == "memory":
        raise LlamaError("takes too much memory", where=where)
    raise LlamaError(" ".join(error.split()), where=where)


class _Process:
    """One chat_worker.py, started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: bytes) -> dict[str, Any]:
        with self._lock:
            is_ours = self._owner == os.getpid()  # a fork must not share a pipe
            if self._process is None or not is_ours or self._process.poll() is not None:
                self._start()
            answer = self._exchange(request, SECONDS)
            if answer is None:
                self.stop()
                raise LlamaError(f"not done in {SECONDS:g} seconds, or ended its process", where="chat_template")
            if "text" not in answer and answer.get("error") == "memory":
                self.stop()
            return answer

    def _start(self) -> None:
        if find_spec("jinja2") is None:
            expected = "jinja2 to render it: pip install 'numpy_llama[chat]'"
            raise LlamaError("not one of the templates known without", where="chat_template", expected=expected)
        if not sys.executable:
            raise LlamaError("no Python to render a template in its own process", where="sys.executable")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        worker = str(Path(__file__).with_name("chat_worker.py"))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-P", worker], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
        )
        self._owner = os.getpid()
        ready = self._exchange(b"", STARTING_SECONDS)
        if ready is None:
            self.stop()
            raise LlamaError("the process that renders templates doesn't start", where=worker)
        version = str(ready.get("jinja2"))
        if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) < OLDEST:
            self.stop()
            expected = f"{'.'.join(map(str, OLDEST))} or later: pip install 'numpy_llama[chat]'"
            raise LlamaError("too old to be safe", where="jinja2", expected=expected, found=version)

    def _exchange(self, request: bytes, seconds: float) -> dict[str, Any] | None:
        """The answer; None where there is none in time. Nothing is asked by an empty request."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        clock = threading.Timer(seconds, process.kill)
        clock.daemon = True
        clock.start()
        try:
            if request:
                process.stdin.write(request + b"\n")
                process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return answer if isinstance(answer, dict) else None
        except (OSError, ValueError):  # it was killed, or died
            return None
        except BaseException:  # Ctrl-C: an answer may still come, and would be taken for the next one
            self.stop()
            raise
        finally:
            clock.cancel()

    def stop(self) -> None:
        """End the process; the next request starts another."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was still to be written has no reader
                    pipe.close()


_process = _Process()
atexit.register(_process.stop)
