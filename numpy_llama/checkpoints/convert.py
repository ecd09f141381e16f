"""From one checkpoint format to another: tensors are read, renamed and written, one file's worth at a time.

    convert_checkpoint("stories15M.bin", "stories15M")            # llama2.c → a Hugging Face folder
    convert_checkpoint("path/to/llama", "llama.bin", "llama2.c")

Every number stays as it is stored, but for quantized ones, which become float32, and for llama2.c, which has nothing
but float32.
"""

import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from numpy_llama.checkpoints.auto import AutoTokenizer
from numpy_llama.checkpoints.folder import is_folder
from numpy_llama.checkpoints.llama2c import BOS, EOS, check_writable, write_llama2c
from numpy_llama.checkpoints.load import check_tied_head, checked_table
from numpy_llama.checkpoints.reader import CheckpointReader, StoredTensor, open_checkpoint
from numpy_llama.checkpoints.safetensors_file import STORED_DTYPES
from numpy_llama.checkpoints.write_folder import write_folder
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.files import as_path, write_atomically
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.heads import (
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)
from numpy_llama.model.llama import LlamaModel
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.model.quantization import config_saying
from numpy_llama.model.weights import check_tensors
from numpy_llama.precision import DTYPES
from numpy_llama.tokenizer.llama2c_vocabulary import FILE as VOCABULARY
from numpy_llama.tokenizer.llama2c_vocabulary import llama2c_vocabulary_bytes

FORMATS = ("hf", "llama2.c")
MAX_SHARD_SIZE = "5GB"  # the tensors of one file are in memory together
TOKENIZER_FILES = (
    "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt",
)  # fmt: skip
CLASSES: dict[str, type[LlamaPreTrainedModel]] = {
    one.__name__: one
    for one in (
        LlamaModel,
        LlamaForCausalLM,
        LlamaForSequenceClassification,
        LlamaForTokenClassification,
        LlamaForQuestionAnswering,
    )
}


def convert_checkpoint(
    source: str | Path, destination: str | Path, to: str = "hf", max_shard_size: int | str = MAX_SHARD_SIZE
) -> tuple[Path, ...]:
    """Write a checkpoint of any format that is read here as a Hugging Face folder, or as a llama2.c file.

    The tokenizer goes along where there is one: as the same files between folders, else as the files that the format
    has for it.

    destination     a folder, or the .bin file; it mustn't be there yet
    to              "hf" or "llama2.c"
    max_shard_size  as in save_pretrained, for "hf"; as much memory is needed
    returns         the files written
    raises          LlamaError as open_checkpoint does, for weights that don't fit the config or aren't finite, where
                    the destination is there already, and where the format has no place for what is in the checkpoint
    warns           LlamaWarning where there is no tokenizer, or the format has no place for something small
    """
    source, destination = as_path(source), as_path(destination)
    if to not in FORMATS:
        raise LlamaError("no such format", where="to", expected=" or ".join(FORMATS), found=repr(to))
    checkpoint = open_checkpoint(source)
    _check_is_free(destination)
    return (
        _to_folder(checkpoint, source, destination, max_shard_size)
        if to == "hf"
        else _to_llama2c(checkpoint, source, destination)
    )


def _to_folder(checkpoint: CheckpointReader, source: Path, folder: Path, max_shard_size: int | str) -> tuple[Path, ...]:
    model_class = _class_of(checkpoint)
    found = _whole_table(checkpoint, model_class)
    sizes = {name: _bytes_of(stored) for name, stored in found.items()}
    read = partial(_checked, checkpoint, found)
    said = checkpoint.generation_config or {}
    config = config_saying(None, checkpoint.config)  # what was quantized is float32 now
    write_folder(folder, model_class.__name__, config, sizes, read, said, max_shard_size)
    _carry_tokenizer(source, folder)
    return tuple(sorted(folder.iterdir()))


