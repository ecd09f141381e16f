"""What a model and its calls must have for a mistake to show: each with its meaning, and how to see it in a subject."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpy_llama.blocks.rope import rope_frequencies
from numpy_llama.mistakes.ids import begins_with_bos
from numpy_llama.mistakes.positions import positions_counting_padding, positions_of, positions_of_first_row, shift_shows
from numpy_llama.model.rope_scaling import scaled_rope
from numpy_llama.model.rope_types import attention_scaling
from numpy_llama.precision import DTYPES, widen
from numpy_llama.study.subject import Asked, Subject


@dataclass(frozen=True)
class Exposure:
    """Something that a subject has or lacks.

    meaning  completes "It shows where there is …"
    holds    whether a subject has it
    """

    meaning: str
    holds: Callable[[Subject], bool]


def _some_call(holds: Callable[[Asked], bool]) -> Callable[[Subject], bool]:
    return lambda subject: any(holds(asked) for asked in subject.calls)


def _padded(asked: Asked) -> bool:
    return (
        asked.attention_mask is not None and asked.attention_mask.ndim == 2 and bool((asked.attention_mask == 0).any())
    )


def padded_before_tokens(asked: Asked) -> bool:
    """Whether padding stands before tokens of its row, cached ones included."""
    mask = asked.attention_mask
    return mask is not None and mask.ndim == 2 and bool((np.diff(mask.astype(int), axis=1) > 0).any())


def _padded_on(column: int) -> Callable[[Asked], bool]:
    return lambda asked: _padded(asked) and bool((np.asarray(asked.attention_mask)[:, column] == 0).any())


def _has_outside(name: str, usual: float) -> Callable[[Subject], bool]:
    """Whether some tensor whose name ends so has a number far from the usual one."""
    return lambda subject: any(
        key.endswith(name) and bool((np.abs(array - array.dtype.type(usual)) > 0.01).any())
        for key, array in subject.weights.items()
    )


def _eps_is_lost(subject: Subject, difference: float) -> bool:
    """Whether an eps so much larger or smaller changes nothing worth seeing in the first norm."""
    table = subject.weights["model.embed_tokens.weight"]
    read = np.concatenate([asked.input_ids.reshape(-1) for asked in subject.calls])
    mean_squares = np.square(widen(table[np.unique(read)])).mean(axis=-1)
    return bool(abs(difference) < 1e-4 * mean_squares.min())


def _another_eps(eps: str) -> Exposure:
    return Exposure(
        f"an rms_norm_eps that isn't {eps}, and embeddings beside whose mean square the difference isn't lost",
        lambda subject: not _eps_is_lost(subject, subject.config.rms_norm_eps - float(eps)),
    )


def _another_theta(theta: float) -> Exposure:
    return Exposure(f"a rope_theta other than {theta:,}", lambda subject: _rope(subject)["rope_theta"] != theta)


def _rope(subject: Subject) -> dict[str, Any]:
    return subject.config.rope_parameters


def _is_rope_scaled(subject: Subject) -> bool:
    """Whether some call turns by other angles, or longer cos and sin, than plain RoPE would."""
    plain = rope_frequencies(subject.config.head_dim, _rope(subject)["rope_theta"], np.dtype(np.float64))
    rope = scaled_rope(rope_frequencies, subject.config, np.dtype(np.float64))
    calls = [rope.at(int(positions_of(asked).max())) for asked in subject.calls]
    return any(scaling != 1 or not np.allclose(frequencies, plain, rtol=1e-3) for frequencies, scaling in calls)


def _blends(subject: Subject) -> bool:
    """Whether llama3's scaling puts some pair between its own frequency and the slowed one, off their middle."""
    if _rope(subject)["rope_type"] != "llama3":
        return False
    plain = rope_frequencies(subject.config.head_dim, _rope(subject)["rope_theta"], np.dtype(np.float64))
    share = scaled_rope(rope_frequencies, subject.config, np.dtype(np.float64)).at(0)[0] / plain
    reversed_share = 1 + 1 / _rope(subject)["factor"] - share  # at either end, that of the other end
    blended = (share < 1 - 1e-6) & (reversed_share < 1 - 1e-6)
    return bool((blended & (np.abs(share - reversed_share) > 0.01)).any())


def _has_bias(subject: Subject, part: str) -> bool:
    return any(part in name and name.endswith(".bias") and array.any() for name, array in subject.weights.items())


def _is_finer(subject: Subject, dtype: str) -> bool:
    kept = DTYPES[dtype]
    return any((array != array.astype(kept).astype(array.dtype)).any() for array in subject.weights.values())


