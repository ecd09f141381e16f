"""The forward pass as a whole: what must hold for any weights, any ids, any split into calls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import KVCache, LlamaError, LlamaForCausalLM, LlamaWarning

# Sums over at most a few hundred float64 products of numbers near 1, in another order: a few hundred half-ulps.
SAME = 1e-12

IDS = st.lists(st.integers(0, 60), min_size=2, max_size=12)


@pytest.fixture(scope="module")
def model(make_model) -> LlamaForCausalLM:
    return make_model("float64")


@given(ids=IDS, cut=st.integers(1, 11), other=st.integers(0, 60))
def test_a_future_token_never_changes_a_past_logit(model, ids, cut, other):
    cut = min(cut, len(ids) - 1)
    changed = [*ids[:cut], other, *ids[cut + 1 :]]
    before, after = model([ids]).logits[:, :cut], model([changed]).logits[:, :cut]
    np.testing.assert_array_equal(before, after)


@given(ids=IDS, data=st.data())
def test_any_split_into_calls_gives_the_logits_of_one_pass(model, ids, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(ids) - 1))))
    cache = KVCache(model.config.num_hidden_layers, capacity=1)
    pieces = [
        model([ids[begin:end]], past_key_values=cache).logits
        for begin, end in zip([0, *cuts], [*cuts, len(ids)], strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), model([ids]).logits, rtol=0, atol=SAME * 10)


@given(rows=st.lists(st.lists(st.integers(0, 60), min_size=6, max_size=6), min_size=2, max_size=4))
def test_a_row_of_a_batch_does_not_know_its_neighbours(model, rows):
    together = model(rows).logits
    for row, ids in enumerate(rows):
        np.testing.assert_allclose(together[row], model([ids]).logits[0], rtol=0, atol=SAME * 10)


@given(ids=IDS, padding=st.integers(1, 5), left=st.booleans(), filler=st.integers(0, 60))
def test_padding_changes_nothing_at_real_positions(model, ids, padding, left, filler):
    real, pad = np.ones(len(ids), int), np.zeros(padding, int)
    mask = np.concatenate((pad, real) if left else (real, pad))[None]
    padded = [*[filler] * padding, *ids] if left else [*ids, *[filler] * padding]
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    logits = model([padded], attention_mask=mask, position_ids=positions).logits[mask == 1]
    np.testing.assert_allclose(logits, model([ids]).logits[0], rtol=0, atol=SAME * 10)


@given(ids=IDS, shift=st.integers(1, 40))
def test_shifting_every_position_changes_no_logit(model, ids, shift):
    """RoPE sees differences of positions alone."""
    positions = np.arange(len(ids))[None]
    shifted = model([ids], position_ids=positions + shift).logits
    np.testing.assert_allclose(shifted, model([ids], position_ids=positions).logits, rtol=0, atol=SAME * 100)


def test_grouped_heads_equal_repeated_ones(make_model):
    """A grouped model is the multi-head model whose key and value rows are repeated for each head of the group."""
    grouped = make_model("float64")
    c = grouped.config
    tensors = dict(grouped.tensors)
    for name, tensor in tensors.items():
        if ".k_proj." in name or ".v_proj." in name:
            heads = tensor.reshape(c.num_key_value_heads, c.head_dim, -1)
            repeated = heads.repeat(c.num_key_value_groups, axis=0)
            tensors[name] = repeated.reshape(-1, *tensor.shape[1:])
    settings = {**c.to_dict(), "num_key_value_heads": c.num_attention_heads}
    multi = LlamaForCausalLM(type(c).from_dict(settings), tensors)
    ids = [[3, 1, 4, 1, 5, 9]]
    np.testing.assert_allclose(grouped(ids).logits, multi(ids).logits, rtol=0, atol=SAME)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_no_dtype_is_promoted(make_model, dtype):
    model = make_model(dtype)
    output = model([[1, 2, 3]], output_hidden_states=True)
    cached = model([[4]], past_key_values=output.past_key_values)
    assert output.logits.dtype == cached.logits.dtype == model.dtype
    assert {state.dtype for state in output.hidden_states} == {model.dtype}


@pytest.mark.parametrize(("dtype", "eps"), [("float32", 2**-24), ("float16", 2**-11), ("bfloat16", 2**-8)])
def test_each_dtype_is_as_far_from_float64_as_its_rounding(make_model, dtype, eps):
    """Some forty roundings stand one behind the other in two layers; were one product taken in the wrong dtype, the
    distance would be that dtype's. The truth is the float64 run of the same rounded weights."""
    rounded = make_model(dtype)
    truth = LlamaForCausalLM(rounded.config, {n: t.astype(np.float64) for n, t in rounded.tensors.items()})
    ids = np.arange(40)[None]
    exact = truth(ids).logits
    error = np.sqrt(np.mean((rounded(ids).logits.astype(np.float64) - exact) ** 2)) / exact.std()
    assert 0.1 * eps < error < 10 * eps


