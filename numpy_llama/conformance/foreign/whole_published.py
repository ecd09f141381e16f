"""Transformers' own logits, and the model of somebody's that should give them.

for published in compare_cases(make, border, ["float32"]):
    print(published.case.name, published.broken)
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from numpy_llama.checkpoints.embedded import data_folder, embedded_model_folder
from numpy_llama.conformance.foreign.arrays import Border
from numpy_llama.conformance.foreign.whole import Whole, made
from numpy_llama.conformance.published_cases import PublishedCase
from numpy_llama.conformance.published_logits import compare_logits, config_of, logits_cases, needs
from numpy_llama.conformance.rounding import Broken, close
from numpy_llama.conformance.runner import explain
from numpy_llama.files import read_json
from numpy_llama.model.causal_lm import LlamaForCausalLM

EXAMPLE_TOKENS = 24  # of a model that isn't published: long enough for every pair of a head to turn visibly


@dataclass(frozen=True)
class Compared:
    """What became of one published case.

    case       it
    dtype      that it was computed in
    broken     what doesn't agree; None where all does
    not_tried  why it wasn't; empty where it was
    logits     what the model gave, call by call, as far as it came
    """

    case: PublishedCase
    dtype: str
    broken: Broken | None = None
    not_tried: str = ""
    logits: tuple[np.ndarray, ...] = ()


def compare_cases(make: Callable[..., Any], border: Border, dtypes: Sequence[str]) -> Iterator[Compared]:
    """Make each published model with somebody's `make`, and ask it what Transformers was asked."""
    for case in logits_cases():
        for dtype in dtypes:
            yield _compare_case(case, make, border, dtype)


def _compare_case(case: PublishedCase, make: Callable[..., Any], border: Border, dtype: str) -> Compared:
    logits: list[np.ndarray] = []
    broken = None
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = made(make, config_of(case), case.weights(dtype), border, dtype)
            missing = [name for name in sorted(needs(case)) if not whole.takes(name)]
            if missing:
                return Compared(case, dtype, not_tried=f"the model takes no {' and no '.join(missing)}")
            cache = None
            for index in range(len(case.calls)):
                got, cache = whole.continued(cache=cache, **case.inputs(index, dtype))
                logits.append(got)
                broken = broken or _difference(case, index, dtype, got)  # the first; the rest is for the diagnosis
    except Broken as error:  # no logits at all
        return Compared(case, dtype, broken or error, logits=tuple(logits))
    except NotImplementedError as error:
        return Compared(case, dtype, not_tried=f"not implemented there: {error}")
    except (Exception, SystemExit) as error:
        return Compared(case, dtype, broken or Broken(explain(error)), logits=tuple(logits))
    return Compared(case, dtype, broken, logits=tuple(logits))


def _difference(case: PublishedCase, call: int, dtype: str, got: np.ndarray) -> Broken | None:
    try:
        compare_logits(case, call, dtype, got)
    except Broken as broken:
        return broken
    return None


def compare_loaded(
    whole: Whole, folder: Path
) -> Iterator[tuple[str, dict[str, Any], Broken | None, np.ndarray | None]]:
    """Hold a loaded model to the logits of its checkpoint: published ones, for the embedded model; else our float64's.

    yields  (name, what it was asked, what doesn't agree, its logits) of each prompt, the shortest first
    """
    for name, input_ids, expected, allowed in _prompts(folder):
        got = None
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = whole.logits(input_ids)
                close(got, expected, allowed, "logits")
        except Broken as broken:
            yield name, {"input_ids": input_ids}, broken, got
        except (Exception, SystemExit) as error:
            yield name, {"input_ids": input_ids}, Broken(explain(error)), got
        else:
            yield name, {"input_ids": input_ids}, None, got


def _prompts(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """(name, ids (1, T), expected (1, T, V), largest error allowed)"""
    if folder == embedded_model_folder():
        published = data_folder() / "published_logits"
        prompts = read_json(published / "prompts.json")["prompts"]
        with safe_open(published / "float64.safetensors", framework="np") as stored:
            for prompt in sorted(prompts, key=lambda prompt: len(prompt["ids"])):
                expected = stored.get_tensor(f"{prompt['name']}.logits")[None]
                # 1e-4 of logits of up to 30 is what the README of published_logits says of float32.
                yield prompt["name"], np.array([prompt["ids"]]), expected, 1e-4
        return
    model = LlamaForCausalLM.from_pretrained(folder, dtype="float64")
    random = np.random.default_rng(0)
    for length in (1, 2, EXAMPLE_TOKENS):
        input_ids = random.integers(0, model.config.vocab_size, (1, length))
        expected = model(input_ids).logits
        yield f"{length} tokens", input_ids, expected, 1e-5 * float(np.abs(expected).max())
