"""LlamaConfig: the numbers that make one Llama different from another.

Field names, defaults and spelling are those of Transformers' LlamaConfig, so that a config.json goes back and forth
between the two unchanged.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.files import read_json, write_json
from numpy_llama.model.rope_scaling import check_rope_parameters, standard_rope_parameters

# Settings of Transformers itself, of training or of text generation, that config.json often carries and that no forward
# pass depends on: kept and written back without a word.
KNOWN_ELSEWHERE = frozenset(
    "_name_or_path architectures auto_map transformers_version torch_dtype dtype attn_implementation "
    "_attn_implementation_autoset num_labels id2label label2id problem_type output_attentions output_hidden_states "
    "return_dict chunk_size_feed_forward is_encoder_decoder max_length do_sample temperature top_k top_p "
    "classifier_dropout".split()
)


@dataclass
class LlamaConfig:
    """Every field of Transformers' LlamaConfig, with its default: Llama-2-7B but for the longer context of that model.

    vocab_size               V, rows of the embedding table
    hidden_size              E, channels of the residual stream
    intermediate_size        F, channels inside the MLP
    num_hidden_layers        L
    num_attention_heads      H, query heads
    num_key_value_heads      K, key/value heads; H unless given (multi-head attention), 1 for multi-query attention
    hidden_act               the MLP's activation
    max_position_embeddings  tokens of context that the model was trained on
    initializer_range        standard deviation of fresh weights
    rms_norm_eps             epsilon under the root of RMSNorm
    use_cache                whether a call returns its KV cache unless told otherwise
    pad/bos/eos_token_id     special tokens; eos may be a list
    tie_word_embeddings      whether the output head is the embedding table itself
    rope_parameters          {"rope_type": "default", "rope_theta": 10000.0, …}; from_dict reads the older
                             `rope_theta` and `rope_scaling`, too
    attention_bias, mlp_bias whether the linear layers have biases
    head_dim                 D; E // H unless given
    pretraining_tp, attention_dropout   accepted and written back; without effect on inference
    extra                    fields of config.json that aren't ours, kept to be written back

    raises  LlamaError naming the field, what it must be and what it is
    source  transformers.LlamaConfig
    """

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = None  # type: ignore[assignment]  # __post_init__ puts a number there
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pretraining_tp: int | None = 1
    tie_word_embeddings: bool = False
    rope_parameters: dict[str, Any] = None  # type: ignore[assignment]
    attention_bias: bool = False
    attention_dropout: float | None = 0.0
    mlp_bias: bool = False
    head_dim: int = None  # type: ignore[assignment]
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        self._check_counts()
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        self._check_heads()
        self._check_numbers()
        self._check_token_ids()
        self.rope_parameters = standard_rope_parameters(self.rope_parameters, self.max_position_embeddings)
        check_rope_parameters(self.rope_parameters)

    # -- files ---------------------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "LlamaConfig":
        """A config from the fields of a config.json.

        raises  LlamaError for a model_type other than llama, and for values that can't be
        warns   LlamaWarning for fields that neither we nor Transformers know; they are kept in `extra`
        """
        settings = dict(settings)
        model_type = settings.pop("model_type", "llama")
        if model_type != "llama":
            raise LlamaError("not a Llama", where="model_type", expected="'llama'", found=repr(model_type))
        settings["rope_parameters"] = _rope_from_either_spelling(settings)
        known = {f.name for f in fields(cls)} - {"extra"}
        extra = {name: value for name, value in settings.items() if name not in known}
        surprising = sorted(extra.keys() - KNOWN_ELSEWHERE)
        if surprising:
            warnings.warn(
                f"config: unknown fields kept and not used: {', '.join(surprising)}",
                LlamaWarning,
                stacklevel=2,
            )
        return cls(**{name: value for name, value in settings.items() if name in known}, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """The fields of config.json, `extra` and model_type included."""
        ours = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return {"model_type": "llama", **self.extra, **ours}

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "LlamaConfig":
        """The config of a checkpoint: `folder` holds a config.json, or is the path of one."""
        path = Path(folder)
        path = path / "config.json" if path.is_dir() or path.suffix != ".json" else path
        settings = read_json(path)
        try:
            return cls.from_dict(settings)
        except LlamaError as error:
            raise LlamaError(
                error.what, where=f"{path}: {error.where}", expected=error.expected, found=error.found
            ) from None

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json into a folder, which is made where it is missing. An old file stays whole until the end."""
        write_json(Path(folder) / "config.json", self.to_dict())

    def __str__(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    # -- derived -------------------------------------------------------------------------------------------------------

    @property
    def num_key_value_groups(self) -> int:
        """G, query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every id that ends a text; none, one or several."""
        return as_ids(self.eos_token_id)

    # -- what can't be -------------------------------------------------------------------------------------------------

    def _check_counts(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
            "num_hidden_layers",
        ):
            self._require(name, _is_int(getattr(self, name)) and getattr(self, name) > 0, "a positive integer")
        if self.head_dim is not None:
            self._require("head_dim", _is_int(self.head_dim) and self.head_dim > 0, "a positive integer")

    def _check_heads(self) -> None:
        self._require(
            "hidden_size",
            self.hidden_size % self.num_attention_heads == 0,
            f"a multiple of num_attention_heads ({self.num_attention_heads})",
        )
        self._require(
            "num_key_value_heads",
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"a divisor of num_attention_heads ({self.num_attention_heads})",
        )
        self._require("head_dim", self.head_dim % 2 == 0, "an even number, since RoPE turns channels in pairs")

    def _check_numbers(self) -> None:
        self._require("rms_norm_eps", _is_number(self.rms_norm_eps) and 0 <= self.rms_norm_eps < 1, "in 0 … 1")
        self._require(
            "initializer_range",
            _is_number(self.initializer_range) and 0 <= self.initializer_range <= 1,
            "in 0 … 1",
        )
        for name in ("use_cache", "tie_word_embeddings", "attention_bias", "mlp_bias"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        self._require("hidden_act", self.hidden_act in ACTIVATIONS, "one of " + ", ".join(ACTIVATIONS))

    def _check_token_ids(self) -> None:
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            ids = value if name == "eos_token_id" and isinstance(value, list) else [value]
            # Transformers writes −1 for "no padding"; a special token past the table is only an error once it is used.
            self._require(name, all(i is None or (_is_int(i) and i >= -1) for i in ids), "a token id, or null")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise LlamaError("impossible value", where=name, expected=expected, found=repr(getattr(self, name)))


ACTIVATIONS = ("silu", "swish")


def as_ids(ids: int | list[int] | None) -> tuple[int, ...]:
    """A token id, several, or none, as a tuple."""
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list | tuple) else (int(ids),)


def _rope_from_either_spelling(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Take rope settings out of `settings`: rope_parameters, or rope_theta and rope_scaling (before Transformers 5)."""
    parameters = settings.pop("rope_scaling", None) or settings.pop("rope_parameters", None) or {}
    settings.pop("rope_parameters", None)
    if not isinstance(parameters, Mapping):
        raise LlamaError("impossible value", where="rope_parameters", expected="an object", found=repr(parameters))
    parameters = dict(parameters)
    outside = settings.pop("original_max_position_embeddings", None)
    if outside is not None:
        parameters["original_max_position_embeddings"] = outside  # goes first, as in Transformers
    for name in ("rope_theta", "partial_rotary_factor"):
        outside = settings.pop(name, None)
        if outside is not None:
            parameters.setdefault(name, outside)
    return parameters or None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def default_of(name: str) -> Any:
    """The default of a LlamaConfig field."""
    return next(f.default for f in fields(LlamaConfig) if f.name == name and f.default is not MISSING)
