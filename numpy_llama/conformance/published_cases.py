"""The published cases, read, run and compared: data/published_logits/cases/ and generation/.

    for path in case_files("cases"):
        case = PublishedCase.read(path)
        results = run_model(case, "float32")
        print(case.name, differences(case, "float32", results))

The layout of the files, and how they are to be compared, is in the README of data/published_logits/.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from numpy_llama import model as models
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.model import LlamaConfig
from numpy_llama.precision import DTYPES
from numpy_llama.probe import Call, observe

Arrays = dict[str, np.ndarray]
Results = list[dict[str, Arrays]]  # for each call {"outputs": …, "named": …}

TWO_BYTES = ("float16", "bfloat16")


@dataclass(frozen=True)
class PublishedCase:
    """One file.

    description  the JSON of its metadata
    tensors      all of them, by name
    """

    description: dict[str, Any]
    tensors: Arrays

    @classmethod
    def read(cls, path: Path) -> "PublishedCase":
        """The case in a file."""
        with safe_open(path, framework="np") as stored:
            (entry,) = stored.metadata().values()
            return cls(json.loads(entry), {name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118

    @property
    def name(self) -> str:
        """That of the file, without its ending."""
        return self.description["name"]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """arguments, outputs and named values of each call."""
        return self.description["calls"]

    def weights(self, dtype: str) -> Arrays:
        """The model's tensors, rounded to a dtype."""
        return {name: array.astype(DTYPES[dtype]) for name, array in self._below("weights.").items()}

    def inputs(self, call: int, dtype: str) -> Arrays:
        """The arrays that a call is given: numbers rounded to a dtype, ids and masks as they are."""
        inputs = self._below(f"calls.{call}.inputs.")
        return {
            name: array.astype(DTYPES[dtype]) if array.dtype.kind == "f" else array for name, array in inputs.items()
        }

    def expected(self, call: int, group: str, dtype: str, name: str) -> np.ndarray:
        """An output in Transformers; dtype may be `exact` or truth_of_float16, too."""
        return self.tensors[f"calls.{call}.{group}.{dtype}.{name}"]

    def compared(self, array: np.ndarray, call: int, name: str) -> np.ndarray:
        """The numbers of an output that count, in a row, float64: those of real tokens."""
        where = self.tensors.get(f"calls.{call}.where.{name}")
        chosen = array.ravel() if where is None else array[np.broadcast_to(where, array.shape)]
        return chosen.astype(np.float64)

    def _below(self, prefix: str) -> Arrays:
        return {name.removeprefix(prefix): array for name, array in self.tensors.items() if name.startswith(prefix)}


def case_files(folder: Path) -> list[Path]:
    """The files of data/published_logits/cases/, blocks/ or generation/, by name."""
    return sorted(folder.glob("*.safetensors"))


def run_model(case: PublishedCase, dtype: str, blocks: Blocks | None = None) -> Results:
    """What our model makes of a case: a fresh one, call after call, with other blocks where they are given."""
    config = LlamaConfig.from_dict(case.description["config"])
    llama = getattr(models, case.description["class"])(config, case.weights(dtype), blocks=blocks)
    static = case.description["cache"]
    cache = models.StaticCache(config, static["capacity"]) if static else None
    results: Results = []
    for index, call in enumerate(case.calls):
        named: Arrays = {}

        def note(name: str, value: np.ndarray, _: Call, into: Arrays = named) -> None:
            into[name] = value

        given = {**case.inputs(index, dtype), **call["arguments"], "past_key_values": cache}
        if "named" in call:
            with observe(note):
                output = llama(**given)
            everywhere = np.zeros((1, 1, 1, 1))  # a single new token has no mask: it sees all that came before
            named["model.causal_mask"] = named.get("model.causal_mask", everywhere) == 0
        else:
            output = llama(**given)
        cache = getattr(output, "past_key_values", None)
        outputs = {name: _stacked(getattr(output, name)) for name in call["outputs"] if "." not in name}
        if "past_key_values.keys" in call["outputs"]:
            assert cache is not None
            outputs.update(_held(cache))
        results.append({"outputs": outputs, "named": named})
    return results


