"""A LlamaConfig from the metadata of a GGUF file: llama.cpp's names for what config.json says.

    llama.block_count                        num_hidden_layers
    llama.embedding_length                   hidden_size
    llama.feed_forward_length                intermediate_size
    llama.attention.head_count               num_attention_heads
    llama.attention.head_count_kv            num_key_value_heads
    llama.attention.key_length               head_dim
    llama.attention.layer_norm_rms_epsilon   rms_norm_eps
    llama.context_length                     max_position_embeddings
    llama.rope.freq_base, rope.scaling.*     rope_parameters
    tokenizer.ggml.*_token_id                bos_token_id, eos_token_id, pad_token_id
    output.weight missing                    tie_word_embeddings
    biases among the tensors                 attention_bias, mlp_bias

Llama 3's rope scaling has no metadata of its own. Converters write what it comes to, one divisor for each frequency, as
a tensor `rope_freqs.weight`. Where the divisors are those of the published Llama 3 rule, the config says so; any others
become rope type longrope, which is a list of divisors.

Transformers reads neither rope scaling nor rope_freqs of a Llama's GGUF; llama.cpp does, and so do we.
"""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from numpy_llama.blocks.rope import rope_frequencies
from numpy_llama.checkpoints.gguf_header import GGUFHeader
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.rope_types import llama3

ARCHITECTURE = "llama"
EMBEDDING = "token_embd.weight"
ROPE_FREQS, ROPE_SHORT, ROPE_LONG = "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"

# What other models of that architecture ask for; nearly right numbers would be worse than none.
NOT_COMPUTED = (
    "expert_count",
    "attention.sliding_window",
    "attention.scale",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "rope.scaling.alpha",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
)
# low_freq_factor, high_freq_factor and original_max_position_embeddings of every Llama since 3.1.
LLAMA3 = (1.0, 4.0, 8192)
DIVISOR_ERROR = 1e-4  # relative; converters compute the divisors in float32


