"""Benchmark: how fast the embedded model runs, here and in Transformers, in one process and one sitting.

A machine is faster at one moment than at another. So the contestants take turns, round after round, and the
best round of each counts: the one that was disturbed least. All compute in float32, greedily, with as many
threads as their libraries choose, and all must choose the same tokens.

    prefill   one call with a prompt of PROMPT_TOKENS
    decode    NEW_TOKENS calls with one token each, from the first on, in a bare loop
    generate  the same tokens by the library's own `generate`

And one task that is ours alone: a fresh process that tells a story, timed from its start.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.causal_lm import LlamaForCausalLM

PROMPT_TOKENS = 256
NEW_TOKENS = 200
TASKS = {"prefill": PROMPT_TOKENS, "decode": NEW_TOKENS, "generate": NEW_TOKENS}  # tokens of each
STORY = "Once upon a time"


class Contestant(Protocol):
    """Something that runs the model. Each task returns the ids that it chose, to be compared."""

    name: str

    def prefill(self, ids: np.ndarray) -> list[int]:
        """One call over ids (1, T); returns the likeliest next id."""

    def decode(self, first: int, steps: int) -> list[int]:
        """Feed each chosen id back, `steps` times, in a bare loop."""

    def generate(self, first: int, steps: int) -> list[int]:
        """The same by the library's generate."""


class Ours:
    """numpy_llama."""

    name = "numpy_llama"

    def __init__(self, folder: Path):
        self.model = LlamaForCausalLM.from_pretrained(folder)

    def prefill(self, ids: np.ndarray) -> list[int]:
        return [int(self.model(ids, logits_to_keep=1).logits[0, -1].argmax())]

    def decode(self, first: int, steps: int) -> list[int]:
        chosen, cache = [first], None
        for _ in range(steps):
            output = self.model([[chosen[-1]]], past_key_values=cache)
            cache = output.past_key_values
            chosen.append(int(output.logits[0, -1].argmax()))
        return chosen[1:]

    def generate(self, first: int, steps: int) -> list[int]:
        ids = self.model.generate([[first]], max_new_tokens=steps, do_sample=False, eos_token_id=None)
        return [int(i) for i in ids[0, 1:]]