EXPOSURES: dict[str, Exposure] = {
    "several-tokens": Exposure(
        "a call with more than one token", _some_call(lambda asked: asked.input_ids.shape[1] > 1)
    ),
    "a-past": Exposure("a call after cached tokens", _some_call(lambda asked: asked.past > 0)),
    "decode": Exposure(
        "a call of one token after cached ones",
        _some_call(lambda asked: asked.past > 0 and asked.input_ids.shape[1] == 1),
    ),
    "several-keys": Exposure(
        "a token that sees another", _some_call(lambda asked: asked.past + asked.input_ids.shape[1] > 1)
    ),
    "chunk": Exposure(
        "several tokens at once after cached ones",
        _some_call(lambda asked: asked.past > 0 and asked.input_ids.shape[1] > 1),
    ),
    "masked-past": Exposure(
        "several tokens at once, or padding, after cached tokens",
        _some_call(lambda asked: asked.past > 0 and (asked.input_ids.shape[1] > 1 or _padded(asked))),
    ),
    "padding": Exposure("padding in a batch", _some_call(_padded)),
    "left-padding": Exposure("padding before the text", _some_call(_padded_on(0))),
    "padding-before-tokens": Exposure("padding that stands before tokens of its row", _some_call(padded_before_tokens)),
    "right-padding": Exposure("padding after the text", _some_call(_padded_on(-1))),
    "batch": Exposure("several rows in a batch", _some_call(lambda asked: len(asked.input_ids) > 1)),
    "several-layers": Exposure("more than one layer", lambda subject: subject.config.num_hidden_layers > 1),
    "more-than-ten-layers": Exposure("more than ten layers", lambda subject: subject.config.num_hidden_layers > 10),
    "grouped-heads": Exposure(
        "a number of key/value heads above 1 and below that of query heads",
        lambda subject: 1 < subject.config.num_key_value_heads < subject.config.num_attention_heads,
    ),
    "several-key-value-heads": Exposure(
        "more than one key/value head", lambda subject: subject.config.num_key_value_heads > 1
    ),
    "several-heads": Exposure("more than one query head", lambda subject: subject.config.num_attention_heads > 1),
    "head-dim-apart": Exposure(
        "a head_dim other than hidden_size / num_attention_heads",
        lambda subject: subject.config.head_dim * subject.config.num_attention_heads != subject.config.hidden_size,
    ),
    "several-pairs": Exposure("a head_dim above 2", lambda subject: subject.config.head_dim > 2),
    "head-dim-of-fours": Exposure("a head_dim that 4 divides", lambda subject: subject.config.head_dim % 4 == 0),
    "qkv-bias": Exposure(
        "biases of q_proj, k_proj or v_proj that aren't 0",
        lambda subject: any(_has_bias(subject, f"{part}_proj.bias") for part in "qkv"),
    ),
    "o-bias": Exposure("a bias of o_proj that isn't 0", lambda subject: _has_bias(subject, "o_proj.bias")),
    "mlp-bias": Exposure("biases of the MLP that aren't 0", lambda subject: _has_bias(subject, ".mlp.")),
    "norm-weights": Exposure("norm weights that aren't 1", _has_outside("norm.weight", 1.0)),
    "norm-changes-normed": Exposure(
        "norm weights that aren't 1, or a large eps, so that a norm changes what is normed already",
        lambda subject: (
            _has_outside("norm.weight", 1.0)(subject) or not _eps_is_lost(subject, subject.config.rms_norm_eps)
        ),
    ),
    "untied-head": Exposure("an lm_head of its own", lambda subject: not subject.config.tie_word_embeddings),
    "tied-head": Exposure("the embedding table as head", lambda subject: subject.config.tie_word_embeddings),
    "scaled-rope": Exposure("a rope type that changes the angles of these calls", _is_rope_scaled),
    "rope-factor": Exposure(
        "a rope type with a factor", lambda subject: _rope(subject)["rope_type"] not in ("default", "proportional")
    ),
    "rope-not-linear": Exposure(
        "a rope type other than linear", lambda subject: _rope(subject)["rope_type"] != "linear"
    ),
    "rope-llama3": Exposure("rope type llama3", lambda subject: _rope(subject)["rope_type"] == "llama3"),
    "rope-llama3-blend": Exposure(
        "rope type llama3, with a pair between those that are kept and those that are slowed", _blends
    ),
    "rope-attention-factor": Exposure(
        "a rope type that scales cos and sin (yarn, longrope)",
        lambda subject: attention_scaling(subject.config) != 1.0,
    ),
    **{f"theta-other-than-{theta}": _another_theta(theta) for theta in (10000, 500000, 1000000)},
    "positions-skip-padding": Exposure(
        "a text with padding that goes on in another call, its positions given so that they don't count padding",
        lambda subject: any(shift_shows(subject, planted) for _, planted in positions_counting_padding(subject)),
    ),
    "rows-at-other-positions": Exposure(
        "rows whose tokens stand at other distances than those of the first row: padding within, or before the first",
        lambda subject: any(shift_shows(subject, planted) for _, planted in positions_of_first_row(subject)),
    ),
    "bos": Exposure("a text that begins with bos_token_id", begins_with_bos),
    "weights-finer-than-bfloat16": Exposure(
        "weights with more bits than bfloat16 has", lambda subject: _is_finer(subject, "bfloat16")
    ),
    "weights-finer-than-float16": Exposure(
        "weights with more bits than float16 has", lambda subject: _is_finer(subject, "float16")
    ),
    "rows-of-32": Exposure(
        "matrices whose rows are a multiple of 32 numbers",
        lambda subject: any(w.ndim == 2 and w.shape[1] % 32 == 0 for w in subject.weights.values()),
    ),
    "half-precision": Exposure(
        "float16 or bfloat16", lambda subject: next(iter(subject.weights.values())).dtype.itemsize == 2
    ),
    "large-eps": Exposure(
        "an rms_norm_eps that isn't lost beside the mean square of the embeddings",
        lambda subject: not _eps_is_lost(subject, subject.config.rms_norm_eps),
    ),
    **{f"eps-other-than-{eps}": _another_eps(eps) for eps in ("1e-5", "1e-6", "1e-8")},
    "silu": Exposure("hidden_act silu", lambda subject: subject.config.hidden_act in ("silu", "swish")),
    "other-activation": Exposure(
        "a hidden_act other than silu", lambda subject: subject.config.hidden_act not in ("silu", "swish")
    ),
    "tanh-gelu": Exposure(
        "a hidden_act of gelu_pytorch_tanh or gelu_new",
        lambda subject: subject.config.hidden_act in ("gelu_pytorch_tanh", "gelu_new"),
    ),
    "gelu": Exposure("hidden_act gelu", lambda subject: subject.config.hidden_act == "gelu"),
}
