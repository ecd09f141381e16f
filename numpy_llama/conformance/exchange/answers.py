"""What was asked and what was answered: a folder that was emitted, with a program's files in it.

asked = Asked.read(folder)            # raises where it is no emitted folder, or was changed since
asked.answer("rms_norm.0003")         # the arrays that somebody wrote, or Unanswered
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.conformance.exchange.emit import FORMAT, digest
from numpy_llama.conformance.exchange.written import read_arrays, sha256
from numpy_llama.conformance.rounding import Broken
from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json
from numpy_llama.precision import DTYPES


class Unanswered(Exception):
    """There is no answer to a question, or none that can be read; the message says which."""


@dataclass(frozen=True)
class Asked:
    """A folder of questions.

    folder  where it is
    index   what index.json says
    out     where the answers are
    """

    folder: Path
    index: Mapping[str, Any]
    out: Path

    @classmethod
    def read(cls, folder: Path) -> "Asked":
        """raises  LlamaError where the folder wasn't emitted, is damaged, or its questions were changed since"""
        if not folder.is_dir():
            raise LlamaError("no such folder", where=folder, expected="one made by --emit")
        path = folder / "index.json"
        if not path.is_file():
            raise LlamaError("no index.json", where=folder, expected="a folder made by --emit")
        index = read_json(path)
        if index.get(FORMAT) != 1:
            raise LlamaError("not an index of conformance cases", where=path, expected=f'"{FORMAT}": 1',
                             found=index.get(FORMAT))  # fmt: skip
        if index.get("digest") != digest(index):
            raise LlamaError("changed since it was emitted", where=path, expected="the file as --emit wrote it")
        for name, case in index["cases"].items():
            for file, written in case["files"].items():
                place = folder / "in" / name / file
                if not place.is_file():
                    raise LlamaError("missing", where=place, expected="the file as --emit wrote it")
                if sha256(place) != written:
                    raise LlamaError(
                        "changed since it was emitted", where=place, expected="the file as --emit wrote it"
                    )
        return cls(folder, index, folder / "out")

    @property
    def cases(self) -> Mapping[str, Mapping[str, Any]]:
        """Every question, by name."""
        return self.index["cases"]

    def by_key(self) -> dict[str, str]:
        """The names of the calls of functions, by their hash."""
        return {case["key"]: name for name, case in self.cases.items() if "key" in case}

    def has_answer(self, name: str) -> bool:
        """Whether somebody wrote anything for a question."""
        place = self.out / name
        return place.is_dir() and any(place.rglob("*.npy" if self.index["format"] == "npy" else "outputs.safetensors"))

    def inputs(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a question, by name."""
        return read_arrays(self.folder / "in" / name, self.cases[name]["inputs"], self.index["format"], "inputs")

    def answer(self, name: str, outputs: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """The outputs of a question, by name, in the dtype that was asked for.

        outputs  names of those wanted; all unless given
        raises   Unanswered where one is missing or its file can't be read; Broken where it can't be an answer: another
                 shape, or numbers of another kind
        """
        wanted = {
            output: about for output, about in self.cases[name]["outputs"].items() if output in (outputs or (output,))
        }
        try:
            found = read_arrays(self.out / name, wanted, self.index["format"], "outputs")
        except LlamaError as error:
            raise Unanswered(str(error)) from None
        missing = [output for output in wanted if output not in found]
        if missing:
            raise Unanswered(f"{name}: no {missing[0]}")
        return {output: _fitted(found[output], about, f"{name}: {output}") for output, about in wanted.items()}


def _fitted(array: np.ndarray, wanted: Mapping[str, Any], claim: str) -> np.ndarray:
    dtype = DTYPES.get(wanted["dtype"]) or np.dtype(wanted["dtype"])
    if array.shape != tuple(wanted["shape"]):
        raise Broken(f"{claim}: shape {array.shape} instead of {tuple(wanted['shape'])}", got=array)
    if dtype.kind in "iu":
        if array.dtype.kind not in "iub" and not np.array_equal(array, np.rint(array.astype(np.float64))):
            raise Broken(f"{claim}: numbers that aren't whole", got=array)
    elif array.dtype.kind in "iub" or array.dtype.itemsize < dtype.itemsize:
        raise Broken(f"{claim}: written as {array.dtype.name} instead of {dtype.name}", got=array)
    if array.size and dtype.kind not in "iu" and np.isnan(array.astype(np.float64)).all():
        raise Broken(f"{claim}: every number is NaN", got=array)
    with np.errstate(all="ignore"):
        return array.astype(dtype)
