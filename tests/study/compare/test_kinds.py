"""Each way of differing is named for what it is, wherever it is planted, and nothing honest is named so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama import LlamaConfig
from numpy_llama.precision import float_dtype
from numpy_llama.study.compare.difference import difference
from numpy_llama.study.compare.error_bars import ErrorBar
from numpy_llama.study.compare.judging import judge
from numpy_llama.study.compare.layouts import Reading

CONFIG = LlamaConfig(
    hidden_size=24, num_attention_heads=6, num_key_value_heads=3, head_dim=8, intermediate_size=40,
    num_hidden_layers=2, vocab_size=50,
)  # fmt: skip
SHAPES = {
    "model.layers.1.self_attn.query_rotated": (2, 6, 7, 8),
    "model.layers.1.self_attn.q_proj": (2, 7, 48),
    "model.layers.0.mlp.gated": (2, 7, 40),
    "model.layers.0": (2, 7, 24),
}
BAR = 1e-6


def told(name, change, seed=0, dtype="float32"):
    """How a value differs after a change, an honest error on top."""
    generator = np.random.default_rng(seed)
    ours = generator.standard_normal(SHAPES[name])
    theirs = change(ours) + BAR * generator.standard_normal(ours.shape) * (dtype != "exact")
    expected = ErrorBar(ours, np.full(ours.shape, BAR))
    counts = np.ones(ours.shape, bool)
    judged = judge(theirs, expected, counts)
    assert not judged.agrees
    return difference(Reading(theirs, expected, counts), judged, name, CONFIG, "float32")


names = st.sampled_from(list(SHAPES))
seeds = st.integers(0, 1000)


@settings(max_examples=12)
@given(names, seeds, st.floats(0.2, 5.0).filter(lambda factor: abs(factor - 1) > 0.01))
def test_a_factor(name, seed, factor):
    found = told(name, lambda x: x * factor, seed)
    assert found.kind == "scale" and found.place == ""
    assert float(found.says.split()[0]) == pytest.approx(factor, rel=1e-4)


def test_a_factor_that_is_a_number_of_the_model_is_named():
    assert told("model.layers.0", lambda x: x / 8**0.5).says.endswith("1/√D")
    assert told("model.layers.0", lambda x: x * 24**0.5).says.endswith("√E")


@settings(max_examples=12)
@given(names, seeds)
def test_signs_zeros_and_constants(name, seed):
    assert told(name, lambda x: -x, seed).kind == "sign"
    assert told(name, lambda x: x + 0.25, seed).kind == "offset"
    channels = np.where(np.arange(SHAPES[name][-1]) % 2, -1.0, 1.0)
    found = told(name, lambda x: x * channels, seed)
    assert (found.kind, found.where.get("D", [1])[0]) in (("sign", 1), ("signs", 1))
    assert told(name, lambda x: 0 * x, seed, dtype="exact").kind == "zeros"


@settings(max_examples=12)
@given(seeds)
def test_a_bias_and_vectors_of_another_length(seed):
    bias = np.random.default_rng(seed).standard_normal(24)
    assert told("model.layers.0", lambda x: x + bias, seed).kind == "vector"
    assert told("model.layers.0", lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), seed).kind == "lengths"
    assert told("model.layers.0", lambda x: x * (1.5 + np.abs(bias)), seed).kind == "channels"


@settings(max_examples=12)
@given(seeds, st.permutations(range(6)).filter(lambda order: list(order) != sorted(order)))
def test_heads_in_another_order(seed, order):
    found = told("model.layers.1.self_attn.query_rotated", lambda x: x[:, list(order)], seed)
    assert found.kind == "permuted" and found.says.startswith("heads ")
    found = told(
        "model.layers.1.self_attn.q_proj",
        lambda x: x.reshape(2, 7, 6, 8)[:, :, list(order)].reshape(x.shape),
        seed,
    )
    assert found.kind == "permuted" and found.says.startswith("heads ")


def test_heads_tiled_in_place_of_repeated():
    repeated, tiled = np.arange(6) // 2, np.arange(6) % 3
    ours = np.random.default_rng(0).standard_normal((2, 3, 7, 8))
    expected = ErrorBar(ours[:, repeated], np.full((2, 6, 7, 8), BAR))
    counts = np.ones((2, 6, 7, 8), bool)
    judged = judge(ours[:, tiled], expected, counts)
    name = "model.layers.1.self_attn.keys"
    found = difference(Reading(ours[:, tiled], expected, counts), judged, name, CONFIG, "float32")
    assert "H" not in found.where and found.kind in ("permuted", "repeated")


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.query_rotated", "model.layers.1.self_attn.q_proj"])
def test_interleaved_and_halves(name):
    interleaved = np.arange(8).reshape(2, 4).T.reshape(-1)

    def reorder(order):
        return lambda x: x.reshape(*x.shape[:-1], -1, 8)[..., order].reshape(x.shape)

    assert "interleaved" in told(name, reorder(interleaved)).says
    assert "halves" in told(name, reorder(np.argsort(interleaved))).says
    assert "opposite" in told(name, reorder(np.arange(8)[::-1])).says


@settings(max_examples=12)
@given(st.sampled_from(["model.layers.1.self_attn.q_proj", "model.layers.0"]), seeds, st.sampled_from([1, -1]))
def test_one_position_too_late_or_too_early(name, seed, by):
    found = told(name, lambda x: np.roll(x, by, 1), seed)
    assert found.kind == "moved" and ("late" if by == 1 else "early") in found.says


@settings(max_examples=12)
@given(seeds, st.integers(0, 5), st.integers(0, 1))
def test_one_head_of_one_row(seed, head, row):
    def change(x):
        x = x.copy()
        x[row, head] *= 3
        return x

    found = told("model.layers.1.self_attn.query_rotated", change, seed)
    assert found.kind == "scale" and found.where == {"B": [row], "H": [head]}
    assert found.place == f"row {row}, head {head}"


@settings(max_examples=12)
@given(names, seeds, st.integers(0, 6))
def test_one_position(name, seed, position):
    axis = 2 if len(SHAPES[name]) == 4 else 1

    def change(x):
        x = x.copy()
        np.moveaxis(x, axis, 0)[position] += np.random.default_rng(seed + 1).standard_normal() + 3
        return x

    found = told(name, change, seed)
    assert found.where.get("T") == [position] and f"position {position}" in found.place


@settings(max_examples=12)
@given(names, seeds, st.sampled_from(["float16", "bfloat16"]))
def test_rounded_to_a_coarser_dtype(name, seed, dtype):
    found = told(name, lambda x: x.astype(float_dtype(dtype)).astype(np.float64), seed, dtype="exact")
    assert (found.kind, found.says) == ("rounded", f"as if rounded to {dtype}")


@settings(max_examples=12)
@given(seeds)
def test_rows_of_the_batch_exchanged_and_heads_joined_wrongly(seed):
    assert told("model.layers.0", lambda x: x[::-1], seed).says.startswith("rows ")
    found = told(
        "model.layers.1.self_attn.q_proj",
        lambda x: x.reshape(2, 7, 6, 8).swapaxes(1, 2).reshape(x.shape),
        seed,
    )
    assert found.kind == "transposed"


@settings(max_examples=12)
@given(names, seeds)
def test_what_is_no_pattern_is_not_called_one(name, seed):
    other = np.random.default_rng(seed + 5000).standard_normal(SHAPES[name])
    assert told(name, lambda x: other, seed).kind == "unlike"
    assert told(name, lambda x: x + 0.1 * other, seed).kind == "other"
