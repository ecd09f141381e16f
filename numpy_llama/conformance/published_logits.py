"""Published cases that a model of ids and logits can be asked: which there are, what each needs, how logits compare.

    for case in logits_cases():
        print(case.name, needs(case), tags(case))

A case of data/published_logits/cases/ is a config, weights and one call or several; here only its logits count.
"""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from numpy_llama.checkpoints.embedded import data_folder
from numpy_llama.conformance.published_cases import TWO_BYTES, PublishedCase, case_files, rms
from numpy_llama.conformance.rounding import Broken, close, is_array
from numpy_llama.errors import LlamaWarning
from numpy_llama.model.config import LlamaConfig

GIVEN = ("input_ids", "attention_mask", "position_ids")
# What a call may be told that changes none of its logits.
HARMLESS = {"use_cache", "output_hidden_states", "output_attentions", "return_dict"}


@cache
def logits_cases() -> tuple[PublishedCase, ...]:
    """All cases whose calls are given ids, a padding mask and positions at most, the smallest first."""
    cases = (PublishedCase.read(path) for path in case_files(data_folder() / "published_logits" / "cases"))
    return tuple(sorted(filter(_usable, cases), key=size))


def size(case: PublishedCase) -> tuple[int, int]:
    """How large a case is to a reader: its calls and tokens, then its weights."""
    tokens = sum(case.inputs(index, "float32")["input_ids"].size for index in range(len(case.calls)))
    return tokens + 8 * len(case.calls), sum(array.size for array in case.weights("float32").values())


def needs(case: PublishedCase) -> set[str]:
    """What a model must take beside ids: attention_mask, position_ids, cache."""
    given = {name for index in range(len(case.calls)) for name in case.inputs(index, "float32")} - {"input_ids"}
    return given | ({"cache"} if len(case.calls) > 1 else set())


def config_of(case: PublishedCase) -> dict[str, Any]:
    """The fields of a config.json, with RoPE's under their older names beside the new ones."""
    config = dict(case.description["config"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)  # some of the cases are odd, by design
        rope = config.setdefault("rope_parameters", LlamaConfig.from_dict(config).to_dict()["rope_parameters"])
    config.setdefault("rope_theta", rope["rope_theta"])
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    config.setdefault("rope_scaling", None if scaling == {"rope_type": "default"} else scaling)
    return config


def compare_logits(case: PublishedCase, call: int, dtype: str, got: np.ndarray) -> None:
    """raises  Broken where the logits of a call aren't Transformers', within the published tolerance"""
    claim = f"logits of call {call}" if len(case.calls) > 1 else "logits"
    expected, allowed = case.expected(call, "outputs", dtype, "logits"), case.calls[call]["outputs"]["logits"][dtype]
    is_array(got, expected.shape, claim)
    if dtype not in TWO_BYTES:
        where = case.tensors.get(f"calls.{call}.where.logits")
        bound = np.full(expected.shape, allowed["largest_error"])
        if where is not None:
            bound = np.where(where, bound, np.inf)
            got = np.where(where, got, expected.astype(got.dtype))  # what nobody reads may be anything, NaN included
        close(got, expected, bound, claim)
        return
    truth = case.expected(call, "outputs", f"truth_of_{dtype}", "logits")
    error = rms(case.compared(got, call, "logits") - case.compared(truth, call, "logits"))
    if not error <= allowed["rms_error"]:
        raise Broken(f"{claim}: {error:.3g} from the truth in root mean square, more than {allowed['rms_error']:.3g}",
                     expected, got)  # fmt: skip


def tags(case: PublishedCase) -> set[str]:
    """What is special about a case, in words, so that a report can say what those that fail have in common."""
    config = config_of(case)
    H, E = config["num_attention_heads"], config["hidden_size"]
    K, D = config.get("num_key_value_heads") or H, config.get("head_dim") or E // H
    kind = config["rope_parameters"]["rope_type"]
    inputs = [case.inputs(index, "float32") for index in range(len(case.calls))]
    said: Mapping[str, bool] = {
        f"{'several' if K > 1 else 'one'} key/value head{'s' if K > 1 else ''} for more query heads": K < H,
        "a head_dim that isn't hidden_size / num_attention_heads": D != E // H,
        f"RoPE scaling of type {kind}": kind != "default",
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "tied embeddings": bool(config.get("tie_word_embeddings")),
        f"hidden_act {config.get('hidden_act')}": config.get("hidden_act", "silu") != "silu",
        "several calls with a cache": len(inputs) > 1,
        "an attention_mask": any("attention_mask" in given for given in inputs),
        "position_ids": any("position_ids" in given for given in inputs),
        "several rows": any(len(given["input_ids"]) > 1 for given in inputs),
        "several tokens": any(given["input_ids"].shape[1] > 1 for given in inputs),
        "several layers": config["num_hidden_layers"] > 1,
    }
    return {name for name, holds in said.items() if holds}


def in_common(failed: Sequence[PublishedCase], held: Iterable[PublishedCase]) -> str:
    """What tells the cases that failed from those that held, in one sentence; empty where nothing simple does."""
    held_tags = [tags(case) for case in held]
    if not failed or not held_tags:
        return ""
    shared = set.intersection(*(tags(case) for case in failed))
    alone = {tag for tag in shared if not any(tag in other for other in held_tags)}
    if alone:
        return f"Every case with {_listed(alone)} fails, and no other does."
    # Worth a word only where most cases don't have it.
    rare = {tag for tag in shared if sum(tag in other for other in held_tags) < len(held_tags) / 2}
    return f"All cases that fail have {_listed(rare)}." if rare else ""


def _listed(words: Collection[str]) -> str:
    return " and ".join(sorted(words))


def _usable(case: PublishedCase) -> bool:
    if case.description["class"] != "LlamaForCausalLM":
        return False
    return all(
        set(call["arguments"]) <= HARMLESS
        and "logits" in call["outputs"]
        and set(given := case.inputs(index, "float32")) <= set(GIVEN)
        and "input_ids" in given
        and all(array.ndim == 2 for array in given.values())
        and not _packed(given)
        for index, call in enumerate(case.calls)
    )


def _packed(given: Mapping[str, np.ndarray]) -> bool:
    """Whether several texts stand in one row, told by positions that begin again: Transformers' own way of masking."""
    positions = given.get("position_ids")
    return positions is not None and "attention_mask" not in given and bool((np.diff(positions) < 0).any())