def gguf_config(header: GGUFHeader, rope_divisors: Mapping[str, np.ndarray]) -> LlamaConfig:
    """The config of the model in a file.

    rope_divisors  (D/2,) each: those of ROPE_FREQS, ROPE_SHORT and ROPE_LONG that the file has
    raises         LlamaError naming file and key, where the architecture isn't llama, something is missing, can't be,
                   or asks for what isn't computed here
    source         https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    architecture = header.require("general.architecture", str)
    if architecture != ARCHITECTURE:
        where = f"{header.path}: general.architecture"
        raise LlamaError("not a Llama", where=where, expected=repr(ARCHITECTURE), found=repr(architecture)[:80])
    for name in NOT_COMPUTED:
        key = f"{ARCHITECTURE}.{name}"
        value = header.metadata.get(key, 0)
        if not isinstance(value, int | float) or value != 0:
            raise LlamaError("isn't computed here", where=f"{header.path}: {key}", found=str(value)[:80])

    heads = _count(header, "attention.head_count")
    hidden_size = _count(header, "embedding_length")
    context = _count(header, "context_length")
    head_dim = _head_dim(header, hidden_size, heads)
    with np.errstate(all="ignore"):  # what isn't finite is refused by LlamaConfig
        rope_parameters = _Rope(header, context, head_dim).parameters(rope_divisors)
    settings = {
        "vocab_size": _vocab_size(header),
        "hidden_size": hidden_size,
        "intermediate_size": _count(header, "feed_forward_length"),
        "num_hidden_layers": _count(header, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _count(header, "attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": header.require(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon", float),
        "rope_parameters": rope_parameters,
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "attention_bias": "blk.0.attn_q.bias" in header.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in header.tensors,
        "bos_token_id": header.get("tokenizer.ggml.bos_token_id", int),
        "eos_token_id": _end_of_text(header),
        "pad_token_id": header.get("tokenizer.ggml.padding_token_id", int),
    }
    try:
        return LlamaConfig(**settings)
    except LlamaError as error:
        where = f"{header.path}: {error.where}"
        raise LlamaError(error.what, where=where, expected=error.expected, found=error.found) from None


def _count(header: GGUFHeader, name: str, default: int | None = None) -> int:
    """An integer; some files have one for each layer, which must then be one and the same."""
    key = f"{ARCHITECTURE}.{name}"
    value = header.metadata.get(key)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size:
        if (value != value[0]).any():
            found = ", ".join(map(str, value[:4]))
            raise LlamaError("differs between layers", where=f"{header.path}: {key}", expected="one", found=found)
        return int(value[0])
    return header.require(key, int) if default is None else header.get(key, int, default)


def _head_dim(header: GGUFHeader, hidden_size: int, heads: int) -> int:
    """Channels of a head; RoPE must turn them all, and a value must have as many as a key."""
    head_dim = header.get(f"{ARCHITECTURE}.attention.key_length", int, hidden_size // heads if heads > 0 else 0)
    for name in ("attention.value_length", "rope.dimension_count"):
        found = header.get(f"{ARCHITECTURE}.{name}", int, head_dim)
        if found != head_dim:
            where = f"{header.path}: {ARCHITECTURE}.{name}"
            raise LlamaError("isn't computed here", where=where, expected=f"{head_dim}, a whole head", found=found)
    return head_dim


def _vocab_size(header: GGUFHeader) -> int:
    """Rows of the embedding table; whatever else counts the tokens must come to the same number."""
    if EMBEDDING not in header.tensors:
        raise LlamaError("missing tensor", where=f"{header.path}: {EMBEDDING}")
    rows = header.tensors[EMBEDDING].shape[0]
    tokens = header.get("tokenizer.ggml.tokens", list)
    for key, count in (
        (f"{ARCHITECTURE}.vocab_size", header.get(f"{ARCHITECTURE}.vocab_size", int, rows)),
        ("tokenizer.ggml.tokens", rows if tokens is None else len(tokens)),
    ):
        if count != rows:
            where = f"{header.path}: {key}"
            raise LlamaError(
                "wrong vocabulary size", where=where, expected=f"{rows} (rows of {EMBEDDING})", found=count
            )
    return rows


def _end_of_text(header: GGUFHeader) -> int | list[int] | None:
    """What ends a text, and what ends a turn of a chat, where that is another token."""
    ids = [header.get(f"tokenizer.ggml.{name}_token_id", int) for name in ("eos", "eot")]
    found = list(dict.fromkeys(token for token in ids if token is not None))
    return found[0] if len(found) == 1 else found or None


class _Rope:
    """rope_parameters from rope.scaling.* and the divisors of frequencies."""

    def __init__(self, header: GGUFHeader, context: int, head_dim: int):
        self.header, self.context, self.head_dim = header, context, head_dim
        self.theta: float = header.get(f"{ARCHITECTURE}.rope.freq_base", float, 10000.0)

    def parameters(self, divisors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Whichever rope type the file asks for; divisors under the names of their tensors."""
        for name, values in divisors.items():
            if values.shape != (self.head_dim // 2,):
                where = f"{self.header.path}: {name}"
                raise LlamaError("wrong shape", where=where, expected=(self.head_dim // 2,), found=values.shape)
        key = f"{ARCHITECTURE}.rope.scaling.type"
        kind = self.header.get(key, str, "linear")
        factor = self.setting("factor", self.header.get(f"{ARCHITECTURE}.rope.scale_linear", float, 1.0))
        factor = 1.0 if kind == "none" else factor
        plain, short, long = (divisors.get(name) for name in (ROPE_FREQS, ROPE_SHORT, ROPE_LONG))
        if kind in ("none", "linear"):
            found = self.linear(factor) if plain is None else self.divided(plain, factor)
        elif kind == "yarn" and plain is None:
            found = self.yarn(factor)
        elif kind == "longrope" and short is not None and long is not None:
            found = self.longrope(short, long, self.setting("attn_factor", 1.0))
        else:
            where, expected = f"{self.header.path}: {key}", "none, linear, yarn, or longrope with two lists of divisors"
            raise LlamaError("isn't computed here", where=where, expected=expected, found=repr(kind)[:80])
        return {"rope_theta": self.theta, **found}

    def setting(self, name: str, default: float) -> float:
        """A number under rope.scaling."""
        return self.header.get(f"{ARCHITECTURE}.rope.scaling.{name}", float, default)

    def trained(self) -> int:
        """Tokens of context before the scaling."""
        return self.header.get(f"{ARCHITECTURE}.rope.scaling.original_context_length", int, self.context)

    def linear(self, factor: float) -> dict[str, Any]:
        """Every pair slower by the factor."""
        return {"rope_type": "default"} if factor == 1 else {"rope_type": "linear", "factor": factor}

    def longrope(self, short: np.ndarray, long: np.ndarray, sharpening: float) -> dict[str, Any]:
        """Every pair slower by a divisor of its own, (D/2,) each."""
        return {
            "rope_type": "longrope",
            "short_factor": [float(divisor) for divisor in short],
            "long_factor": [float(divisor) for divisor in long],
            "original_max_position_embeddings": self.trained(),
            "attention_factor": sharpening,
        }

    def divided(self, divisors: np.ndarray, factor: float) -> dict[str, Any]:
        """What rope_freqs, (D/2,), come to: Llama 3's rule, or a list that holds for texts of any length."""
        found = self.llama3(divisors) if factor == 1 else None
        scaled = divisors.astype(np.float64) * factor
        return self.longrope(scaled, scaled, 1.0) if found is None else found

    def yarn(self, factor: float) -> dict[str, Any]:
        """llama.cpp's attn_factor stands beside the sharpening of the paper; ours, as Transformers', in its place."""
        found: dict[str, Any] = {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": self.trained(),
        }
        for name in ("beta_fast", "beta_slow"):
            if f"{ARCHITECTURE}.rope.scaling.yarn_{name}" in self.header.metadata:
                found[name] = self.setting(f"yarn_{name}", 0.0)
        beside = self.setting("yarn_attn_factor", self.setting("attn_factor", 1.0))
        if beside != 1:
            found["attention_factor"] = beside * (0.1 * math.log(max(factor, 1.0)) + 1)
        return found

    def llama3(self, divisors: np.ndarray) -> dict[str, Any] | None:
        """The rule of Llama 3.1 with the parameters that all its models have, where it gives these divisors."""
        factor = round(float(divisors.max()), 3) if np.isfinite(divisors).all() else math.inf
        if not (1 < factor < math.inf and self.theta > 0):
            return None
        low, high, trained = LLAMA3
        parameters = {
            "rope_theta": self.theta,
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": trained,
        }
        config = SimpleNamespace(
            head_dim=self.head_dim, max_position_embeddings=self.context, rope_parameters=parameters
        )
        plain = rope_frequencies(self.head_dim, self.theta, np.dtype(np.float64))  # (D/2,)
        rule = plain / llama3(lambda dim, theta: plain, config, 1)
        return parameters if np.allclose(divisors, rule, rtol=DIVISOR_ERROR, atol=0) else None