def _to_llama2c(checkpoint: CheckpointReader, source: Path, path: Path) -> tuple[Path, ...]:
    if path.suffix != ".bin":
        raise LlamaError("not the name of a llama2.c file", where=path, expected="a name that ends in .bin")
    vocabulary_path = path.with_name(VOCABULARY)
    if path.name == VOCABULARY:
        raise LlamaError("the name of the vocabulary beside it", where=path, expected="another name for the weights")
    config = checkpoint.config
    check_writable(config, path)
    found = _whole_table(checkpoint, LlamaForCausalLM)
    vocabulary = _vocabulary(source, config.vocab_size)
    if vocabulary and vocabulary_path.exists() and vocabulary_path.read_bytes() != vocabulary:
        expected = "no file there, or the same: llama2.c looks for it under this name"
        raise LlamaError("another vocabulary is there already", where=vocabulary_path, expected=expected)
    if config.bos_token_id != BOS or EOS not in config.eos_token_ids:
        message = f"{path}: llama2.c begins a text with token {BOS} and knows no other special tokens"
        warnings.warn(message, LlamaWarning, stacklevel=3)
    write_llama2c(path, config, partial(_checked, checkpoint, found, dtype=DTYPES["float32"]))
    if vocabulary:
        write_atomically(vocabulary_path, lambda temporary: temporary.write_bytes(vocabulary))
    return (path, vocabulary_path) if vocabulary else (path,)


def _check_is_free(destination: Path) -> None:
    """raises  LlamaError where something is there that a conversion would replace"""
    if destination.is_file() or (destination.is_dir() and any(destination.iterdir())):
        raise LlamaError("is there already", where=destination, expected="a name that is still free")


def _class_of(checkpoint: CheckpointReader) -> type[LlamaPreTrainedModel]:
    """The class that a checkpoint was saved by, LlamaForCausalLM where it doesn't say."""
    architectures = checkpoint.config.extra.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    return CLASSES.get(name, LlamaForCausalLM) if isinstance(name, str) else LlamaForCausalLM


def _whole_table(checkpoint: CheckpointReader, model_class: type[LlamaPreTrainedModel]) -> dict[str, StoredTensor]:
    """The tensors of a model in order of use; the head has to be there, too."""
    found = checked_table(checkpoint, model_class)
    shapes = model_class.tensor_shapes(checkpoint.config)
    for name in shapes:
        if name not in found:
            raise LlamaError("missing tensor", where=f"{checkpoint.path}: {name}", expected=shapes[name])
    check_tied_head(checkpoint, found)
    return {name: found[name] for name in shapes}


def _bytes_of(stored: StoredTensor) -> int:
    return int(np.prod(stored.shape, dtype=object)) * STORED_DTYPES.get(stored.dtype, DTYPES["float32"]).itemsize


def _checked(
    checkpoint: CheckpointReader, found: dict[str, StoredTensor], name: str, dtype: np.dtype | None = None
) -> np.ndarray:
    """A tensor under its name in the model, converted where a dtype is given, and held to be finite."""
    with np.errstate(over="ignore"):  # what overflows is named by check_tensors
        tensor = checkpoint.read(found[name].name)
        tensor = tensor if dtype is None else tensor.astype(dtype, copy=False)
    check_tensors({name: tensor}, {name: found[name].shape}, checkpoint.path)
    return tensor


def _carry_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer's files, as they are or made from what the source has in their place."""
    if is_folder(source):
        files = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
        for file in files:
            write_atomically(folder / file.name, partial(_copy, file))
        if not files:
            warnings.warn(f"{source}: there is no tokenizer to take along", LlamaWarning, stacklevel=4)
        return
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except LlamaError as error:
        warnings.warn(f"the tokenizer isn't taken along: {error}", LlamaWarning, stacklevel=4)
        return
    tokenizer.save_pretrained(folder)


def _vocabulary(source: Path, vocab_size: int) -> bytes | None:
    """The content of tokenizer.bin, where the source has a tokenizer that fits into one."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = getattr(tokenizer, "model", None)
        if model is None:
            raise LlamaError("llama2.c has no place for this kind of tokenizer", where=source, expected="SentencePiece")
        if len(model.pieces) != vocab_size:
            expected = f"{vocab_size} pieces, as many as the model has rows"
            raise LlamaError("wrong size of vocabulary", where=source, expected=expected, found=len(model.pieces))
        return llama2c_vocabulary_bytes(model)
    except LlamaError as error:
        warnings.warn(f"no {VOCABULARY} is written: {error}", LlamaWarning, stacklevel=4)
        return None


def _copy(source: Path, temporary: Path) -> None:
    shutil.copyfile(source, temporary)
