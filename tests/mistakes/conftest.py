"""A small random Llama and calls of it, with as many exposures as one subject can have, and any one taken away."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.mistakes.planting import with_calls
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import tensor_shapes
from numpy_llama.study.subject import Asked, Subject

YARN = {"rope_type": "yarn", "rope_theta": 2000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 2000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 2000.0, "factor": 4.0}
PLAIN = {"rope_type": "default", "rope_theta": 2000.0}

RICH = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.02,
    "attention_bias": True,
    "mlp_bias": True,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "rope_parameters": YARN,
}
QUIET = np.arange(8, 16)  # tokens whose embeddings are so small that every eps shows

# What in the config gives an exposure that RICH can't have beside the others, and what takes one away.
GIVES = {
    "tied-head": {"tie_word_embeddings": True},
    "rope-llama3": {"rope_parameters": LLAMA3},
    "rope-llama3-blend": {"rope_parameters": LLAMA3},
    "rope-attention-factor": {"rope_parameters": YARN},
    "other-activation": {"hidden_act": "gelu_pytorch_tanh"},
    "tanh-gelu": {"hidden_act": "gelu_pytorch_tanh"},
    "gelu": {"hidden_act": "gelu"},
    "more-than-ten-layers": {"num_hidden_layers": 12},
}
TAKES = {
    "several-layers": {"num_hidden_layers": 1},
    "more-than-ten-layers": {"num_hidden_layers": 3},
    "grouped-heads": {"num_key_value_heads": 4},
    "several-key-value-heads": {"num_key_value_heads": 1},
    "several-heads": {"num_attention_heads": 1, "num_key_value_heads": 1},
    "several-keys": {
        "rope_parameters": LLAMA3
    },  # yarn's factor on cos and sin shows in a single token's rotated values
    "head-dim-apart": {"head_dim": 8},
    "several-pairs": {"head_dim": 2},
    "head-dim-of-fours": {"head_dim": 10},
    "qkv-bias": {"attention_bias": False},
    "o-bias": {"attention_bias": False},
    "mlp-bias": {"mlp_bias": False},
    "untied-head": {"tie_word_embeddings": True},
    "tied-head": {"tie_word_embeddings": False},
    "scaled-rope": {"rope_parameters": PLAIN},
    "rope-factor": {"rope_parameters": PLAIN},
    "rope-not-linear": {"rope_parameters": LINEAR},
    "rope-llama3": {"rope_parameters": YARN},
    "rope-llama3-blend": {"rope_parameters": YARN},
    "rope-attention-factor": {"rope_parameters": LLAMA3},
    "theta-other-than-10000": {"rope_parameters": {**YARN, "rope_theta": 10000.0}},
    "theta-other-than-500000": {"rope_parameters": {**YARN, "rope_theta": 500000.0}},
    "theta-other-than-1000000": {"rope_parameters": {**YARN, "rope_theta": 1000000.0}},
    "large-eps": {"rms_norm_eps": 1e-16},
    "norm-changes-normed": {"rms_norm_eps": 1e-16},
    "eps-other-than-1e-5": {"rms_norm_eps": 1e-5},
    "eps-other-than-1e-6": {"rms_norm_eps": 1e-6},
    "eps-other-than-1e-8": {"rms_norm_eps": 1e-8},
    "bos": {"bos_token_id": 3},
    "silu": {"hidden_act": "gelu"},
    "other-activation": {"hidden_act": "silu"},
    "tanh-gelu": {"hidden_act": "silu"},
    "gelu": {"hidden_act": "silu"},
    "rows-of-32": {"hidden_size": 36, "intermediate_size": 60},
}


def drawn_weights(config):
    """Random weights of float32 under which every value is of a size of about 1."""
    rng = np.random.default_rng(7)
    weights = {}
    for name, shape in tensor_shapes(config):
        if name.endswith("norm.weight"):
            array = np.exp(rng.normal(size=shape) / 2)
        elif name.endswith(".bias"):
            array = rng.normal(size=shape) / 2
        else:
            array = rng.normal(size=shape) * (1 if "embed" in name else 1.3 / np.sqrt(shape[-1]))
        if "embed" in name:
            array[QUIET] *= 1e-4
        weights[name] = array.astype(np.float32)
    return weights


def calls():
    """Prefill, two decodes and a chunk; a batch padded on the left, and one on the right, that both go on."""
    rng = np.random.default_rng(8)

    def ids(*shape):
        drawn = rng.integers(2, 40, shape)
        drawn[:, ::2] = rng.choice(QUIET, drawn[:, ::2].shape)
        return drawn

    def padded(mask, past=0):
        """The last columns of a mask, at positions that don't count padding."""
        mask = np.array(mask)
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, past:]
        tokens = ids(*positions.shape)
        if past == 0:
            tokens[np.arange(len(mask)), mask.argmax(axis=1)] = 1
        return Asked(np.where(mask[:, past:] == 1, tokens, 0), mask, positions, past)

    text = [ids(1, 6), ids(1, 1), ids(1, 1), ids(1, 3)]
    text[0][:, 0] = 1
    pasts = np.cumsum([0, 6, 1, 1])
    left = [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]]
    right = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    return (
        *(Asked(one, past=int(past)) for one, past in zip(text, pasts, strict=True)),
        padded(left),
        padded([row + [1] for row in left], past=5),
        padded([row + [1, 1] for row in left], past=6),
        padded(right),
        padded([row + [1] for row in right], past=5),
    )