def test_tied_head_is_the_embedding_table(make_model):
    model = make_model("float64", tie_word_embeddings=True)
    output = model([[1, 2]], output_hidden_states=True)
    expected = output.hidden_states[-1] @ model.tensors["model.embed_tokens.weight"].T
    np.testing.assert_allclose(output.logits, expected, rtol=0, atol=SAME)
    assert "lm_head.weight" not in model.tensors


def test_logits_to_keep_keeps_the_last(model):
    whole = model([[1, 2, 3, 4]]).logits
    np.testing.assert_allclose(model([[1, 2, 3, 4]], logits_to_keep=2).logits, whole[:, -2:], rtol=0, atol=SAME)


def test_output_is_an_object_a_mapping_and_a_tuple(model):
    output = model([[1, 2]], use_cache=False)
    logits = output.logits
    assert output[0] is logits and output["logits"] is logits and next(iter(output)) is logits
    assert len(output) == 1 and output.past_key_values is None
    assert output.keys() == ["logits"] and "past_key_values" not in output


def test_use_cache_follows_the_config(make_model):
    assert make_model(use_cache=False)([[1]]).past_key_values is None
    assert len(make_model(use_cache=True)([[1, 2]]).past_key_values) == 2


def test_a_position_past_the_trained_context_warns_once(make_model):
    model = make_model(max_position_embeddings=4)
    with pytest.warns(LlamaWarning, match="position 5 is past the 4 tokens"):
        cache = model([[1] * 6]).past_key_values
    model([[1]], past_key_values=cache)  # said already; a warning here would be an error of this test
    assert len(cache) == 7


@pytest.mark.filterwarnings("error")
def test_the_last_trained_position_does_not_warn(make_model):
    make_model(max_position_embeddings=4)([[1] * 4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": [[1, 61]]}, r"input_ids\[0, 1\]: token id out of range; expected 0 … 60, found 61"),
        ({"input_ids": [[-1]]}, r"input_ids\[0, 0\]: token id out of range; expected 0 … 60, found -1"),
        ({"input_ids": [1, 2]}, r"input_ids: wrong shape; expected \(batch, tokens\).* found \(2,\)"),
        ({"input_ids": [[]]}, r"input_ids: wrong shape.*found \(1, 0\)"),
        ({"input_ids": [[1.5]]}, "input_ids: wrong dtype; expected integers, found float64"),
        ({"input_ids": [[1], [2, 3]]}, "input_ids: rows of several lengths"),
        ({"input_ids": "Once"}, "input_ids: wrong dtype; expected integers"),
        ({"input_ids": [[True]]}, "input_ids: wrong dtype; expected integers, found bool"),
        (
            {"input_ids": [[1, 2]], "attention_mask": [[1]]},
            r"attention_mask: wrong shape; expected \(1, 2\).*\(1, 1\)",
        ),
        (
            {"input_ids": [[1, 2]], "attention_mask": [[1, 7]]},
            "attention_mask: wrong values; expected 0 or 1, found 7",
        ),
        (
            {"input_ids": [[1, 2]], "position_ids": [[0, 1, 2]]},
            r"position_ids: wrong shape; expected \(1, 2\)",
        ),
        ({"input_ids": [[1, 2]], "position_ids": [[0, -1]]}, "position_ids: negative position"),
        ({"input_ids": [[1]], "past_key_values": ()}, "past_key_values: wrong type; expected a KVCache, found tuple"),
        ({"input_ids": [[1]], "past_key_values": KVCache(3)}, "past_key_values: .*expected 2 layers, found 3"),
        ({"input_ids": [[1]], "logits_to_keep": -1}, "logits_to_keep: impossible value; .*found -1"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(model, arguments, message):
    with pytest.raises(LlamaError, match=message):
        model(**arguments)


def test_a_batch_must_fit_its_cache(model):
    cache = model([[1, 2], [3, 4]]).past_key_values
    with pytest.raises(LlamaError, match="input_ids: batch doesn't fit the cache; expected 2 rows, found 1"):
        model([[1]], past_key_values=cache)


def test_ids_of_any_integer_dtype_and_order_give_the_same(model):
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    expected = model(ids).logits
    for variant in (ids.tolist(), ids.astype(np.uint8), ids.astype(np.int32), np.asfortranarray(ids)):
        np.testing.assert_array_equal(model(variant).logits, expected)
