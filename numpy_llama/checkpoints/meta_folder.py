"""Meta's own folder: params.json, and the weights in one consolidated.*.pth for every GPU that they were made on.

    params.json           {"dim": 4096, "n_layers": 32, "n_heads": 32, …}
    consolidated.00.pth   a file of torch.save: see torch_file.py
    consolidated.01.pth   …

A model too large for one GPU was cut so that each could work by itself for as long as possible. A matrix that makes
heads or channels is cut between its rows: each GPU makes some of them. The matrix behind it, which takes these in, is
cut between its columns: each GPU takes in what it made, and the partial sums are added up. Norms are in every file.

    wq wk wv w1 w3 output   one below the other
    wo w2                   side by side
    tok_embeddings          side by side in Llama 1 and 2, one below the other since Llama 3: the shapes tell

Rows of wq and wk are in the order that rope_layout.py explains.

source  https://github.com/meta-llama/llama-models, llama3/model.py and args.py
"""

import re
from pathlib import Path

import numpy as np

from numpy_llama.checkpoints.meta_params import config_from_params
from numpy_llama.checkpoints.reader import StoredTensor
from numpy_llama.checkpoints.rope_layout import halves_from_neighbours
from numpy_llama.checkpoints.torch_file import TorchFile
from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json

PARAMS = "params.json"
SHARD = re.compile(r"consolidated\.(\d{1,4})\.pth")

ROWS, COLUMNS, EVERYWHERE = "one below the other", "side by side", "the same in every file"
# {Meta's name: (Hugging Face's, how the files' parts go together)}
OUTSIDE = {
    "tok_embeddings.weight": ("model.embed_tokens.weight", ROWS),  # or COLUMNS
    "norm.weight": ("model.norm.weight", EVERYWHERE),
    "output.weight": ("lm_head.weight", ROWS),
}
IN_A_LAYER = {
    "attention_norm.weight": ("input_layernorm.weight", EVERYWHERE),
    "attention.wq.weight": ("self_attn.q_proj.weight", ROWS),
    "attention.wk.weight": ("self_attn.k_proj.weight", ROWS),
    "attention.wv.weight": ("self_attn.v_proj.weight", ROWS),
    "attention.wo.weight": ("self_attn.o_proj.weight", COLUMNS),
    "ffn_norm.weight": ("post_attention_layernorm.weight", EVERYWHERE),
    "feed_forward.w1.weight": ("mlp.gate_proj.weight", ROWS),
    "feed_forward.w3.weight": ("mlp.up_proj.weight", ROWS),
    "feed_forward.w2.weight": ("mlp.down_proj.weight", COLUMNS),
}
LAYER = re.compile(r"layers\.(0|[1-9]\d{0,4})\.(.+)")
COMPUTED = "rope.freqs"  # at the end of names in Llama 1 and 2: a table that follows from the config


