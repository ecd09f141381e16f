"""Strangers: what somebody else would have dumped, made by our own engine with or without a mistake in it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.mistakes.planting import with_blocks, with_config, with_value
from numpy_llama.probe import record
from numpy_llama.study.subject import Asked, Subject
from numpy_llama.study.trace import Trace, TracedCall


@pytest.fixture(scope="session")
def make_subject(make_model):
    """make_subject(seed=0, **config): a small model, asked a padded batch, a decode step after it, and another text."""

    def make(seed=0, **config):
        model = make_model(seed=seed, **config)
        return Subject(model.config, model.tensors, calls(seed, model.config.vocab_size))

    return make


def calls(seed, vocabulary):
    """A prefill of two rows, one padded on the left; a decode step; a prompt without padding."""
    generator = np.random.default_rng(seed)
    mask = np.ones((2, 9), np.int64)
    mask[0, :3] = 0
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    longer = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
    return (
        Asked(generator.integers(0, vocabulary, (2, 9)), mask, positions),
        Asked(generator.integers(0, vocabulary, (2, 1)), longer, positions[:, -1:] + 1, past=9),
        Asked(generator.integers(0, vocabulary, (1, 7))),
    )


@pytest.fixture(scope="session")
def strange():
    """strange.logits(…) and strange.full(…) are dumps, strange.of(run, asked) one of any logits; strange.own is a small
    catalogue."""
    return SimpleNamespace(logits=stranger, full=full_stranger, of=dumped, own=OWN)


def stranger(planted, asked, noise=0.0, seed=0, **fields):
    """The trace of logits that whoever has made `planted`'s mistakes would dump of these calls.

    noise  relative: another order of sums
    """
    generator = np.random.default_rng(seed)
    run = planted.run()
    noisy = [logits * (1 + noise * generator.standard_normal(logits.shape)) for logits in run]
    return dumped([one.astype(run[0].dtype) for one in noisy], asked, **fields)


def dumped(run, asked, dtype="float32", **fields):
    """A trace of these logits, (B, n, V) for each call."""
    calls = [
        TracedCall(index, one.past, one.input_ids, one.attention_mask, one.position_ids, {"lm_head": logits})
        for index, (one, logits) in enumerate(zip(asked, run, strict=True))
    ]
    return Trace(calls, dtype=dtype, **{"source": "theirs", **fields})


def full_stranger(planted, asked, wanted=lambda name: True, dtype="float32"):
    """The same with inner values."""
    trace = Trace(
        [
            TracedCall(index, one.past, one.input_ids, one.attention_mask, one.position_ids, {})
            for index, one in enumerate(asked)
        ],
        dtype=dtype,
        source="theirs",
    )

    def keep(name, value, call):
        if wanted(name):
            trace.calls[call.index].values[name] = value.copy()

    with record(keep):
        planted.run()
    return trace


def mistake(key, plant, first="lm_head", **facts):
    """A mistake of the tests' own."""
    return Mistake(key, f"which is {key}", "", "", (), first, plant, **facts)


def _one(change):
    def plant(subject):
        yield "", change(subject)

    return plant


def _no_scaling(query, key, value, mask=None, scaling=None):
    from numpy_llama.blocks.attention import attention

    return attention(query, key, value, mask, 1.0)


def _late_decode(subject):
    return replace(
        subject,
        calls=tuple(
            replace(one, position_ids=one.position_ids + 1) if one.past and one.position_ids is not None else one
            for one in subject.calls
        ),
    )


OWN = {
    one.key: one
    for one in (
        mistake(
            "large-eps", _one(lambda subject: with_config(subject, rms_norm_eps=0.1)),
            first="model.layers.{i}.input_layernorm.normed",
        ),
        mistake(
            "no-scaling", _one(lambda subject: with_blocks(subject, attention=_no_scaling)),
            first="model.layers.{i}.self_attn.scores",
        ),
        mistake(
            "values-doubled", _one(lambda subject: with_value(subject, "*.self_attn.values", lambda value: 2 * value)),
            first="model.layers.{i}.self_attn.values", twins=("context-doubled",),
        ),
        mistake(
            "context-doubled",
            _one(lambda subject: with_value(subject, "*.self_attn.context", lambda value: 2 * value)),
            first="model.layers.{i}.self_attn.context", twins=("values-doubled",),
        ),
        mistake("late-decode", _one(_late_decode), first="model.rotary_emb.cos", exposed_by=("decode",)),
        mistake("nothing", _one(lambda subject: subject), exposed_by=("mlp-bias",), invisible=True),
    )
}  # fmt: skip
