"""Write what a program in any language is asked: a folder of cases, an index, and a page that says what to do.

DIR/README.md              for whoever writes the program
DIR/index.json             every case, with hashes of its files; what each property drew
DIR/in/rms_norm.0003/      one case: case.json, and its arrays
DIR/in/model.lm_tied/      a whole model: config.json, its weights, and its calls
DIR/out/                   where the answers go
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.conformance.exchange.readme import page
from numpy_llama.conformance.exchange.recording import BLOCKS, AskedCall, Recorded, record
from numpy_llama.conformance.exchange.written import encoded, sha256, write_arrays
from numpy_llama.conformance.published_cases import PublishedCase
from numpy_llama.conformance.published_logits import config_of, logits_cases
from numpy_llama.errors import LlamaError
from numpy_llama.files import json_text
from numpy_llama.version import __version__

FORMAT = "numpy_llama.conformance"
EXAMPLES = 4  # a property: of the wrong blocks that show in float32, these find all but a few
MODELS = 16  # of the published cases, the smallest that between them show every setting
KINDS = (*BLOCKS, "model")


def emit(
    folder: Path,
    *,
    only: Sequence[str] = KINDS,
    form: str = "safetensors",
    dtype: str = "float32",
    examples: int = EXAMPLES,
) -> int:
    """Write a folder of cases. Returns how many there are.

    only      blocks to ask for, and "model" for whole models
    form      "safetensors", or "npy" for a file each array
    dtype     of all numbers
    examples  how many of each property
    raises    LlamaError where the folder isn't empty
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LlamaError("not an empty folder", where=folder, expected="a folder that isn't there yet, or an empty one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # All of it or nothing: it is written beside its place and moved there when it is whole.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            count = _emit(Path(temporary) / "questions", only, form, dtype, examples)
            if folder.exists():
                folder.rmdir()
            os.replace(Path(temporary) / "questions", folder)
    except OSError as error:
        raise LlamaError(f"can't be written ({error.strerror or error})", where=folder) from None
    return count


def _emit(folder: Path, only: Sequence[str], form: str, dtype: str, examples: int) -> int:
    cases: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    properties = []
    for block in (kind for kind in only if kind != "model"):
        for recorded in record(block, examples, [dtype]):
            for call in recorded.calls:
                if call.key not in names:
                    count = sum(case["function"] == call.function for case in cases.values())
                    names[call.key] = name = f"{call.function}.{count:04d}"
                    cases[name] = _write_call(folder / "in" / name, call, form)
            properties.append(_property(recorded, names))
    for case in _models() if "model" in only else ():
        cases[f"model.{case.name}"] = _write_model(folder / "in" / f"model.{case.name}", case, form, dtype)
    (folder / "out").mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(page(form, dtype, cases), encoding="utf-8")
    index = {
        FORMAT: 1,
        "made_by": __version__,
        "format": form,
        "dtype": dtype,
        "cases": cases,
        "properties": properties,
    }
    _write_json(folder / "index.json", {**index, "digest": digest(index)})
    return len(cases)


def digest(index: Mapping[str, Any]) -> str:
    """A hash of all that an index says, but for the hash itself."""
    content = {name: value for name, value in index.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _property(recorded: Recorded, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "block": recorded.block,
        "function": recorded.function,
        "property": recorded.property_.__name__,
        "drawn": {name: encoded(value) for name, value in recorded.drawn.items()},
        "calls": [names[call.key] for call in recorded.calls],
    }


def _write_call(folder: Path, call: AskedCall, form: str) -> dict[str, Any]:
    arrays = {name: np.asarray(value) for name, value in call.arguments.items() if not isinstance(value, np.dtype)}
    # A number is an array without axes, so that a program needs to read one kind of file only.
    about = {
        "function": call.function,
        "inputs": _described(arrays),
        "outputs": _described(call.outputs),
        **{name: value.name for name, value in call.arguments.items() if isinstance(value, np.dtype)},
    }
    return {**about, "key": call.key, "files": _write(folder, about, arrays, form)}


def _write_model(folder: Path, case: PublishedCase, form: str, dtype: str) -> dict[str, Any]:
    """A whole model: with safetensors, a folder as any checkpoint is."""
    inputs = {
        f"call.{index:04d}/{name}": array
        for index in range(len(case.calls))
        for name, array in case.inputs(index, dtype).items()
    }
    shapes = [case.expected(index, "outputs", dtype, "logits").shape for index in range(len(case.calls))]
    outputs = {f"call.{index:04d}/logits": {"dtype": dtype, "shape": list(s)} for index, s in enumerate(shapes)}
    about = {"function": "model", "about": case.description["about"], "inputs": _described(inputs), "outputs": outputs}
    files = _write(folder, about, inputs, form)
    _write_json(folder / "config.json", config_of(case))
    weights = case.weights(dtype)
    if form == "npy":
        weights = {f"weights/{name}": array for name, array in weights.items()}
    written = [folder / "config.json", *write_arrays(folder, weights, form, "model")]
    files.update({path.relative_to(folder).as_posix(): sha256(path) for path in written})
    return {**about, "published": case.name, "files": files}


def _write(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], form: str) -> dict[str, str]:
    """Write case.json and the inputs; file → hash."""
    _write_json(folder / "case.json", about)
    written = [folder / "case.json", *write_arrays(folder, arrays, form, "inputs")]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in written}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json_text(dict(content), path))


def _described(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in arrays.items()}


def _models() -> list[PublishedCase]:
    """A few published cases that between them show all settings that any case shows."""
    from numpy_llama.conformance.published_logits import tags

    chosen: list[PublishedCase] = []
    shown: set[str] = set()
    for case in logits_cases():
        if not tags(case) <= shown and len(chosen) < MODELS:
            chosen.append(case)
            shown |= tags(case)
    return chosen