class MetaFolder:
    """A reader of such a folder; see CheckpointReader."""

    format = "Meta"

    def __init__(self, folder: Path):
        params = read_json(folder / PARAMS)
        self.files = _shards(folder)
        self.path = self.files[0] if len(self.files) == 1 else folder
        self._shards = [TorchFile(path) for path in self.files]
        self._names = self._checked_names()
        first = {name: stored.shape for name, stored in self._shards[0].table.items() if name in self._names.values()}
        self.config, self.generation_config = config_from_params(params, first, len(self.files), folder / PARAMS)

    def table(self) -> dict[str, StoredTensor]:
        """See CheckpointReader."""
        table = {}
        for name, theirs in self._names.items():
            stored = self._shards[0].table[theirs]
            table[name] = StoredTensor(name, self._whole_shape(theirs), stored.dtype)
        return table

    def read(self, name: str) -> np.ndarray:
        """See CheckpointReader; a view of the mapped file where there is one, but for q_proj and k_proj, whose rows are
        put in order.

        raises  LlamaError where two files hold another norm
        """
        theirs = self._names[name]
        parts = [shard.read(theirs) for shard in self._shards]
        together = self._together(theirs)
        if len(parts) == 1:
            whole = parts[0]
        elif together == EVERYWHERE:
            whole = parts[0]
            for path, part in zip(self.files, parts, strict=True):
                if not np.array_equal(part, whole, equal_nan=True):
                    where = f"{path}: {theirs}"
                    raise LlamaError("shards disagree", where=where, expected=f"the numbers of {self.files[0].name}")
        else:
            whole = np.concatenate(parts, axis=0 if together == ROWS else 1)
        if theirs.endswith(".wq.weight"):
            return halves_from_neighbours(whole, self.config.num_attention_heads)
        if theirs.endswith(".wk.weight"):
            return halves_from_neighbours(whole, self.config.num_key_value_heads)
        return whole

    def _checked_names(self) -> dict[str, str]:
        """{Hugging Face's name: Meta's}; every file must have the same tensors, of the same shapes and dtypes.

        raises  LlamaError where one doesn't, or has a tensor that no Llama has
        """
        first = self._shards[0]
        for shard in self._shards[1:]:
            for name in first.table.keys() | shard.table.keys():
                one, other = first.table.get(name), shard.table.get(name)
                if one != other:
                    where = f"{shard.path}: {name[:200]}"
                    expected = f"{_described(one)}, as in {first.path.name}"
                    raise LlamaError("shards disagree", where=where, expected=expected, found=_described(other))
        names: dict[str, str] = {}
        for theirs in first.table:
            if theirs.endswith(COMPUTED):
                continue
            ours = hugging_face_name(theirs)
            if ours is None:
                expected = "the names of a Llama of Meta's"
                raise LlamaError("unknown tensor", where=f"{first.path}: {theirs[:200]}", expected=expected)
            dimensions = 1 if _entry(theirs)[1] == EVERYWHERE else 2
            shape = first.table[theirs].shape
            if len(shape) != dimensions:
                where = f"{first.path}: {theirs}"
                raise LlamaError("wrong shape", where=where, expected=f"{dimensions} dimensions", found=shape)
            names[ours] = theirs
        return names

    def _together(self, theirs: str) -> str:
        """How the parts of a tensor go together."""
        if theirs != "tok_embeddings.weight" or len(self.files) == 1:
            return _entry(theirs)[1]
        width = self._shards[0].table[theirs].shape[1]
        return COLUMNS if width * len(self.files) == self.config.hidden_size else ROWS

    def _whole_shape(self, theirs: str) -> tuple[int, ...]:
        shape = self._shards[0].table[theirs].shape
        together, count = self._together(theirs), len(self.files)
        if together == EVERYWHERE:
            return shape
        return (shape[0] * count, shape[1]) if together == ROWS else (shape[0], shape[1] * count)


def is_meta_folder(path: Path) -> bool:
    """Whether a path looks like such a folder."""
    return (path / PARAMS).is_file()


def open_meta_folder(folder: Path) -> MetaFolder:
    """Open a folder of Meta's.

    raises  LlamaError where a file is missing, damaged or no Llama's, where shards disagree, and where a file asks for
            anything but tensors
    """
    return MetaFolder(folder)


def hugging_face_name(theirs: str) -> str | None:
    """Hugging Face's name of a tensor, from Meta's; None where no Llama has it."""
    entry = _entry(theirs)
    match = LAYER.fullmatch(theirs)
    if match and entry[0]:
        return f"model.layers.{match[1]}.{entry[0]}"
    return entry[0] or None


def _entry(theirs: str) -> tuple[str, str]:
    match = LAYER.fullmatch(theirs)
    return (IN_A_LAYER.get(match[2]) if match else OUTSIDE.get(theirs)) or ("", "")


def _shards(folder: Path) -> tuple[Path, ...]:
    """The files with weights, in order.

    raises  LlamaError where there is none, or one is missing between others
    """
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob("consolidated.*.pth")):
        match = SHARD.fullmatch(path.name)
        if match and int(match[1]) not in numbered:
            numbered[int(match[1])] = path
        else:
            expected = "consolidated.00.pth, consolidated.01.pth, …"
            raise LlamaError("a shard of no number, or of another's", where=path, expected=expected)
    for number in range(max(1, len(numbered))):
        if number not in numbered:
            found = ", ".join(path.name for path in list(numbered.values())[:4]) or None
            raise LlamaError("no such file", where=folder / f"consolidated.{number:02d}.pth", found=found)
    return tuple(numbered[number] for number in range(len(numbered)))


def _described(stored: StoredTensor | None) -> str:
    return "no such tensor" if stored is None else f"{stored.dtype} {stored.shape}"
