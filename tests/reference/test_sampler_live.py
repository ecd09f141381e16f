"""The rules of the sampler beside Transformers' logits processors, and draws beside draws."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers.generation import logits_process

from numpy_llama import LlamaConfig
from numpy_llama.blocks import sampling_rules as ours

DTYPES = st.sampled_from([np.float32, np.float64])
many = settings(max_examples=60)


@st.composite
def logits(draw):
    """(B, V), some rows with many equal numbers, some with tokens ruled out already."""
    dtype, shape = draw(DTYPES), (draw(st.integers(1, 3)), draw(st.integers(1, 40)))
    anything = st.floats(-30, 30, width=32)
    few = st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0])
    rows = draw(arrays(dtype, shape, elements=draw(st.sampled_from([anything, few]))))
    gone = draw(arrays(bool, shape))
    gone[:, draw(st.integers(0, shape[1] - 1))] = False
    return np.where(gone & draw(st.booleans()), -np.inf, rows).astype(dtype)


def processed(processor, rows: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray:
    ids = np.zeros((len(rows), 0), np.int64) if ids is None else ids
    return processor(torch.from_numpy(ids), torch.from_numpy(rows.copy())).numpy()


def assert_same(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@given(rows=logits(), temperature=st.floats(0.01, 10))
@many
def test_temperature(rows, temperature):
    theirs = processed(logits_process.TemperatureLogitsWarper(temperature), rows)
    assert_same(ours.scale_temperature(rows, temperature), theirs)


@given(rows=logits(), top_k=st.integers(1, 50))
@many
def test_top_k(rows, top_k):
    assert_same(ours.keep_top_k(rows, top_k), processed(logits_process.TopKLogitsWarper(top_k), rows))


@given(rows=logits(), penalty=st.floats(0.1, 10), seed=st.integers(0, 1000), seen=st.integers(1, 20))
@many
def test_repetition_penalty(rows, penalty, seed, seen):
    ids = np.random.default_rng(seed).integers(0, rows.shape[1], (len(rows), seen))
    theirs = processed(logits_process.RepetitionPenaltyLogitsProcessor(penalty), rows, ids)
    assert_same(ours.penalize_repetition(rows, ids, penalty), theirs)


@given(rows=logits(), top_p=st.one_of(st.floats(0.01, 0.999), st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])))
@many
def test_top_p(rows, top_p):
    """Of equal tokens at the border, ours removes the lower ids; torch's sort isn't stable, so theirs any of them."""
    theirs = processed(logits_process.TopPLogitsWarper(top_p), rows)
    assert_same(np.sort(ours.keep_top_p(rows, top_p)), np.sort(theirs))


@given(rows=logits(), min_p=st.one_of(st.floats(0.001, 1), st.sampled_from([0.1, 0.5, 1.0])))
@many
def test_min_p(rows, min_p):
    assert_same(ours.keep_min_p(rows, min_p), processed(logits_process.MinPLogitsWarper(min_p), rows))


@pytest.mark.parametrize(
    "chosen", [{"temperature": 0.8}, {"top_k": 12, "top_p": 0.9}, {"temperature": 2.0, "min_p": 0.2}]
)
def test_draws_have_the_distribution_of_transformers_draws(make_pair, chosen):
    """Other random numbers, so other tokens, but each as often: two samples and a χ² test of their being alike."""
    config = LlamaConfig(
        vocab_size=30,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        eos_token_id=None,
    )
    our_model, their_model = make_pair(config, "float32", 5)
    count, prompt = 3000, [1, 7]
    chosen = {"top_k": 0, **chosen, "do_sample": True, "max_new_tokens": 1}
    our_draws = our_model.generate(np.repeat([prompt], count, axis=0), seed=1, **chosen)[:, -1]
    torch.manual_seed(1)
    ids = torch.tensor([prompt] * count)
    their_draws = their_model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **chosen)[
        :, -1
    ].numpy()
    both = np.stack([np.bincount(draws, minlength=config.vocab_size) for draws in (our_draws, their_draws)])  # (2, V)
    often = both.sum(axis=0) >= 20  # χ² is a good approximation from about ten expected draws in each cell
    cells = np.column_stack([both[:, often], both[:, ~often].sum(axis=1)])  # the rare ones share a cell
    cells = cells[:, cells.sum(axis=0) > 0]
    expected = cells.sum(axis=0) / 2
    statistic = float(((cells - expected) ** 2 / expected).sum())
    degrees = cells.shape[1] - 1
    # Wilson and Hilferty 1931: the cube root of χ²/k is nearly normal, and 3.1 deviations are passed once in 1,000.
    spread = 2 / (9 * degrees)
    assert degrees >= 3
    assert statistic <= degrees * (1 - spread + 3.1 * spread**0.5) ** 3
