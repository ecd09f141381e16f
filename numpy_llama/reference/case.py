"""A published case: a model, calls that follow one another, and what the case is for.

No torch here: a case is a config, a name to draw weights from, and the arguments of its calls. What is published is
chosen in case_cover.py and case_written.py, and run in publish_cases.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Settings = dict[str, Any]

ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional")
HIDDEN = -32768.0  # in an additive mask: far below every score, and the same number in all four dtypes


@dataclass(frozen=True)
class Call:
    """One call of the model.

    inputs     arrays by the names of arguments; floats are float32, and cast to the model's dtype where it is another
    arguments  what is no array: use_cache, output_hidden_states, …
    """

    inputs: Mapping[str, np.ndarray]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A fresh model and one call, or several that share a cache.

    name        also the name its weights are drawn from
    about       one line for a reader
    class_name  of Transformers
    config      fields of config.json
    calls       in order
    capacity    of the static cache that all calls share; None: no static cache
    factors     the settings of FACTORS that a case of the pairwise cover has; empty for the others
    named       whether every named intermediate is published, too
    """

    name: str
    about: str
    class_name: str
    config: Settings
    calls: tuple[Call, ...]
    capacity: int | None = None
    factors: Mapping[str, str] = field(default_factory=dict)
    named: bool = False


# -- configs -----------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "multi-head": {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 4},
    "grouped-query": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4},
    "multi-query": {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 4},
    "head_dim apart": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 10},
}


def rope(kind: str, trained: int, pairs: int) -> Settings:
    """rope_parameters of a type, for a model first trained on `trained` tokens, with `pairs` pairs of channels."""
    own: dict[str, Settings] = {
        "default": {},
        "linear": {"factor": 2.5},
        "dynamic": {"factor": 3.0},
        "yarn": {"factor": 4.0, "beta_fast": 4.0, "beta_slow": 0.05, "original_max_position_embeddings": trained},
        "longrope": {
            "short_factor": [round(1.0 + 0.1 * pair, 2) for pair in range(pairs)],
            "long_factor": [round(1.5 + 1.25 * pair, 2) for pair in range(pairs)],
            "original_max_position_embeddings": trained,
        },
        "llama3": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": trained,
        },
        "proportional": {"factor": 2.0, "partial_rotary_factor": 0.5},
    }
    return {"rope_type": kind, "rope_theta": 100.0, **own[kind]}


def small_config(
    class_name: str = "LlamaForCausalLM",
    heads: str = "grouped-query",
    rope: str | Settings = "default",
    context: str = "inside",
    **fields: Any,
) -> Settings:
    """A config.json of two layers and sixteen channels.

    rope     a type, or rope_parameters
    context  "inside": trained on 64 tokens, 32 at first; "beyond": on 5, and 3 at first, fewer than a case is long
    fields   whatever else differs
    """
    longest, trained = (64, 32) if context == "inside" else (5, 3)
    layout = {**LAYOUTS[heads], **{name: fields[name] for name in LAYOUTS[heads] if name in fields}}
    parameters = _rope(rope, trained, layout["head_dim"] // 2) if isinstance(rope, str) else rope
    return {
        "architectures": [class_name],
        "model_type": "llama",
        "vocab_size": 20,
        "hidden_size": 16,
        "intermediate_size": 10,
        "num_hidden_layers": 2,
        "hidden_act": "silu",
        "max_position_embeddings": longest,
        "rms_norm_eps": 1e-6,
        "pad_token_id": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "rope_parameters": parameters,
        "attention_bias": False,
        "mlp_bias": False,
        **layout,
        **fields,
    }


_rope = rope  # small_config has an argument of that name
