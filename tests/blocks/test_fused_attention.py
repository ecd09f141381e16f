"""Fused attention is attention, with fewer roundings on the way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import Blocks, LlamaForCausalLM, observe
from numpy_llama.blocks import attention, causal_mask
from numpy_llama.blocks.fused_attention import fused_attention
from numpy_llama.precision import DTYPES


def draw_inputs(seed, K, G, T, past, dtype):
    generator = np.random.default_rng(seed)
    shapes = (2, K * G, T, 8), (2, K, past + T, 8), (2, K, past + T, 8)
    inputs = [generator.standard_normal(shape).astype(dtype) for shape in shapes]
    return [*inputs, causal_mask(T, past + T, np.dtype(dtype))]


@given(
    seed=st.integers(0, 2**32 - 1),
    K=st.integers(1, 3),
    G=st.integers(1, 3),
    T=st.integers(1, 9),
    past=st.integers(0, 5),
)
def test_in_float64_the_two_are_one(seed, K, G, T, past):
    inputs = draw_inputs(seed, K, G, T, past, np.float64)
    np.testing.assert_allclose(fused_attention(*inputs), attention(*inputs), rtol=0, atol=1e-14)  # values of some 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_in_two_bytes_it_is_nearer_to_the_truth(dtype):
    distances = []
    for attend in (fused_attention, attention):
        squares = []
        for seed in range(20):
            inputs = draw_inputs(seed, 2, 2, 20, 0, DTYPES[dtype])
            truth = attention(*[each.astype(np.float64) for each in inputs])
            output = attend(*inputs)
            assert output.dtype == DTYPES[dtype]
            squares.append(np.square(output.astype(np.float64) - truth).mean())
        distances.append(np.sqrt(np.mean(squares)))
    assert distances[0] < 0.8 * distances[1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_boolean_mask_chooses_it_in_two_bytes(make_model, dtype):
    model = make_model(dtype)
    ids, boolean = [[5, 17, 3, 42]], np.tril(np.ones((1, 1, 4, 4), bool))
    scores = []
    with observe(lambda name, value, call: scores.append(value.dtype) if name.endswith(".scores") else None):
        output = model(ids, boolean, output_attentions=True)
        model(ids)
    assert scores == [np.float32] * 2 + [model.dtype] * 2
    assert all(weights.dtype == model.dtype for weights in output.attentions)
    assert output.logits.dtype == model.dtype


def test_an_attention_that_was_put_in_stays(make_model):
    model = make_model("float16")
    calls = []

    def mine(*inputs):
        calls.append(inputs)
        return attention(*inputs)

    swapped = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(attention=mine))
    swapped([[5, 17]], np.tril(np.ones((1, 1, 2, 2), bool)))
    assert len(calls) == model.config.num_hidden_layers
