"""llama2.c's .bin file, version 0: seven integers, then float32 numbers and nothing else.

    7 × int32    hidden_size, intermediate_size, layers, query heads, key/value heads, vocabulary, context
    float32 …    the tensors of `layout`, each kind of all layers before the next kind

A negative vocabulary means that a classifier of its own stands at the end; otherwise the head is the embedding. Rows of
q_proj and k_proj are in the order that rope_layout.py explains. Two tables of cosines and sines are in the file for the
first versions of run.c; they follow from the sizes, and are skipped.

What the header doesn't say is the same in every such model: theta 10,000, epsilon 1e-5, SwiGLU with silu, no biases,
texts begun by token 1. A model for which one of them differs can't be written in this format.

source  export.py (version 0) and run.c of karpathy/llama2.c
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from numpy_llama.blocks.rope import rope_frequencies, rope_tables
from numpy_llama.checkpoints.reader import StoredTensor
from numpy_llama.checkpoints.rope_layout import halves_from_neighbours, neighbours_from_halves
from numpy_llama.errors import LlamaError
from numpy_llama.files import write_atomically
from numpy_llama.model.config import LlamaConfig
from numpy_llama.tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.llama2c_vocabulary import FILE as VOCABULARY
from numpy_llama.tokenizer.llama2c_vocabulary import read_llama2c_vocabulary
from numpy_llama.tokenizer.sentencepiece_model import MODEL_FILE, read_sentencepiece_model

HEADER = struct.Struct("<7i")
FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
          "vocab_size", "max_position_embeddings")  # fmt: skip
NEWER = 0x616B3432  # "ak42", with which files of versions 1 and 2 begin
FLOAT = np.dtype("<f4")
THETA, EPSILON = 10000.0, 1e-5
BOS, EOS = 1, 2
ROPE_TABLES = "freq_cis"  # stands in `layout` where the tables are


class Llama2cFile:
    """A reader of such a file; see CheckpointReader."""

    format = "llama2.c"

    def __init__(self, path: Path):
        self.path = path
        self.files = (path,)
        self.config = _read_header(path)
        # As run.c does: a second text's beginning is the end of the first.
        self.generation_config: dict[str, Any] | None = {"bos_token_id": BOS, "eos_token_id": [BOS, EOS]}
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._places: dict[str, tuple[tuple[int, ...], int]] = {}
        start = HEADER.size
        for name, shape in layout(self.config):
            if name != ROPE_TABLES:
                self._places[name] = (shape, start)
            start += int(np.prod(shape)) * FLOAT.itemsize

    def table(self) -> dict[str, StoredTensor]:
        """See CheckpointReader."""
        return {name: StoredTensor(name, shape, "F32") for name, (shape, _) in self._places.items()}

    def read(self, name: str) -> np.ndarray:
        """See CheckpointReader; a view of the mapped file, but for q_proj and k_proj, whose rows are put in order."""
        shape, start = self._places[name]
        tensor = np.frombuffer(self._bytes, FLOAT, int(np.prod(shape)), start).reshape(shape)
        heads = rotated_heads(name, self.config)
        return halves_from_neighbours(tensor, heads) if heads else tensor


def is_llama2c(path: Path) -> bool:
    """Whether a path looks like such a file, by its name."""
    return path.is_file() and path.suffix == ".bin"


def open_llama2c(path: Path) -> Llama2cFile:
    """Open a file.

    raises  LlamaError where it is shorter or longer than its header says, and where the header says what can't be
    """
    return Llama2cFile(path)


def llama2c_tokenizer(path: Path, **settings: Any) -> LlamaTokenizer:
    """The tokenizer that goes with a .bin file: tokenizer.bin or tokenizer.model beside it.

    It cuts texts as run.c does, which is sentencepiece's way, "legacy" in Transformers' words.

    settings  of LlamaTokenizer
    raises    LlamaError where neither is there, or it is damaged
    """
    settings = {"legacy": True, **settings}
    for name in (VOCABULARY, MODEL_FILE):
        vocabulary = path.with_name(name)
        if vocabulary.is_file():
            read = read_llama2c_vocabulary if name == VOCABULARY else read_sentencepiece_model
            return LlamaTokenizer(read(vocabulary), **settings)
    expected = f"{VOCABULARY} or {MODEL_FILE} beside {path.name}"
    raise LlamaError("no vocabulary", where=path.parent, expected=expected)


def layout(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor in the order of the file, under Hugging Face's name."""
    E, F, V = config.hidden_size, config.intermediate_size, config.vocab_size
    D = config.head_dim
    query_width, key_width = config.num_attention_heads * D, config.num_key_value_heads * D
    kinds: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("input_layernorm", (E,)),
        ("self_attn.q_proj", (query_width, E)),
        ("self_attn.k_proj", (key_width, E)),
        ("self_attn.v_proj", (key_width, E)),
        ("self_attn.o_proj", (E, query_width)),
        ("post_attention_layernorm", (E,)),
        ("mlp.gate_proj", (F, E)),
        ("mlp.down_proj", (E, F)),
        ("mlp.up_proj", (F, E)),
    )
    yield "model.embed_tokens.weight", (V, E)
    for kind, shape in kinds:
        for layer in range(config.num_hidden_layers):
            yield f"model.layers.{layer}.{kind}.weight", shape
    yield "model.norm.weight", (E,)
    yield ROPE_TABLES, (2, config.max_position_embeddings, D // 2)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (V, E)


def rotated_heads(name: str, config: LlamaConfig) -> int:
    """How many heads a tensor's rows are of, where they are turned by RoPE; 0 for any other tensor."""
    if ".q_proj." in name:
        return config.num_attention_heads
    return config.num_key_value_heads if ".k_proj." in name else 0


def write_llama2c(path: Path, config: LlamaConfig, read: Callable[[str], np.ndarray]) -> None:
    """Write a file that run.c reads, whole or not at all; numbers are rounded to float32.

    read    gives a tensor by Hugging Face's name, rows in Hugging Face's order
    raises  LlamaError where the format has no place for something in the config, before anything is written
    """
    check_writable(config, path)
    sizes = [getattr(config, field) for field in FIELDS]
    if not config.tie_word_embeddings:
        sizes[FIELDS.index("vocab_size")] *= -1

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(HEADER.pack(*sizes))
            for name, _ in layout(config):
                _write_tensor(
                    file, _tables(config) if name == ROPE_TABLES else _in_file_order(read(name), name, config)
                )

    write_atomically(path, write)


def check_writable(config: LlamaConfig, path: Path) -> None:
    """raises  LlamaError naming the field of a config that a .bin file can't hold"""
    rope = {name: value for name, value in config.rope_parameters.items() if value is not None}
    required: tuple[tuple[str, object, object], ...] = (
        ("hidden_act", config.hidden_act, "silu"),
        ("attention_bias", config.attention_bias, False),
        ("mlp_bias", config.mlp_bias, False),
        ("head_dim", config.head_dim * config.num_attention_heads, config.hidden_size),
        ("rms_norm_eps", np.float32(config.rms_norm_eps), np.float32(EPSILON)),
        ("rope_parameters", rope, {"rope_type": "default", "rope_theta": THETA}),
    )
    for name, found, expected in required:
        if found != expected:
            expected = config.hidden_size // config.num_attention_heads if name == "head_dim" else expected
            found = config.head_dim if name == "head_dim" else found
            where = f"{path}: {name}"
            raise LlamaError("llama2.c has no place for it in a .bin file", where=where, expected=expected, found=found)
    for name in FIELDS:
        if getattr(config, name) >= 1 << 31:
            raise LlamaError(
                "too large", where=f"{path}: {name}", expected="less than 2^31", found=getattr(config, name)
            )


def _read_header(path: Path) -> LlamaConfig:
    """The config that a file's header stands for, held to the file's size before anything is made of it."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
        size = path.stat().st_size
    except OSError as error:
        raise LlamaError(f"can't be read ({error.strerror or error})", where=path) from None
    if len(header) < HEADER.size:
        raise LlamaError("cut short", where=f"{path}: header", expected=f"{HEADER.size} bytes", found=len(header))
    if int.from_bytes(header[:4], "little") == NEWER:
        version = int.from_bytes(header[4:8], "little")
        raise LlamaError(
            "a version that isn't read", where=path, expected="version 0 of llama2.c's format", found=version
        )
    sizes = dict(zip(FIELDS, HEADER.unpack(header), strict=True))
    tied = sizes["vocab_size"] > 0
    sizes["vocab_size"] = abs(sizes["vocab_size"])
    _check_sizes(sizes, path)
    expected = HEADER.size + FLOAT.itemsize * _count_numbers(sizes, tied)
    if size != expected:
        found = f"{size} bytes"
        raise LlamaError(
            "no llama2.c file, or cut short", where=path, expected=f"{expected} bytes, by its header", found=found
        )
    try:
        return LlamaConfig(
            **sizes,
            rms_norm_eps=EPSILON,
            tie_word_embeddings=tied,
            bos_token_id=BOS,
            eos_token_id=EOS,
            rope_parameters={"rope_type": "default", "rope_theta": THETA},
        )
    except LlamaError as error:
        where = f"{path}: header: {error.where}"
        raise LlamaError(error.what, where=where, expected=error.expected, found=error.found) from None


def _check_sizes(sizes: dict[str, int], path: Path) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise LlamaError("impossible size", where=f"{path}: header: {name}", expected="1 or more", found=value)
    E, H, K = sizes["hidden_size"], sizes["num_attention_heads"], sizes["num_key_value_heads"]
    where = f"{path}: header: num_attention_heads, num_key_value_heads"
    if E % H or H % K or (E // H) % 2:
        expected = "an even number of channels for each query head, and a number of those for each key/value head"
        raise LlamaError("impossible sizes", where=where, expected=expected, found=f"{H} and {K}, for {E} channels")


def _count_numbers(sizes: dict[str, int], tied: bool) -> int:
    """float32 numbers in a file of these sizes; Python's integers don't overflow."""
    E, F, L, H, K, V, S = (sizes[field] for field in FIELDS)
    D = E // H
    layer = 2 * E + 2 * E * E + 2 * K * D * E + 3 * F * E
    return V * E * (1 if tied else 2) + L * layer + E + S * D


def _tables(config: LlamaConfig) -> np.ndarray:
    """(2, S, D/2): cosines and sines of every position of the context."""
    frequencies = rope_frequencies(config.head_dim, THETA, FLOAT)
    positions = np.arange(config.max_position_embeddings)[None]
    cos, sin = rope_tables(positions, frequencies, FLOAT)  # (1, S, D) each, both halves alike
    return np.stack((cos[0], sin[0]))[..., : config.head_dim // 2]


def _in_file_order(tensor: np.ndarray, name: str, config: LlamaConfig) -> np.ndarray:
    heads = rotated_heads(name, config)
    return neighbours_from_halves(tensor, heads) if heads else tensor


def _write_tensor(file: BinaryIO, tensor: np.ndarray) -> None:
    file.write(np.ascontiguousarray(tensor, FLOAT).data)
