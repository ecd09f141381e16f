"""One door to every checkpoint format: what a reader gives, and which reader a path needs.

    checkpoint = open_checkpoint("path/to/llama")
    checkpoint.config.hidden_size
    for name, stored in checkpoint.table().items():
        print(name, stored.shape, stored.dtype, checkpoint.read(name).mean())

A format is a class with this handful of attributes, in a file of its own. Whatever the format calls a tensor, and
however it lays out the rows of queries and keys, a reader answers in Hugging Face's names and layout; so the models,
`inspect` and `convert` know nothing of formats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.config_changes import with_changes


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint, as its header describes it.

    name   under which `read` gives it
    shape  in Hugging Face's layout: (out_features, in_features) for a matrix
    dtype  how the file stores it: "F64", "F32", "F16" or "BF16", or the name of a quantized type such as "Q4_1"
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


class CheckpointReader(Protocol):
    """An opened checkpoint: its config and its table of tensors at hand, its weights read one by one.

    path    of the file that holds the weights, or lists the files that do; for error messages
    format  "Hugging Face", "GGUF", "llama2.c" or "Meta"
    config  of the model
    """

    path: Path
    format: str
    config: LlamaConfig

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds weights."""

    @property
    def generation_config(self) -> dict[str, Any] | None:
        """What generation_config.json says, or what stands in for it in another format; None for nothing."""

    def table(self) -> dict[str, StoredTensor]:
        """Every tensor, under the name that it has in a Hugging Face file; from headers alone.

        raises  LlamaError where a header is damaged, or names a type that `read` can't read
        """

    def read(self, name: str) -> np.ndarray:
        """One tensor of the table.

        returns  array of the table's shape, in the stored dtype, or in float32 where that is a quantized one; it may
                 be a view of the mapped file, not to be written to
        raises   LlamaError where the file doesn't hold what its header says
        """


def open_checkpoint(path: str | Path, config_changes: Mapping[str, Any] | None = None) -> CheckpointReader:
    """Open a checkpoint of any format; headers are read, weights are not.

    path            a folder with config.json (Hugging Face), or with params.json (Meta), or with a .gguf file in it; or
                    a .gguf file; or a llama2.c .bin file
    config_changes  fields of LlamaConfig other than the checkpoint says
    raises          LlamaError where there is nothing, or nothing that is recognised, and as the format's reader does
    """
    path = as_path(path)
    if not path.exists():
        raise LlamaError("no such checkpoint folder", where=path)
    if path.is_dir():
        # config.json is what a folder of ours always has; where nothing else is recognised, it is what is missing.
        if not (path / "config.json").is_file():
            from numpy_llama.checkpoints.gguf_file import is_gguf, open_gguf
            from numpy_llama.checkpoints.meta_folder import is_meta_folder, open_meta_folder

            if is_meta_folder(path):
                return _with_changes(open_meta_folder(path), config_changes)
            if is_gguf(path):
                return _with_changes(open_gguf(path), config_changes)
        from numpy_llama.checkpoints.folder import open_folder

        return open_folder(path, config_changes)
    if path.suffix == ".gguf":
        from numpy_llama.checkpoints.gguf_file import open_gguf

        return _with_changes(open_gguf(path), config_changes)
    if path.suffix == ".bin":
        from numpy_llama.checkpoints.llama2c import open_llama2c

        return _with_changes(open_llama2c(path), config_changes)
    expected = "a checkpoint folder, a .gguf file or a llama2.c .bin file"
    raise LlamaError("no checkpoint that is read here", where=path, expected=expected)


def _with_changes(checkpoint: CheckpointReader, changes: Mapping[str, Any] | None) -> CheckpointReader:
    """The reader, its config changed."""
    if changes:
        known = {field.name for field in fields(LlamaConfig)}
        settings = with_changes(checkpoint.config.to_dict(), changes, known)
        checkpoint.config = LlamaConfig.from_dict(settings)
    return checkpoint
