"""The file of a published case: tensors, and one metadata entry of sorted JSON.

    weights.<tensor>                           float32
    calls.<i>.inputs.<argument>                int64, float32 or bool
    calls.<i>.outputs.<dtype>.<output>         Transformers' result in that dtype
    calls.<i>.named.<dtype>.<value>            the same, for a named intermediate
    calls.<i>.where.<output>                   bool, broadcasts to the output: compare only where true

<dtype> is float64, float32, float16, bfloat16; bfloat16_as_float32 holds the numbers of bfloat16 once more, for
languages without it; truth_of_float16 and truth_of_bfloat16 are what float64 makes of the rounded weights and inputs,
kept as float32. A value that is no float has the dtype `exact`, and is the
same for all.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from numpy_llama.files import write_atomically
from numpy_llama.precision import DTYPES

FORMAT = 1
KEY = "case"  # of the one metadata entry: several would be written in random order, and no two runs be alike

# Errors allowed, relative to the largest number of the output where it is compared.
ALLOWED = {"float64": 1e-11, "float32": 1e-5}
PROPORTIONAL_FROM = 2048  # float32 angles err in proportion to the position: past this one, so may the outputs
RATIO = 1.25  # of RMS distances from the truth, in two-byte dtypes: the reader's over Transformers', over a whole case
ALONE = 2.0  # the same for one output by itself, which varies more by chance
FEW = 64  # numbers: below, a ratio is a matter of chance


class CaseWriter:
    """Gathers one case, and writes it."""

    def __init__(self) -> None:
        self._tensors: dict[str, np.ndarray] = {}
        self._calls: list[dict[str, Any]] = []
        self._squares = {"float16": 0.0, "bfloat16": 0.0}  # of relative distances from the truth
        self._numbers = 0

    def weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Every tensor of the model, float32."""
        self._tensors.update({f"weights.{name}": array for name, array in weights.items()})

    def call(self, inputs: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> None:
        """One more call: its arrays and its other arguments."""
        at = f"calls.{len(self._calls)}.inputs"
        self._tensors.update({f"{at}.{name}": array for name, array in inputs.items()})
        self._calls.append({"arguments": dict(arguments)})

    def output(
        self,
        index: int,
        group: str,
        name: str,
        results: Mapping[str, np.ndarray],
        truths: Mapping[str, np.ndarray],
        where: np.ndarray | None,
        position: int,
    ) -> None:
        """One output of call `index`.

        group     "outputs" or "named"
        results   in each of the four dtypes
        truths    for each two-byte dtype: in float64, from weights and inputs rounded to it
        where     booleans that broadcast to the output, or None for everywhere
        position  the largest position computed with
        """
        at = f"calls.{index}.{group}"
        if where is not None:
            self._tensors[f"calls.{index}.where.{name}"] = where
        if results["float64"].dtype == bool:
            self.exact_output(index, name, results, group)
            return
        for dtype, result in results.items():
            self._tensors[f"{at}.{dtype}.{name}"] = result
            if result.dtype == ml_dtypes.bfloat16:
                self._tensors[f"{at}.{dtype}_as_float32.{name}"] = result.astype(np.float32)
        for dtype, truth in truths.items():
            limit = np.finfo(np.float32).max  # a masked score is the lowest float64
            self._tensors[f"{at}.truth_of_{dtype}.{name}"] = np.clip(truth, -limit, limit).astype(np.float32)
        self._tolerances(index, group)[name] = self._tolerance(results, truths, where, position)

    def exact_output(self, index: int, name: str, results: Mapping[str, np.ndarray], group: str = "outputs") -> None:
        """An output that is no float.

        raises  AssertionError where results differ
        """
        first = next(iter(results.values()))
        assert all(np.array_equal(first, result) for result in results.values()), f"call {index}: {name} differs"
        self._tensors[f"calls.{index}.{group}.exact.{name}"] = first
        self._tolerances(index, group)[name] = {"exact": True}

    def write(self, path: Path, description: Mapping[str, Any]) -> int:
        """The file, whole or not at all; returns its size in bytes."""
        distance = {
            dtype: _rounded(float(np.sqrt(squares / max(self._numbers, 1)))) for dtype, squares in self._squares.items()
        }
        for call in self._calls:
            for tolerances in (call.get("outputs", {}), call.get("named", {})):
                for tolerance in tolerances.values():
                    _finish(tolerance, distance)
        content = {"format": FORMAT, **description, "calls": self._calls, "distance": distance, "ratio": RATIO}
        entry = {KEY: json.dumps(content, sort_keys=True, ensure_ascii=False)}
        contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in self._tensors.items()}
        write_atomically(path, partial(save_file, contiguous, metadata=entry))
        return path.stat().st_size

    def _tolerances(self, index: int, group: str) -> dict[str, Any]:
        return self._calls[index].setdefault(group, {})

    def _tolerance(
        self,
        results: Mapping[str, np.ndarray],
        truths: Mapping[str, np.ndarray],
        where: np.ndarray | None,
        position: int,
    ) -> dict[str, Any]:
        largest = float(np.abs(selected(results["float64"], where)).max(initial=0.0))
        tolerance: dict[str, Any] = {"largest": largest}
        for dtype, allowed in ALLOWED.items():
            farther = max(1.0, position / PROPORTIONAL_FROM) if dtype == "float32" else 1.0
            tolerance[dtype] = {"largest_error": _rounded(allowed * farther * largest)}
        for dtype, truth in truths.items():
            far = distance_from(results[dtype], truth, where)
            tolerance[dtype] = {"rms_of_transformers": _rounded(far)}
            count = selected(truth, where).size
            self._squares[dtype] += count * (far / largest) ** 2 if largest else 0.0
        self._numbers += selected(results["float64"], where).size
        tolerance["numbers"] = int(selected(results["float64"], where).size)
        return tolerance


def selected(array: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    """The numbers of an output that are compared, in a row, float64."""
    chosen = array.ravel() if where is None else array[np.broadcast_to(where, array.shape)]
    return chosen.astype(np.float64)


def distance_from(result: np.ndarray, truth: np.ndarray, where: np.ndarray | None) -> float:
    """Root of the mean squared error, where an output is compared."""
    return float(np.sqrt(np.mean(np.square(selected(result, where) - selected(truth, where)))))


def _finish(tolerance: dict[str, Any], distance: Mapping[str, float]) -> None:
    """RMS errors allowed in two bytes.

    That of few numbers is a matter of chance: there, three times what the whole case shows, relative to the largest.
    """
    numbers = tolerance.pop("numbers", 0)
    for dtype in ("float16", "bfloat16"):
        if dtype in tolerance:
            own = ALONE * tolerance[dtype]["rms_of_transformers"]
            typical = 3 * distance[dtype] * tolerance["largest"] if numbers < FEW else 0.0
            tolerance[dtype]["rms_error"] = _rounded(max(own, typical))


def _rounded(number: float) -> float:
    """Four digits: more depend on the processor."""
    return float(f"{number:.4g}")


assert tuple(DTYPES) == ("float64", "float32", "float16", "bfloat16")
