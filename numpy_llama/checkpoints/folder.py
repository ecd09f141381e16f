"""A Hugging Face checkpoint folder: config.json, generation_config.json, model.safetensors or shards with an index."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.reader import StoredTensor
from numpy_llama.checkpoints.safetensors_file import SafetensorsFile, check_dtype
from numpy_llama.checkpoints.shards import INDEX, SINGLE, open_shards, read_index
from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json
from numpy_llama.model.config import LlamaConfig

GENERATION_CONFIG = "generation_config.json"


class HuggingFaceFolder:
    """A reader of such a folder; see CheckpointReader.

    Config.json is read at once, everything else when it is first asked for: a config can be had of a folder without
    weights.
    """

    format = "Hugging Face"

    def __init__(self, folder: Path, config_changes: Mapping[str, Any] | None = None):
        if not folder.is_dir():
            raise LlamaError("no such checkpoint folder", where=folder)
        self.folder = folder
        self.config = LlamaConfig.from_pretrained(folder, **(config_changes or {}))
        sharded = (folder / INDEX).is_file() and not (folder / SINGLE).is_file()  # the order of Transformers
        self.path = folder / (INDEX if sharded else SINGLE)

    @property
    def generation_config(self) -> dict[str, Any] | None:
        """What generation_config.json says, where it is there."""
        path = self.folder / GENERATION_CONFIG
        return read_json(path) if path.exists() else None

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file, or the shards."""
        return tuple(sorted({file.path for file in self._homes.values()}))

    def table(self) -> dict[str, StoredTensor]:
        """See CheckpointReader."""
        table = {name: file.table[name] for name, file in self._homes.items()}
        for name, stored in table.items():
            check_dtype(stored, self._homes[name].path)
        return table

    def read(self, name: str) -> np.ndarray:
        """See CheckpointReader; a view of the mapped file."""
        return self._homes[name].read(name)

    @cached_property
    def _homes(self) -> dict[str, SafetensorsFile]:
        """{tensor: the file that it is in}"""
        if self.path.name == INDEX:
            return open_shards(self.path, read_index(self.path))
        if not self.path.is_file():
            expected = f"the weights in this file, or in shards that {INDEX} lists"
            raise LlamaError("no such file", where=self.path, expected=expected, found=_other_weights(self.folder))
        file = SafetensorsFile(self.path)
        return dict.fromkeys(file.table, file)


def is_folder(path: Path) -> bool:
    """Whether a path looks like such a folder."""
    return (path / "config.json").is_file()


def open_folder(folder: Path, config_changes: Mapping[str, Any] | None = None) -> HuggingFaceFolder:
    """Open a folder; config_changes as in open_checkpoint.

    raises  LlamaError where folder or config.json is missing or can't be
    """
    reader = HuggingFaceFolder(folder, config_changes)
    if "quantization_config" in reader.config.extra:
        from numpy_llama.checkpoints.quantized import QuantizedFolder

        return QuantizedFolder(folder, config_changes)
    return reader


def _other_weights(folder: Path) -> str | None:
    """Weights in formats that a folder doesn't have them in, if it holds any."""
    suffixes = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")
    names = sorted(path.name for path in folder.glob("*") if path.name.endswith(suffixes))
    return ", ".join(names[:4]) or None
