"""Writing a Hugging Face checkpoint folder that Transformers reads, too: in one file, or in shards."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from numpy_llama.checkpoints.folder import GENERATION_CONFIG
from numpy_llama.checkpoints.shards import INDEX, SHARD_NAME, SINGLE, bytes_from, index_of, shared_out
from numpy_llama.errors import LlamaError
from numpy_llama.files import json_text, write_aside, write_json
from numpy_llama.model.config import LlamaConfig

MAX_SHARD_SIZE = "50GB"  # Transformers' default


def write_folder(
    folder: Path,
    class_name: str,
    config: LlamaConfig,
    sizes: Mapping[str, int],
    read: Callable[[str], np.ndarray],
    generation_config: Mapping[str, Any],
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> None:
    """Write a folder. A crash leaves the old checkpoint, the new one, or one without its index: never a mixture.

    class_name      of the model, for config.json
    sizes           {tensor: bytes}, in the order in which they are shared out
    read            gives a tensor; called once for each, the tensors of one file at a time
    max_shard_size  bytes in a file, or a text such as "5GB"
    raises          LlamaError where the folder can't be written, or an object holds what JSON can't
    """
    shards = shared_out(sizes, bytes_from(max_shard_size))
    if folder.exists() and not folder.is_dir():
        raise LlamaError("not a folder", where=folder)
    for content, name in ((config.to_dict(), "config.json"), (dict(generation_config), GENERATION_CONFIG)):
        json_text(content, folder / name)  # what JSON can't hold must show before a file is replaced

    dtype, numbers = "", 0
    with ExitStack() as commit:
        places = []
        for shard, names in shards.items():
            arrays = {name: np.ascontiguousarray(read(name)) for name in names}
            dtype = dtype or next(iter(arrays.values())).dtype.name
            numbers += sum(array.size for array in arrays.values())
            places.append(commit.enter_context(write_aside(folder / shard, _saving(arrays, folder / shard))))
            del arrays
        # All numbers are on the disk. From here on a file only changes its name.
        (folder / INDEX).unlink(missing_ok=True)
        for put_in_place in places:
            put_in_place()
    if list(shards) != [SINGLE]:
        write_json(folder / INDEX, index_of(shards, sizes, numbers))
        (folder / SINGLE).unlink(missing_ok=True)
    for path in folder.glob("model-*.safetensors"):  # of an older model
        if SHARD_NAME.fullmatch(path.name) and path.name not in shards:
            path.unlink()

    settings = {**config.to_dict(), "architectures": [class_name], "dtype": dtype}
    settings.pop("torch_dtype", None)
    write_json(folder / "config.json", settings)
    if generation_config:
        write_json(folder / GENERATION_CONFIG, dict(generation_config))
    else:  # one of an older model would come back with this one
        (folder / GENERATION_CONFIG).unlink(missing_ok=True)


def _saving(arrays: dict[str, np.ndarray], path: Path) -> Callable[[Path], object]:
    """A function that writes one safetensors file into a temporary place.

    path  where it will be, for error messages
    """

    def save(temporary: Path) -> None:
        try:
            save_file(arrays, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            raise LlamaError(f"can't be written ({error})", where=path) from None

    return save
