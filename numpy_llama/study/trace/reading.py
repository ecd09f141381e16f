"""Read whatever somebody has dumped: `read_trace(path)`.

    x.safetensors     ours, or a stranger's, with or without metadata, under our names, Meta's or llama.cpp's
    DIR/              a folder of .npy files
    x.txt             what llama-eval-callback printed

What a value is called and how its numbers lie is settled here; from here on a stranger's trace is like our own.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path
from numpy_llama.model.config import LlamaConfig
from numpy_llama.study.trace.about import About
from numpy_llama.study.trace.eval_callback import is_eval_callback, read_eval_callback
from numpy_llama.study.trace.foreign_names import LLAMA_CPP
from numpy_llama.study.trace.stored import Stored, stored_in_file, stored_in_folder
from numpy_llama.study.trace.trace import Trace
from numpy_llama.study.trace.understanding import Found, understood

_IN_CALL = re.compile(r"call\.(\d{1,9})/([^/]+)")
_PRINTED = re.compile("|".join({re.escape(line.theirs).replace(r"\{i\}", r"\d+") for line in LLAMA_CPP}))


def read_trace(path: str | Path, config: LlamaConfig | None = None) -> Trace:
    """A trace from a file or folder of any kind that is read here; values stay on disk until they are asked for.

    Names are made ours, and numbers sorted into our order; what a file doesn't say is worked out from what it does.
    What had to be guessed or left out, the trace's `notes` say; values of which only a part is known are in its
    `partial`.

    config   of the model, where the file may not say it: some layouts can't be understood without the size of a head
    raises   LlamaError where there is nothing, or it is damaged, or says what can't be
    """
    path = as_path(path)
    if not path.exists():
        raise LlamaError("no such file or folder", where=path)
    if path.is_dir():
        stored, about = stored_in_folder(path)
        calls = _by_call(stored, path)
    elif path.is_file() and is_eval_callback(path):
        about = About()
        calls = _printed_calls(path)
    else:
        _refuse_others(path)
        stored, about = stored_in_file(path)
        calls = _by_call(stored, path)
    return understood(calls, about, str(path), config)


def load_trace(path: str | Path) -> Trace:
    """A trace that save_trace wrote, under the very names it was written with. Values stay on disk until they are asked
    for.

    raises  LlamaError where the file is missing, damaged, or says what can't be
    """
    path = as_path(path)
    stored, about = stored_in_file(path)
    return understood(_by_call(stored, path), about, str(path), None, as_named=True)


def _by_call(stored: Mapping[str, Stored], path: Path) -> dict[int, list[Found]]:
    """The arrays of each call, by its number. Names without a call are those of the only one."""
    calls: dict[int, list[Found]] = defaultdict(list)
    seen: dict[tuple[int, str], str] = {}
    for full, array in stored.items():
        inside = _IN_CALL.fullmatch(full)
        if inside is None and (not full or "/" in full):
            raise LlamaError("no possible name", where=path, expected="NAME, or call.0000/NAME", found=full[:80])
        index, name = (0, full) if inside is None else (int(inside[1]), inside[2])
        other = seen.setdefault((index, name), full)
        if other != full:  # call.0/x and call.0000/x
            raise LlamaError("two arrays of one name", where=path, expected="one of them", found=f"{other} and {full}")
        calls[index].append(Found(name, array.shape, array.read, in_call=inside is not None))
    if not calls:
        raise LlamaError("no tensors", where=path, expected="input_ids and values, under call.0000/NAME")
    if len({found.in_call for arrays in calls.values() for found in arrays}) > 1:
        alone = next(found.theirs for arrays in calls.values() for found in arrays if not found.in_call)
        expected = "all names to begin with call.NNNN/, or none"
        raise LlamaError("a value of no call", where=path, expected=expected, found=alone[:80])
    return dict(calls)


def _printed_calls(path: Path) -> dict[int, list[Found]]:
    """The tensors of each evaluation of the graph: it begins with a tensor that was there already at the beginning."""
    calls: dict[int, list[Found]] = defaultdict(list)
    first = None
    for printed in read_eval_callback(path, _PRINTED):
        first = first or (printed.name, printed.op)
        index = (
            len(calls) if (printed.name, printed.op) == first and "ffn_inp" not in printed.sources else len(calls) - 1
        )
        array, known = printed.array, printed.known
        calls[index].append(
            Found(printed.name, array.shape, lambda array=array: array, known, printed.op, printed.sources)  # type: ignore[misc]
        )
    if not calls:
        raise LlamaError("no tensor of a Llama", where=path, expected="attn_norm-0, l_out-0, … of llama-eval-callback")
    return dict(calls)


def _refuse_others(path: Path) -> None:
    """raises  LlamaError for files of kinds that aren't read here, with what to do instead"""
    if not path.is_file():
        raise LlamaError("neither a file nor a folder", where=path)
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PK") or start[:1] == b"\x80" or path.suffix in (".pt", ".pth", ".pkl", ".npz"):
        expected = "a safetensors file, or a folder of .npy files; pickles and archives aren't opened"
        raise LlamaError("not a trace that is read here", where=path, expected=expected)
    if start == b"\x93NUMPY":
        expected = "the folder of such files, DIR/call.0000/NAME.npy"
        raise LlamaError("one .npy file", where=path, expected=expected)