def built(fields):
    config = LlamaConfig(**{**RICH, **fields})
    return Subject(config, drawn_weights(config), calls())


def first_rows(subject):
    """The first row of every batch."""

    def cut(asked):
        given = (asked.attention_mask, asked.position_ids)
        return Asked(asked.input_ids[:1], *(None if array is None else array[:1] for array in given), asked.past)

    return with_calls(subject, cut)


def first_calls(subject):
    return replace(subject, calls=tuple(asked for asked in subject.calls if asked.past == 0))


def single_tokens(subject):
    """Each text's first token alone."""
    firsts = [asked for asked in subject.calls if asked.past == 0]
    return replace(subject, calls=tuple(Asked(asked.input_ids[:, -1:]) for asked in firsts))


def unpadded(subject):
    """The same ids with nothing masked, at positions that follow each other."""
    return with_calls(subject, lambda asked: Asked(asked.input_ids, past=asked.past))


def only_right_padding(subject):
    return replace(subject, calls=subject.calls[-2:])


def only_right_padded_prompt(subject):
    return replace(subject, calls=subject.calls[-2:-1])


def by_tokens(subject):
    """The first text, read token by token, so that no call has several."""
    text = np.concatenate([asked.input_ids for asked in subject.calls[:4]], axis=1)
    return replace(subject, calls=tuple(Asked(text[:, i : i + 1], past=i) for i in range(text.shape[1])))


def without_norm_weights(subject):
    weights = {name: np.ones_like(w) if name.endswith("norm.weight") else w for name, w in subject.weights.items()}
    return replace(subject, weights=weights)


def kept_in(dtype):
    return lambda subject: subject.in_dtype(dtype).in_dtype("float32")


TAKES_BY_HAND = {
    "several-tokens": by_tokens,
    "several-keys": single_tokens,
    "a-past": first_calls,
    "decode": first_calls,
    "chunk": by_tokens,
    "masked-past": first_calls,
    "padding": unpadded,
    "left-padding": only_right_padding,
    "padding-before-tokens": only_right_padded_prompt,
    "right-padding": lambda subject: replace(subject, calls=subject.calls[:-2]),
    "batch": first_rows,
    "norm-weights": without_norm_weights,
    "norm-changes-normed": without_norm_weights,
    "positions-skip-padding": unpadded,
    "rows-at-other-positions": unpadded,
    "weights-finer-than-bfloat16": kept_in("bfloat16"),
    "weights-finer-than-float16": kept_in("float16"),
    "half-precision": lambda subject: subject.in_dtype("float32"),
}


def fields_giving(names):
    return {field: value for name in names for field, value in GIVES.get(name, {}).items()}


def that_decide(names):
    """Those on which it depends how the subject is built; the others it has anyway. Equal ones are built once."""
    return tuple(sorted(name for name in names if name in GIVES or name == "half-precision"))


@cache
def _exposed(names):
    subject = built(fields_giving(names))
    return subject.in_dtype("bfloat16") if "half-precision" in names else subject


@pytest.fixture
def exposed():
    """exposed("tied-head", …): the rich subject, with these exposures for certain."""

    def make(*names):
        subject = _exposed(that_decide(names))
        assert all(EXPOSURES[name].holds(subject) for name in names), names
        return subject

    return make


@cache
def _unexposed(name, others):
    given = fields_giving(other for other in others if other != name)
    taken = TAKES.get(name, {})
    subject = built({**taken, **given} if name == "several-keys" else {**given, **taken})
    subject = subject.in_dtype("bfloat16") if "half-precision" in others else subject
    return TAKES_BY_HAND.get(name, lambda subject: subject)(subject)


@pytest.fixture
def unexposed():
    """unexposed("several-keys", others): the rich subject with the others, as far as may be, and without the one."""

    def make(name, others):
        subject = _unexposed(name, that_decide(others))
        assert not EXPOSURES[name].holds(subject), name
        return subject

    return make
