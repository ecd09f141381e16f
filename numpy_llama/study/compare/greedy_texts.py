"""Greedy continuations of two implementations, held to each other up to near-ties.

Two honest runs differ in the last digits of their logits. Where the two likeliest tokens are closer than that, each
may take another one, and what follows are two texts that have nothing to do with each other. So our model is given
*their* tokens, step by step, and asked what it would have said; a near-tie is named and stepped over, and the
comparison goes on to the end.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.conformance.greedy import Fork, follow_greedy
from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.study.compare.error_bars import error_bars
from numpy_llama.study.subject import Asked, Subject
from numpy_llama.study.trace import Trace, read_trace

NEAR = 10.0  # error bars between two logits that either may win: each honest one is off by up to 5
LOGITS = "lm_head"


@dataclass(frozen=True)
class GreedyReport:
    """What follow_greedy found, with error bars measured for each step.

    steps        tokens compared
    stepped_over near-ties at which they took another token than ours
    ties         near-ties in all, those at which both took the same among them
    differences  steps at which they took another token, and by more than honest runs differ
    bars         (steps,) the error bar of a logit at each step
    """

    steps: int
    stepped_over: tuple[Fork, ...]
    ties: int
    differences: tuple[Fork, ...]
    bars: np.ndarray

    @property
    def status(self) -> int:
        """0 they agree up to near-ties, 1 they don't."""
        return 1 if self.differences else 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status,
            "steps": self.steps,
            "near_ties": self.ties,
            "stepped_over": [asdict(fork) for fork in self.stepped_over],
            "differences": [asdict(fork) for fork in self.differences],
        }


def compare_greedy(
    model: LlamaForCausalLM, prompt: Sequence[int], tokens: Sequence[int], dtype: str = "float32"
) -> GreedyReport:
    """Hold somebody's greedy tokens to our model.

    prompt  (T,) ids, with the special tokens that it begins with
    tokens  (N,) the ids that they generated after it
    dtype   that they computed in
    raises  LlamaError where there is no prompt or no token
    """
    for what, ids in (("prompt", prompt), ("tokens", tokens)):
        if not len(ids):
            raise LlamaError("nothing there", where=what, expected="at least one token id")
    given = np.array([[*prompt, *tokens[:-1]]])
    subject = Subject(model.config, model.tensors, (Asked(given),)).in_dtype(dtype).in_dtype("float64")
    logits = error_bars(subject, dtype, lambda call, name: name == LOGITS)[0][LOGITS]
    truth = logits.truth[0, len(prompt) - 1 :]  # (N, V)
    bars = np.sqrt(np.mean(logits.bar[0, len(prompt) - 1 :] ** 2, axis=-1))  # (N,)
    found = follow_greedy(truth / bars[:, None], tokens, NEAR)
    ties, differences = (
        tuple(Fork(fork.step, fork.expected, fork.chosen, fork.gap * float(bars[fork.step])) for fork in forks)
        for forks in (found.ties, found.differences)
    )
    apart = tuple(fork for fork in ties if fork.chosen != fork.expected)
    return GreedyReport(found.steps, apart, len(ties), differences, bars)


def read_greedy(
    path: Path, encode: Callable[[str], Sequence[int]] | None = None
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """What somebody generated, from a JSON file, or a trace of a prefill and the decode calls after it.

    path    JSON: {"prompt": [ids] or text, "tokens": [ids]}, or a list of these
    encode  text → ids; None where there is no tokenizer
    returns (prompt, tokens) of each text
    raises  LlamaError naming file and field for whatever can't be
    """
    path = as_path(path)
    if path.suffix != ".json":
        return [_of_trace(read_trace(path), path)]
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LlamaError(f"no JSON ({error})", where=path) from None
    texts = texts if isinstance(texts, list) else [texts]
    if not texts:
        raise LlamaError("no text", where=path, expected='{"prompt": …, "tokens": […]}, or a list of these', found="[]")
    return [_of_json(text, f"{path}: text {index}", encode) for index, text in enumerate(texts)]


def _of_json(
    text: Any, where: str, encode: Callable[[str], Sequence[int]] | None
) -> tuple[Sequence[int], Sequence[int]]:
    expected = '{"prompt": [ids] or text, "tokens": [ids]}'
    if not isinstance(text, dict) or "prompt" not in text or "tokens" not in text:
        found = ", ".join(map(str, text))[:80] if isinstance(text, dict) else type(text).__name__
        raise LlamaError("no greedy text", where=where, expected=expected, found=found)
    prompt = text["prompt"]
    if isinstance(prompt, str):
        if encode is None:
            raise LlamaError("a text, and no tokenizer", where=f"{where}: prompt", expected="ids")
        prompt = encode(prompt)
    for name, ids in (("prompt", prompt), ("tokens", text["tokens"])):
        right = isinstance(ids, list) and ids and all(isinstance(id, int) and not isinstance(id, bool) for id in ids)
        if not right:
            raise LlamaError("not ids", where=f"{where}: {name}", expected="a list of integers", found=str(ids)[:80])
    return prompt, text["tokens"]


def _of_trace(trace: Trace, path: Path) -> tuple[Sequence[int], Sequence[int]]:
    ids = [call.input_ids for call in trace.calls]
    if len(ids) < 2 or any(one is None or len(one) != 1 for one in ids):
        expected = "a prefill and decode calls of one row, each with its input_ids"
        raise LlamaError("no greedy text", where=path, expected=expected)
    first, *rest = ids
    return first[0].tolist(), [int(id) for one in rest for id in one[0]]  # type: ignore[index]
