"""LlamaConfig: the numbers that make one Llama different from another.

Field names, defaults and spelling are those of Transformers' LlamaConfig, so that a config.json goes back and forth
between the two unchanged.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.files import as_path, read_json, write_json
from numpy_llama.model.config_changes import with_changes
from numpy_llama.model.config_checks import check_config, check_counts
from numpy_llama.model.config_labels import NOT_WRITTEN, OF_EVERY_MODEL, agree_on_labels
from numpy_llama.model.rope_parameters import check_rope_parameters, rope_from_either_spelling, standard_rope_parameters

# Settings of Transformers itself, of training or of text generation, that config.json often carries and that no forward
# pass depends on: kept and written back without a word.
KNOWN_ELSEWHERE = frozenset(
    "_name_or_path architectures auto_map transformers_version torch_dtype dtype attn_implementation "
    "_attn_implementation_autoset chunk_size_feed_forward is_encoder_decoder max_length do_sample temperature "
    "top_k top_p classifier_dropout quantization_config".split()
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
    hidden_act               the MLP's activation: a name in blocks/activation_table.py, or a function, never saved
    max_position_embeddings  tokens of context that the model was trained on
    initializer_range        standard deviation of fresh weights
    rms_norm_eps             epsilon under the root of RMSNorm
    use_cache                whether a call returns its KV cache unless told otherwise
    pad/bos/eos_token_id     special tokens; eos may be a list
    tie_word_embeddings      whether the output head is the embedding table itself
    rope_parameters          {"rope_type": "default", "rope_theta": 10000.0, …}
    rope_theta, rope_scaling the older spelling of rope_parameters, which is what they become
    attention_bias, mlp_bias whether the linear layers have biases
    head_dim                 D; E // H unless given
    num_labels, id2label, label2id      of the classification heads: how many labels (2 unless given), and their names
    problem_type             of sequence classification: regression, single_label_classification or
                             multi_label_classification; from the labels unless given
    output_hidden_states, output_attentions, return_dict   what a call returns unless told otherwise
    pretraining_tp, attention_dropout   accepted and written back; without effect on inference
    extra                    fields of config.json that aren't ours, kept to be written back

    raises  LlamaError naming the field, what it must be and what it is
    source  transformers.LlamaConfig
    """

    model_type: ClassVar[str] = "llama"
    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = None  # type: ignore[assignment]  # __post_init__ puts a number there
    hidden_act: str | Callable[..., Any] = "silu"
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
    num_labels: int = None  # type: ignore[assignment]
    id2label: dict[int, str] = None  # type: ignore[assignment]
    label2id: dict[str, int] = None  # type: ignore[assignment]
    problem_type: str | None = None
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    rope_theta: InitVar[float | None] = None
    rope_scaling: InitVar[Mapping[str, Any] | None] = None

    def __post_init__(self, rope_theta: float | None, rope_scaling: Mapping[str, Any] | None) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        check_counts(self)
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        agree_on_labels(self)
        check_config(self)
        older = {"rope_theta": rope_theta, "rope_scaling": rope_scaling, "rope_parameters": self.rope_parameters}
        parameters = rope_from_either_spelling(older)
        self.rope_parameters = standard_rope_parameters(parameters, self.max_position_embeddings)
        check_rope_parameters(self.rope_parameters, self.head_dim, self.max_position_embeddings)

    # -- files ---------------------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "LlamaConfig":
        """A config from the fields of a config.json.

        raises  LlamaError for a model_type other than llama, and for values that can't be
        warns   LlamaWarning for fields that neither we nor Transformers know; they are kept in `extra`
        """
        if not isinstance(settings, Mapping) or not all(isinstance(name, str) for name in settings):
            raise LlamaError("wrong type", where="config", expected="an object", found=type(settings).__name__)
        settings = dict(settings)
        model_type = settings.pop("model_type", "llama")
        if model_type != "llama":
            raise LlamaError("not a Llama", where="model_type", expected="'llama'", found=repr(model_type))
        settings["rope_parameters"] = rope_from_either_spelling(settings)
        known = {f.name for f in fields(cls)} - {"extra"}
        extra = {name: value for name, value in settings.items() if name not in known}
        surprising = sorted(extra.keys() - KNOWN_ELSEWHERE)
        if surprising:
            message = f"config: unknown fields kept and not used: {', '.join(surprising)}"
            warnings.warn(message, LlamaWarning, stacklevel=2)
        return cls(**{name: value for name, value in settings.items() if name in known}, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """The fields of config.json, `extra` and model_type included; those of every model type only where they say
        something, as Transformers writes them.

        raises  LlamaError where hidden_act is a function
        """
        if callable(self.hidden_act):
            found = repr(self.hidden_act)
            raise LlamaError("a function can't be saved", where="hidden_act", expected="a name", found=found)
        ours = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NOT_WRITTEN}
        for name, default in OF_EVERY_MODEL.items():
            if getattr(self, name) != default:
                ours[name] = getattr(self, name)
        return {"model_type": "llama", **self.extra, **ours}

    @classmethod
    def from_pretrained(cls, folder: str | Path, **changes: Any) -> "LlamaConfig":
        """The config of a checkpoint: `folder` holds a config.json, or is the path of one.

        changes  fields other than the file says
        raises   LlamaError naming the file and the field
        """
        path = as_path(folder)
        path = path / "config.json" if path.is_dir() or path.suffix != ".json" else path
        settings = with_changes(read_json(path), changes, {f.name for f in fields(cls)})
        try:
            return cls.from_dict(settings)
        except LlamaError as error:
            raise LlamaError(
                error.what, where=f"{path}: {error.where}", expected=error.expected, found=error.found
            ) from None

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json into a folder, which is made where it is missing. An old file stays whole until the end."""
        write_json(as_path(folder) / "config.json", self.to_dict())

    def __str__(self) -> str:
        return repr(self) if callable(self.hidden_act) else json.dumps(self.to_dict(), indent=2)

    # -- derived -------------------------------------------------------------------------------------------------------

    @property
    def num_key_value_groups(self) -> int:
        """G, query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every id that ends a text; none, one or several."""
        return as_ids(self.eos_token_id)


def as_ids(ids: int | list[int] | None) -> tuple[int, ...]:
    """A token id, several, or none, as a tuple."""
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list | tuple) else (int(ids),)


# Given in the older spelling, it can be asked for in it, too.
LlamaConfig.rope_theta = property(lambda config: config.rope_parameters["rope_theta"])  # type: ignore