class Theirs:
    """Transformers' LlamaForCausalLM, with one of its ways to compute attention."""

    def __init__(self, folder: Path, attention: str):
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        self.name = f"transformers, {attention}"
        self.torch = torch
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention
        )
        self.model.eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.max_length = None

    def prefill(self, ids: np.ndarray) -> list[int]:
        with self.torch.inference_mode():
            logits = self.model(self.torch.from_numpy(ids), logits_to_keep=1).logits
            return [int(logits[0, -1].argmax())]

    def decode(self, first: int, steps: int) -> list[int]:
        chosen, cache = [first], None
        with self.torch.inference_mode():
            for _ in range(steps):
                output = self.model(self.torch.tensor([[chosen[-1]]]), past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                chosen.append(int(output.logits[0, -1].argmax()))
        return chosen[1:]

    def generate(self, first: int, steps: int) -> list[int]:
        ids = self.model.generate(
            self.torch.tensor([[first]]),
            attention_mask=self.torch.ones(1, 1, dtype=self.torch.long),
            max_new_tokens=steps, do_sample=False, pad_token_id=0,
        )  # fmt: skip
        return [int(i) for i in ids[0, 1:]]


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    speeds       {contestant: {task: tokens/s}}, best round of each; ours first
    same_tokens  whether all chose the same ids in every task; None with one contestant
    """

    speeds: dict[str, dict[str, float]]
    same_tokens: bool | None

    def ratio(self, task: str, other: str) -> float:
        """How many times faster than another contestant we are."""
        return self.speeds[Ours.name][task] / self.speeds[other][task]


def contestants(folder: Path) -> list[Contestant]:
    """Ours, and Transformers' eager and sdpa attention where torch and transformers are installed."""
    found: list[Contestant] = [Ours(folder)]
    if find_spec("torch") and find_spec("transformers"):
        found += [Theirs(folder, attention) for attention in ("eager", "sdpa")]
    return found


def compare(
    found: list[Contestant],
    rounds: int,
    vocab_size: int,
    first: int = 1,
    on_round: Callable[[int], None] | None = None,
) -> Result:
    """Let the contestants take turns.

    rounds    times that each does each task; the first round also warms up
    first     id to decode from
    on_round  told the number of each round as it begins
    """
    prompt = np.random.default_rng(0).integers(3, vocab_size, (1, PROMPT_TOKENS))  # past the special tokens
    runs: dict[str, Callable[[Contestant], list[int]]] = {
        "prefill": lambda contestant: contestant.prefill(prompt),
        "decode": lambda contestant: contestant.decode(first, NEW_TOKENS),
        "generate": lambda contestant: contestant.generate(first, NEW_TOKENS),
    }
    best: dict[str, dict[str, float]] = {contestant.name: {} for contestant in found}
    answers: dict[str, dict[str, list[int]]] = {task: {} for task in runs}
    for number in range(rounds):
        if on_round is not None:
            on_round(number)
        for task, run in runs.items():
            for contestant in found:
                begin = time.perf_counter()
                answers[task][contestant.name] = run(contestant)
                speed = TASKS[task] / (time.perf_counter() - begin)
                best[contestant.name][task] = max(speed, best[contestant.name].get(task, 0.0))
    same = all(ids == given[Ours.name] for given in answers.values() for ids in given.values())
    return Result(best, same if len(found) > 1 else None)


@dataclass(frozen=True)
class ProcessTimes:
    """Seconds of a process that tells a story of NEW_TOKENS tokens.

    first_token  from its start until the first new text can be read from its output
    whole        from its start to its end
    cpu          of processor time, all threads together; None where the system doesn't tell
    """

    first_token: float
    whole: float
    cpu: float | None


def time_process(folder: Path, rounds: int) -> ProcessTimes:
    """Run `numpy-llama generate` in fresh processes, and take the best of each of the three times.

    raises  LlamaError where it fails
    """
    found = [_time_process(folder) for _ in range(rounds)]
    cpu = [times.cpu for times in found if times.cpu is not None]
    return ProcessTimes(
        min(times.first_token for times in found),
        min(times.whole for times in found),
        min(cpu) if cpu else None,
    )


def _time_process(folder: Path) -> ProcessTimes:
    command = [sys.executable, "-m", "numpy_llama", "generate", STORY, "--model", str(folder), "--quiet"]
    command += ["--max-new-tokens", str(NEW_TOKENS), "--ignore-eos", "--seed", "0"]
    home = str(Path(__file__).parents[2])  # so that the process finds the package that is running now
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    cpu_before = _children_cpu()
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        written = 0
        first_token = None
        while chunk := process.stdout.read(1 << 16):
            written += len(chunk)
            if first_token is None and written > len(STORY.encode()):  # the prompt comes first, and is no achievement
                first_token = time.perf_counter() - begin
        complaint = process.stderr.read().decode("utf-8", "replace").strip()
    whole = time.perf_counter() - begin
    if process.returncode or first_token is None:
        raise LlamaError(f"numpy-llama generate failed: {complaint}", where=folder)
    cpu_after = _children_cpu()
    cpu = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return ProcessTimes(first_token, whole, cpu)


def _children_cpu() -> float | None:
    """Processor seconds of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system or (0.0 if os.name == "posix" else None)


def as_dict(result: Result, process: ProcessTimes | None) -> dict[str, Any]:
    """A result as plain dicts that JSON can hold; ratios say how many times faster we are."""
    others = [name for name in result.speeds if name != Ours.name]
    return {
        "tokens": TASKS,
        "tokens_per_second": result.speeds,
        "ratios": {other: {task: result.ratio(task, other) for task in TASKS} for other in others},
        "same_tokens": result.same_tokens,
        "process_seconds": None
        if process is None
        else {"first_token": process.first_token, "whole": process.whole, "cpu": process.cpu},
    }