def run_generate(case: PublishedCase, dtype: str) -> Results:
    """What our `generate` makes of each call of a generation case."""
    config = LlamaConfig.from_dict(case.description["config"])
    llama = models.LlamaForCausalLM(config, case.weights(dtype))
    return [
        {"outputs": {"sequences": llama.generate(**case.inputs(index, dtype), **call["arguments"])}, "named": {}}
        for index, call in enumerate(case.calls)
    ]


def _stacked(value: Any) -> np.ndarray:
    return np.stack(value) if isinstance(value, tuple) else np.asarray(value)


def _held(cache: KVCache) -> Arrays:
    """Keys and values of every layer, (L, B, K, S, D)."""
    assert cache.kind is not None and cache.batch_size is not None
    K, D, dtype = cache.kind
    nothing = np.empty((cache.batch_size, K, 0, D), dtype)
    layers = [cache.update(nothing, nothing, layer) for layer in range(cache.num_hidden_layers)]
    keys, values = zip(*layers, strict=True)
    return {"past_key_values.keys": np.stack(keys), "past_key_values.values": np.stack(values)}


def _pairs(case: PublishedCase, results: Results) -> Iterator[tuple[int, str, str, Mapping[str, Any], np.ndarray]]:
    """(call, group, name, tolerance, our result) of every published output."""
    for index, call in enumerate(case.calls):
        for group in ("outputs", "named"):
            for name, tolerance in call.get(group, {}).items():
                yield index, group, name, tolerance, results[index][group][name]


def differences(case: PublishedCase, dtype: str, results: Results) -> list[str]:
    """Every output that isn't what Transformers' is, within its tolerance: one line each."""
    found = []
    for index, group, name, tolerance, ours in _pairs(case, results):
        exact = "exact" in tolerance
        theirs = case.expected(index, group, "exact" if exact else dtype, name)
        at = f"{case.name}, call {index}, {name}, {dtype}: "
        if not exact and ours.dtype != theirs.dtype:
            found.append(f"{at}dtype {ours.dtype}, expected {theirs.dtype}")
        if ours.ndim == theirs.ndim:
            ours = np.broadcast_to(ours, np.broadcast_shapes(ours.shape, theirs.shape))  # tables and masks: 1 for B
        if ours.shape != theirs.shape:
            found.append(f"{at}shape {ours.shape}, expected {theirs.shape}")
            continue
        mine = case.compared(ours, index, name)
        if exact:
            error, allowed = float(np.any(mine != case.compared(theirs, index, name))), 0.0
        elif dtype in TWO_BYTES:
            truth = case.expected(index, group, f"truth_of_{dtype}", name)
            error, allowed = rms(mine - case.compared(truth, index, name)), tolerance[dtype]["rms_error"]
        else:
            error = float(np.max(np.abs(mine - case.compared(theirs, index, name)), initial=0.0))
            allowed = tolerance[dtype]["largest_error"]
        if not error <= allowed:  # NaN is a difference, too
            found.append(f"{at}off by {error:.3g}, allowed {allowed:.3g} (largest number {tolerance['largest']:.3g})")
    return found


def relative_distances(case: PublishedCase, dtype: str, results: Results) -> tuple[float, float]:
    """How far a whole case is from the truth in a two-byte dtype, ours and Transformers': RMS over every number of
    every output, each relative to the largest of its output."""
    squares, numbers = np.zeros(2), 0
    for index, group, name, tolerance, ours in _pairs(case, results):
        if "exact" in tolerance or not tolerance["largest"]:
            continue
        truth = case.expected(index, group, f"truth_of_{dtype}", name)
        expected = case.expected(index, group, dtype, name)
        true = case.compared(truth, index, name)
        for which, result in enumerate((np.broadcast_to(ours, truth.shape), expected)):
            off = (case.compared(result, index, name) - true) / tolerance["largest"]
            squares[which] += np.sum(np.square(off))
        numbers += true.size
    mine, theirs = np.sqrt(squares / numbers)
    return float(mine), float(theirs)


def rms(errors: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(errors)))) if errors.size else 0.0
