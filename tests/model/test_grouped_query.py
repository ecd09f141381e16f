"""Mean-pooling of key and value heads: what must hold of the converted checkpoint."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaConfig, LlamaError, LlamaForCausalLM
from numpy_llama.model.grouped_query import mean_pool_key_value_heads
from numpy_llama.precision import DTYPES

IDS = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]
HEADS = {"num_attention_heads": 12, "num_key_value_heads": 12, "hidden_size": 24, "num_hidden_layers": 2}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def with_repeated_heads(model, times):
    """The same function, each key/value head written down several times."""
    K, D = model.config.num_key_value_heads, model.config.head_dim
    tensors = {}
    for name, tensor in model.tensors.items():
        if "k_proj" in name or "v_proj" in name:
            heads = tensor.reshape(K, D, *tensor.shape[1:])
            tensor = np.repeat(heads, times, axis=0).reshape(-1, *tensor.shape[1:])
        tensors[name] = tensor
    settings = {**model.config.to_dict(), "num_key_value_heads": K * times}
    return LlamaForCausalLM(LlamaConfig.from_dict(settings), tensors)


@every_dtype
@pytest.mark.parametrize(("few", "times"), [(1, 12), (2, 3), (3, 4), (4, 3), (6, 2)])
def test_heads_that_are_equal_in_a_group_pool_to_the_same_model(make_model, dtype, few, times):
    small = make_model(dtype, **{**HEADS, "num_key_value_heads": few})
    pooled = with_repeated_heads(small, times).to_grouped_query(few)
    assert pooled.config == small.config
    for name, tensor in small.tensors.items():
        # A float64 sum of three equal numbers, divided by three, may be a unit off; the other dtypes are too coarse.
        rtol = 2.0**-51 if dtype == "float64" else 0
        np.testing.assert_allclose(
            pooled.tensors[name].astype(np.float64), tensor.astype(np.float64), rtol=rtol, err_msg=name
        )
    logits, expected = pooled(IDS).logits.astype(np.float64), small(IDS).logits.astype(np.float64)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12 if dtype == "float64" else 0)


@pytest.mark.parametrize(("few", "times"), [(1, 12), (3, 4)])
def test_and_to_the_logits_of_the_model_before(make_model, few, times):
    """Attention over equal heads is the same, grouped or not: 1e-12 is the error of some float64 sums."""
    before = with_repeated_heads(make_model("float64", **{**HEADS, "num_key_value_heads": few}), times)
    np.testing.assert_allclose(before.to_grouped_query(few)(IDS).logits, before(IDS).logits, rtol=0, atol=1e-12)


@every_dtype
def test_pooling_to_as_many_heads_changes_nothing(make_model, dtype):
    model = make_model(dtype, **HEADS)
    config, tensors = mean_pool_key_value_heads(model.config, model.tensors, 12)
    assert config == model.config and tensors.keys() == model.tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, model.tensors[name])


@given(st.sampled_from([(6, 3), (6, 1), (4, 2), (4, 1), (2, 1), (12, 4)]), st.integers(0, 1000))
def test_pooling_in_two_steps_is_pooling_in_one(make_model, steps, seed):
    middle, last = steps
    model = make_model("float64", seed, **HEADS)
    once = mean_pool_key_value_heads(model.config, model.tensors, last)
    twice = mean_pool_key_value_heads(*mean_pool_key_value_heads(model.config, model.tensors, middle), last)
    assert once[0] == twice[0]
    for name, tensor in once[1].items():  # some ten roundings of sums of twelve terms, divided by twelve
        largest = np.abs(model.tensors[name]).max()
        np.testing.assert_allclose(twice[1][name], tensor, rtol=0, atol=10 * 2.0**-53 * largest)


@every_dtype
@pytest.mark.parametrize("few", [1, 2, 3, 4, 6])
def test_each_new_head_is_the_mean_of_its_group(make_model, dtype, few):
    """Head by head, row by row, weights and biases; what is no key or value is handed on as it is."""
    model = make_model(dtype, **HEADS)
    D, size = model.config.head_dim, 12 // few
    _, tensors = mean_pool_key_value_heads(model.config, model.tensors, few)
    pooled = 0
    for name, old in model.tensors.items():
        if "k_proj" not in name and "v_proj" not in name:
            assert tensors[name] is old
            continue
        pooled += 1
        assert tensors[name].shape == (few * D, *old.shape[1:]) and tensors[name].dtype == old.dtype
        for head in range(few):
            group = [old[(head * size + i) * D : (head * size + i + 1) * D].astype(np.float64) for i in range(size)]
            expected = (sum(group) / size).astype(old.dtype)
            result = tensors[name][head * D : (head + 1) * D]
            atol = 2.0**-50 if dtype == "float64" else 0  # sums in another order, of numbers up to 4
            np.testing.assert_allclose(result.astype(np.float64), expected.astype(np.float64), rtol=0, atol=atol)
    assert pooled == 8  # two layers, keys and values, weights and biases


def test_a_model_that_is_grouped_already(make_model):
    model = make_model(**{**HEADS, "num_key_value_heads": 6})
    assert model.to_grouped_query(2).config.num_key_value_heads == 2


def test_any_prefix(make_model):
    model = make_model(**HEADS)
    renamed = {f"transformer.{name}": tensor for name, tensor in model.tensors.items()}
    _, tensors = mean_pool_key_value_heads(model.config, renamed, 3)
    _, expected = mean_pool_key_value_heads(model.config, model.tensors, 3)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensors[f"transformer.{name}"], tensor)


def test_the_old_checkpoint_stays_as_it_was(make_model):
    model = make_model(**HEADS)
    config, logits = copy.deepcopy(model.config), model(IDS).logits
    pooled, _ = mean_pool_key_value_heads(model.config, model.tensors, 3)
    pooled.rope_parameters["rope_theta"] = 5.0
    assert model.config == config
    np.testing.assert_array_equal(model(IDS).logits, logits)


@pytest.mark.parametrize("count", [0, -1, 5, 8, 24, 2.0, True, None, "3"])
def test_heads_that_cannot_be_shared_out(make_model, count):
    model = make_model(**HEADS)
    with pytest.raises(LlamaError, match="num_key_value_heads: .*divisor of 12") as error:
        mean_pool_key_value_heads(model.config, model.tensors, count)
    assert error.value.found == count
