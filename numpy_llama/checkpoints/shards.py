"""Shards: a checkpoint in several files, and the index that says which tensor is in which.

    model-00001-of-00003.safetensors
    model-00002-of-00003.safetensors
    model-00003-of-00003.safetensors
    model.safetensors.index.json      {"metadata": {"total_size": 13476839424, …},
                                       "weight_map": {"lm_head.weight": "model-00003-of-00003.safetensors", …}}

source  save_pretrained and from_pretrained of Transformers
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy_llama.checkpoints.safetensors_file import SafetensorsFile
from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_NAME = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
LONGEST_NAME = 255  # bytes that file systems have room for
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def read_index(path: Path) -> dict[str, str]:
    """{tensor: name of its file} of an index.

    raises  LlamaError where it is no JSON, names a tensor twice, or a file that isn't beside it
    """
    weight_map = read_json(path, unique_names=True).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        found = type(weight_map).__name__ if not isinstance(weight_map, dict) else "an empty one"
        raise LlamaError("wrong kind", where=f"{path}: weight_map", expected="an object", found=found)
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not _is_plain_name(name):
            expected = "the name of a .safetensors file in the same folder"
            raise LlamaError("no shard", where=f"{path}: {tensor}", expected=expected, found=repr(name)[:80])
    return weight_map


def open_shards(path: Path, weight_map: Mapping[str, str]) -> dict[str, SafetensorsFile]:
    """{tensor: the opened file that it is in}; index and files are held to each other.

    path    of the index
    raises  LlamaError where a file is missing or damaged, a tensor isn't where the index says, is in two files, or in
            a file and not in the index
    """
    files = {name: SafetensorsFile(path.parent / name) for name in sorted(set(weight_map.values()))}
    homes: dict[str, str] = {}
    for name, file in files.items():
        for tensor in file.table:
            if tensor in homes:
                where = f"{path.parent / homes[tensor]}, {path.parent / name}"
                raise LlamaError(f"two shards hold {tensor}", where=where, expected="one of them to")
            homes[tensor] = name
    for tensor, name in weight_map.items():
        if homes.get(tensor) != name:
            found = f"it in {homes[tensor]}" if tensor in homes else "it in no shard"
            raise LlamaError(
                "a tensor isn't where the index says", where=f"{path}: {tensor}", expected=name, found=found
            )
    for tensor, name in homes.items():
        if tensor not in weight_map:
            raise LlamaError(
                "the index doesn't list a tensor", where=f"{path.parent / name}: {tensor}", expected=path.name
            )
    return {tensor: files[name] for tensor, name in weight_map.items()}


def bytes_from(size: object) -> int:
    """The number of bytes in "5GB"; units are powers of 1000, as Transformers counts.

    raises  LlamaError where it is neither such a text nor a positive integer
    """
    number: float = 0.0
    if isinstance(size, int) and not isinstance(size, bool):
        number = size
    elif isinstance(size, str) and (parts := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]B)\s*", size, re.IGNORECASE)):
        number = float(parts[1]) * UNITS[parts[2].upper()]
    if not 1 <= number < 2**63:
        expected = 'a number of bytes, or a text such as "5GB" or "200MB"'
        raise LlamaError("impossible value", where="max_shard_size", expected=expected, found=repr(size)[:80])
    return int(number)


def shared_out(sizes: Mapping[str, int], limit: int) -> dict[str, list[str]]:
    """{name of a file: the tensors that go into it}, in order, as many into each as fit.

    sizes    {tensor: bytes}
    limit    bytes of numbers in a file; a tensor larger than that has a file of its own
    returns  one file, model.safetensors, where all fit
    """
    shards: list[list[str]] = []
    room = -1
    for tensor, size in sizes.items():
        if size > room:
            shards.append([])
            room = limit
        shards[-1].append(tensor)
        room -= size
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {f"model-{i:05d}-of-{len(shards):05d}.safetensors": names for i, names in enumerate(shards, start=1)}


def index_of(shards: Mapping[str, list[str]], sizes: Mapping[str, int], numbers: int) -> dict[str, Any]:
    """The content of model.safetensors.index.json.

    numbers  in all tensors together
    """
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    metadata = {"total_parameters": numbers, "total_size": sum(sizes.values())}
    return {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}


def _is_plain_name(name: str) -> bool:
    """Whether a file of that name can only be in the folder itself, on any system."""
    plain = name.isprintable() and not re.search(r"[/\\:]", name) and not name.startswith("..")
    return plain and name.endswith(".safetensors") and len(name.encode("utf-8")) <= LONGEST_NAME
