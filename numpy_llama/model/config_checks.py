"""What a config can't be: each field is held to what it must be, and the error names it."""

import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from numpy_llama.blocks.activation_table import activation_named
from numpy_llama.errors import LlamaError

if TYPE_CHECKING:
    from numpy_llama.model.config import LlamaConfig

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MOST_LABELS = 1_000_000
MOST_LAYERS = 10_000
MOST = 2**40  # of anything else that is counted: no memory holds more, and products and quotients of such are safe


def check_counts(config: "LlamaConfig") -> None:
    """raises  LlamaError where something that is counted isn't a positive integer"""
    for name in (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "num_hidden_layers",
    ):
        value = getattr(config, name)
        _require(config, name, _is_int(value) and value > 0, "a positive integer")
        most = MOST_LAYERS if name == "num_hidden_layers" else MOST
        _require(config, name, value <= most, f"at most {most}")
    if config.head_dim is not None:
        _require(config, "head_dim", _is_int(config.head_dim) and 0 < config.head_dim <= MOST, "a positive integer")


def check_config(config: "LlamaConfig") -> None:
    """raises  LlamaError for the first field that can't be (rope_parameters are checked in rope_scaling.py)"""
    _check_heads(config)
    _check_numbers(config)
    _check_token_ids(config)
    _check_labels(config)


def _check_heads(config: "LlamaConfig") -> None:
    heads = config.num_attention_heads
    fits = config.hidden_size % heads == 0
    _require(config, "hidden_size", fits, f"a multiple of num_attention_heads ({heads})")
    shares = heads % config.num_key_value_heads == 0
    _require(config, "num_key_value_heads", shares, f"a divisor of num_attention_heads ({heads})")
    _require(config, "head_dim", config.head_dim % 2 == 0, "an even number, since RoPE turns channels in pairs")


def _check_numbers(config: "LlamaConfig") -> None:
    eps, spread = config.rms_norm_eps, config.initializer_range
    _require(config, "rms_norm_eps", _is_number(eps) and 0 <= eps < 1, "in 0 … 1")
    _require(config, "initializer_range", _is_number(spread) and 0 <= spread <= 1, "in 0 … 1")
    for name in (
        "use_cache",
        "tie_word_embeddings",
        "attention_bias",
        "mlp_bias",
        "output_hidden_states",
        "output_attentions",
        "return_dict",
    ):
        _require(config, name, isinstance(getattr(config, name), bool), "true or false")
    tp, dropout = config.pretraining_tp, config.attention_dropout
    _require(config, "pretraining_tp", tp is None or _is_int(tp), "an integer, or null")
    _require(config, "attention_dropout", dropout is None or (_is_number(dropout) and 0 <= dropout <= 1), "in 0 … 1")
    _require(config, "extra", isinstance(config.extra, Mapping), "an object")
    activation_named(config.hidden_act)  # which raises


def _check_token_ids(config: "LlamaConfig") -> None:
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        value = getattr(config, name)
        ids = value if name == "eos_token_id" and isinstance(value, list) else [value]
        # Transformers writes −1 for "no padding"; a special token past the table is only an error once it is used.
        _require(config, name, all(i is None or (_is_int(i) and i >= -1) for i in ids), "a token id, or null")


def _check_labels(config: "LlamaConfig") -> None:
    count, names = config.num_labels, config.id2label
    is_table = isinstance(names, Mapping) and all(_is_int(i) and i >= 0 for i in names)
    is_table = is_table and all(isinstance(name, str) for name in names.values())
    _require(config, "id2label", is_table, "an object from label number to name")
    _require(config, "num_labels", _is_int(count) and 0 < count <= MOST_LABELS, "a positive integer")
    _require(config, "id2label", len(names) == count, f"{count} names (num_labels)")
    _require(config, "label2id", isinstance(config.label2id, Mapping), "an object from label name to number")
    known = config.problem_type is None or str(config.problem_type) in PROBLEM_TYPES
    _require(config, "problem_type", known, "null or one of " + ", ".join(PROBLEM_TYPES))
    single = config.problem_type == "single_label_classification" and count == 1
    _require(config, "problem_type", not single, "regression for a single label (or num_labels 2 for yes and no)")


def _require(config: "LlamaConfig", name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise LlamaError("impossible value", where=name, expected=expected, found=reprlib.repr(getattr(config, name)))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
