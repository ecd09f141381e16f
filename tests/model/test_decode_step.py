"""The packed decode step says what the plain layers say, and steps aside where somebody watches or swaps a block."""

import numpy as np
import pytest

from numpy_llama import Blocks, LlamaForCausalLM, observe
from numpy_llama.model import llama

HEADS = [(4, 4), (4, 2), (4, 1)]


def watched(model, *arguments, **options):
    """A call in which every value has its name, so that it goes through the plain layers."""
    with observe(lambda name, value, call: None):
        return model(*arguments, **options)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("rows", [1, 3])
def test_the_packed_step_equals_the_plain_layers(make_model, rows, heads, biased):
    """The same operations in the same order: only BLAS may add up a row of a packed matrix, or of a batch, in another
    order than a row alone; a few dozen float64 roundings of numbers near 1."""
    model = make_model(
        "float64",
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        attention_bias=biased,
        mlp_bias=biased,
        num_hidden_layers=3,
    )
    ids = np.random.default_rng(0).integers(0, 61, (rows, 20))
    packed, plain = model(ids[:, :5]).past_key_values, model(ids[:, :5]).past_key_values
    for t in range(5, 20):
        step = model(ids[:, t : t + 1], past_key_values=packed, output_hidden_states=True)
        truth = watched(model, ids[:, t : t + 1], past_key_values=plain, output_hidden_states=True)
        for ours, theirs in zip(step.hidden_states, truth.hidden_states, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13 * np.abs(theirs).max())


@pytest.fixture
def packed_calls(monkeypatch):
    """How often the packed step was taken."""
    taken = []
    packed = llama.decode_layer
    monkeypatch.setattr(llama, "decode_layer", lambda *arguments: taken.append(1) or packed(*arguments))
    return taken


def test_it_is_taken_for_one_token_and_no_other_call(make_model, packed_calls):
    model = make_model()
    cache = model([[1, 2, 3]]).past_key_values
    model([[4, 5]], past_key_values=cache)
    model([[4]], use_cache=False)
    assert not packed_calls
    model([[6]], past_key_values=cache)
    assert len(packed_calls) == model.config.num_hidden_layers


def test_it_steps_aside_for_an_observer_padding_swapped_blocks_and_two_byte_dtypes(make_model, packed_calls):
    model = make_model()
    watched(model, [[1]])
    model([[1], [2]], attention_mask=[[1], [0]])
    make_model("bfloat16")([[1]])
    swapped = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(softmax=lambda scores: scores))
    swapped([[1]])
    assert not packed_calls


def test_packing_holds_no_weight_twice(make_model):
    """Tensors under their names are views of the packed matrices, and saving gives each its own numbers."""
    model = make_model()
    layer = model.model.layers[0]
    for name, part in (("q", layer.q_proj), ("k", layer.k_proj), ("v", layer.v_proj)):
        assert np.shares_memory(part, layer.qkv_proj)
        assert np.shares_memory(model.tensors[f"model.layers.0.self_attn.{name}_proj.weight"], layer.qkv_proj)
    assert np.shares_memory(layer.up_proj, layer.gate_up_proj)
