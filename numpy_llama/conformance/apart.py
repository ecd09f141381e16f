"""Run code that may do anything in a process of its own, with a limit of time and of memory.

    ended, lines = run_apart(["-m", "numpy_llama.conformance.student", "rms_norm.py"], seconds=60)

An unfinished function does what it likes: it loops for ever, prints, asks for all the memory, ends the process. What it
prints goes nowhere. What the process has to say it writes as JSON, line by line, into a log, so that a report can be
made whenever and however it ends. That is a fence against accidents, not against malice: judge no code that you
wouldn't run.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


class Unusable(Exception):
    """What was given can't be judged; raised and reported inside the process."""


def run_apart(command: Sequence[str], seconds: float) -> tuple[int | None, dict[str, list[Any]]]:
    """Start Python with these arguments and the path of a log behind them, and wait.

    seconds  limit; after it the process and all that it started are ended
    returns  its exit status, None where time was up; and what it told: for each kind, all contents in order
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        # One thread: BLAS reserves memory for each, and small arrays are no faster with more.
        settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HYPOTHESIS_STORAGE_DIRECTORY": folder}
        settings["PYTHONDONTWRITEBYTECODE"] = "1"  # no __pycache__ beside somebody's file
        # The process is to find the package that this one has, installed or not.
        search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        settings["PYTHONPATH"] = os.pathsep.join(filter(None, search))
        process = subprocess.Popen(
            [sys.executable, *command, str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **settings},
            start_new_session=True,  # so that whatever it starts can be ended with it
        )
        try:
            ended: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            end(process)
        told: dict[str, list[Any]] = {}
        for line in _read_log(log):
            for kind, content in line.items():
                told.setdefault(kind, []).append(content)
        return ended, told


def end(process: subprocess.Popen) -> None:
    """End a process that leads a session of its own, and all that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def why(ended: int | None, seconds: float, memory: int | None, during: str, loaded: bool) -> str:
    """Why a process ended before it was done, in plain words.

    during  what it had begun and not finished; loaded: whether it had loaded what it was to judge
    """
    place = f"while this was tried: {during}" if during else ("" if loaded else "while the file was loaded")
    if ended is None:
        what = f"not finished after {seconds:g} s; a loop that doesn't end?"
    elif ended == -signal.SIGINT:
        what = "interrupted (KeyboardInterrupt)"
    elif ended < 0:
        much = "more memory than there is" if memory is None else f"more than {memory / 1e9:.1f} GB of memory"
        what = f"the process was killed (signal {-ended}); {much}?"
    else:
        what = f"the file ended the process itself (status {ended})"
    return f"{what} ({place})" if place else what


@contextlib.contextmanager
def teller(log: Path) -> Iterator[Callable[..., None]]:
    """Inside the process: tell(kind=content) writes a line of the log at once."""
    with log.open("w", encoding="utf-8") as file:

        def tell(**line: Any) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        yield tell


def limit_memory(memory: int, what: str = "RLIMIT_AS") -> None:
    """Inside the process: at most so many bytes, of address space or (RLIMIT_DATA) of what is really its own."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    with contextlib.suppress(ValueError, OSError, AttributeError):  # not where the system won't have it
        resource.setrlimit(getattr(resource, what), (memory, memory))


def _read_log(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    lines = []
    for line in log.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # a last line that was cut off
            lines.append(json.loads(line))
    return lines
