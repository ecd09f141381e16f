"""What a model can be called with: each argument means what it says, and a wrong one is an error that names it."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import (
    Blocks,
    DynamicCache,
    KVCache,
    LlamaError,
    LlamaForCausalLM,
    LlamaModel,
    StaticCache,
    observe,
)
from numpy_llama.blocks import attention, causal_mask
from numpy_llama.model.arguments import sequence_ids

IDS = np.array([[5, 17, 3, 42, 9, 1]])
rows = st.lists(st.integers(0, 60), min_size=2, max_size=9)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("float64")


def collect_scores(seen):
    return observe(lambda name, value, call: seen.append(value) if name.endswith("0.self_attn.scores") else None)


def same(left, right):
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-12 * np.abs(right).max())


def test_embeddings_in_place_of_ids(model):
    embeds = model.embed_tokens[IDS]
    assert np.array_equal(model(inputs_embeds=embeds).logits, model(IDS).logits)
    assert np.array_equal(model(inputs_embeds=embeds.tolist()).logits, model(IDS).logits)


def test_embeddings_of_no_token_are_taken_as_they_are(model):
    embeds = model.embed_tokens[IDS].copy()
    embeds[0, 2] = 7.0
    output = model(inputs_embeds=embeds, output_hidden_states=True)
    np.testing.assert_array_equal(output.hidden_states[0], embeds)
    assert not np.allclose(output.logits[0, 2:], model(IDS).logits[0, 2:])
    same(output.logits[0, :2], model(IDS).logits[0, :2])


class TestFourDimensionalMask:
    @given(ids=rows)
    def test_the_causal_one_written_out_changes_nothing(self, model, ids):
        T = len(ids)
        boolean = np.tril(np.ones((1, 1, T, T), bool))
        expected = model([ids]).logits
        same(model([ids], boolean).logits, expected)
        same(model([ids], np.where(boolean, 0.0, -np.inf)).logits, expected)
        same(model([ids], causal_mask(T, T, np.dtype(np.float64))).logits, expected)

    def test_one_for_each_head_closes_that_head_alone(self, model):
        T, H = IDS.shape[1], model.config.num_attention_heads
        mask = np.tile(np.tril(np.ones((T, T), bool)), (1, H, 1, 1))
        mask[0, 1, :, 1:] &= np.eye(T, dtype=bool)[:, 1:]  # head 1 sees the first token and itself
        weights = model(IDS, mask, output_attentions=True).attentions[0]
        plain = model(IDS, output_attentions=True).attentions[0]
        np.testing.assert_array_equal(weights[0, [0, 2, 3]], plain[0, [0, 2, 3]])
        assert (weights[0, 1][~mask[0, 1]] == 0).all()

    def test_what_is_added_shifts_the_scores(self, model):
        bias = np.random.default_rng(0).standard_normal((1, 1, 6, 6)) + np.triu(np.full((6, 6), -1e30), 1)
        plain, shifted = [], []
        for seen, mask in ((plain, None), (shifted, bias)):
            with collect_scores(seen):
                model(IDS, mask)
        lower = np.tril_indices(6)
        same((shifted[0] - plain[0])[0, 0][lower], bias[0, 0][lower])

    def test_over_a_past_it_speaks_of_past_and_new_tokens(self, model):
        boolean = np.tril(np.ones((1, 1, 6, 6), bool))
        cache = DynamicCache(model.config)
        first = model(IDS[:, :4], boolean[:, :, :4, :4], past_key_values=cache).logits
        then = model(IDS[:, 4:], boolean[:, :, 4:], past_key_values=cache).logits
        same(np.concatenate([first, then], axis=1), model(IDS).logits)

    def test_over_a_static_cache_it_may_be_as_wide_as_the_cache(self, model):
        cache = StaticCache(model.config, max_cache_len=9)
        mask = np.zeros((1, 1, 6, 9), bool)
        mask[..., :6] = np.tril(np.ones((6, 6), bool))
        same(model(IDS, mask, past_key_values=cache).logits, model(IDS).logits)

    def test_minus_infinity_everywhere_gives_no_nan_elsewhere(self, model):
        mask = np.where(np.tril(np.ones((1, 1, 6, 6), bool)), 0.0, -np.inf)
        mask[..., 0, :] = -np.inf  # a padded row sees nobody
        mask[..., 1:, 0] = -np.inf
        assert np.isfinite(model(IDS, mask).logits).all()

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_a_wider_masks_lowest_number_stays_finite(self, make_model, dtype):
        model = make_model(dtype)
        wide = causal_mask(6, 6, np.dtype(np.float64))
        np.testing.assert_array_equal(model(IDS, wide).logits, model(IDS).logits)


class TestPackedSequences:
    def test_positions_that_restart_number_the_sequences(self):
        positions = np.array([[0, 1, 2, 0, 1, 0], [3, 4, 5, 6, 7, 8]])
        np.testing.assert_array_equal(sequence_ids(positions), [[0, 0, 0, 1, 1, 2], [0] * 6])
        assert sequence_ids(positions[1:]) is None

    @given(texts=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4), min_size=1, max_size=4))
    def test_each_text_has_the_logits_it_has_alone(self, model, texts):
        ids = [[token for text in texts for token in text]]
        positions = [[position for text in texts for position in range(len(text))]]
        packed = model(ids, position_ids=positions, use_cache=False).logits
        alone = np.concatenate([model([text], use_cache=False).logits for text in texts], axis=1)
        same(packed, alone)

    def test_with_a_cache_or_a_mask_they_are_only_positions(self, model):
        """As in Transformers: where tokens may come from elsewhere, restarting positions aren't another text."""
        positions = [[0, 1, 2, 0, 1, 2]]
        packed = model(IDS, position_ids=positions, use_cache=False).logits
        cached = model(IDS, position_ids=positions, use_cache=True).logits
        masked = model(IDS, np.ones_like(IDS), positions, use_cache=False).logits
        same(cached, masked)
        assert not np.allclose(packed, cached)


class TestCaches:
    @given(ids=rows, data=st.data())
    def test_any_split_through_a_static_cache_gives_the_logits_of_one_pass(self, model, ids, data):
        cache = StaticCache(model.config, max_cache_len=len(ids))
        pieces, rest = [], [ids]
        while rest[0]:
            count = data.draw(st.integers(1, len(rest[0])))
            pieces.append(model([rest[0][:count]], past_key_values=cache).logits)
            rest = [rest[0][count:]]
        same(np.concatenate(pieces, axis=1), model([ids]).logits)

    def test_a_full_static_cache_is_an_error_before_anything_is_computed(self, model):
        cache = StaticCache(model.config, max_cache_len=5)
        model(IDS[:, :4], past_key_values=cache)
        before = [layer.keys.copy() for layer in cache._layers]
        with pytest.raises(LlamaError, match="past_key_values: static cache is full; .*6 tokens.*capacity of 5, 4 of"):
            model(IDS[:, 4:], past_key_values=cache)
        assert len(cache) == 4
        for layer, keys in zip(cache._layers, before, strict=True):
            np.testing.assert_array_equal(layer.keys, keys)
        model(IDS[:, :1], past_key_values=cache)  # there is room for one
        assert len(cache) == cache.max_cache_len

    def test_reordered_rows_go_on_from_what_another_row_has_seen(self, model):
        texts = np.array([[1, 2, 3], [4, 5, 6]])
        cache = model(texts).past_key_values
        cache.reorder_cache(np.array([1, 1, 0]))
        then = model([[7], [8], [9]], past_key_values=cache).logits
        whole = model([[4, 5, 6, 7], [4, 5, 6, 8], [1, 2, 3, 9]]).logits[:, -1:]
        same(then, whole)

    def test_cache_position_is_accepted_where_it_says_what_the_cache_says(self, model):
        cache = model(IDS, cache_position=np.arange(6)).past_key_values
        model([[3]], past_key_values=cache, cache_position=[6])
        with pytest.raises(LlamaError, match=r"cache_position: doesn't match the cache; expected 7 … 7"):
            model([[3]], past_key_values=cache, cache_position=[6])


class TestWhatIsReturned:
    def test_attentions_are_each_layers_weights(self, model):
        output = model(IDS, output_attentions=True)
        assert len(output.attentions) == model.config.num_hidden_layers
        for weights in output.attentions:
            assert weights.shape == (1, model.config.num_attention_heads, 6, 6)
            np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-12)
            assert (np.triu(weights[0, 0], 1) == 0).all()
        assert model(IDS).attentions is None

    def test_attentions_of_a_decode_step_reach_over_the_past(self, model):
        cache = model(IDS[:, :5]).past_key_values
        step = model(IDS[:, 5:], past_key_values=cache, output_attentions=True).attentions
        whole = model(IDS, output_attentions=True).attentions
        for one, all_rows in zip(step, whole, strict=True):
            same(one, all_rows[:, :, 5:])

    def test_an_observer_around_sees_and_patches_them(self, model):
        def uniform(name, value, call):
            return np.full_like(value, 1 / 6) if name.endswith(".weights") else None

        with observe(uniform):
            attentions = model(IDS, output_attentions=True).attentions
        assert all((weights == 1 / 6).all() for weights in attentions)

    def test_an_attention_block_that_hides_its_weights_cannot_return_them(self, model):
        def hidden(query, key, value, mask):
            with mock.patch("numpy_llama.blocks.attention.probe", lambda name, value: value):
                return attention(query, key, value, mask)

        swapped = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(attention=hidden))
        same(swapped(IDS).logits, model(IDS).logits)
        with pytest.raises(LlamaError, match="output_attentions: attention weights aren't there"):
            swapped(IDS, output_attentions=True)

    def test_return_dict_false_gives_a_plain_tuple_of_what_is_there(self, model):
        output = model(IDS, labels=IDS, output_hidden_states=True, output_attentions=True)
        assert output.keys() == ["loss", "logits", "past_key_values", "hidden_states", "attentions"]
        parts = model(IDS, labels=IDS, output_hidden_states=True, output_attentions=True, return_dict=False)
        assert type(parts) is tuple
        assert len(parts) == 5
        np.testing.assert_array_equal(parts[1], output.logits)
        assert type(model.model(IDS, return_dict=False)) is tuple

    @pytest.mark.parametrize("field", ["output_hidden_states", "output_attentions"])
    def test_the_config_says_what_is_returned_unless_told_otherwise(self, make_model, field):
        name = field.removeprefix("output_")
        model = make_model(**{field: True})
        assert getattr(model(IDS), name) is not None
        assert getattr(model(IDS, **{field: False}), name) is None

    def test_logits_of_chosen_positions(self, model):
        whole = model(IDS).logits
        same(model(IDS, logits_to_keep=[0, -1, 3]).logits, whole[:, [0, -1, 3]])
        same(model(IDS, logits_to_keep=np.array([2])).logits, whole[:, [2]])
        same(model(IDS, logits_to_keep=2).logits, whole[:, -2:])

    def test_logits_of_other_positions_in_each_row(self, model):
        ids = np.array([[1, 2, 3], [4, 5, 6]])
        whole = model(ids).logits
        same(model(ids, logits_to_keep=[[0, 2], [1, -1]]).logits, np.stack([whole[0, [0, 2]], whole[1, [1, 2]]]))
        chosen = np.array([[True, False, True], [False, False, True]])
        same(model(ids, logits_to_keep=chosen).logits, whole[chosen])

    def test_the_body_alone_gives_the_same_hidden_states(self, model):
        body = LlamaModel(model.config, model.model.tensors)
        np.testing.assert_array_equal(
            body(IDS).last_hidden_state, model(IDS, output_hidden_states=True).hidden_states[-1]
        )


NAN = np.zeros((1, 2, 32))
NAN[0, 1, 3] = np.nan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "input_ids, inputs_embeds: wrong arguments; expected one of the two, found neither"),
        ({"input_ids": IDS, "inputs_embeds": np.zeros((1, 6, 32))}, "one of the two, found both"),
        ({"input_ids": {"input_ids": IDS}}, r"input_ids: wrong type; .*model\(\*\*encoding\), found dict"),
        ({"input_ids": [[1.0, 2.0]]}, "input_ids: wrong dtype; expected integers, found float64"),
        ({"input_ids": [[1, 61]]}, r"input_ids\[0, 1\]: token id out of range; expected 0 … 60, found 61"),
        ({"input_ids": [1, 2]}, r"input_ids: wrong shape; .*found \(2,\)"),
        ({"inputs_embeds": np.zeros((1, 6, 31))}, r"inputs_embeds: wrong shape; expected .*32.*found \(1, 6, 31\)"),
        ({"inputs_embeds": np.zeros((6, 32))}, "inputs_embeds: wrong shape"),
        ({"inputs_embeds": np.zeros((1, 0, 32))}, "inputs_embeds: wrong shape; .*at least one token"),
        ({"inputs_embeds": np.zeros((1, 6, 32), np.float32)}, "inputs_embeds: wrong dtype; expected float64.*float32"),
        ({"inputs_embeds": np.zeros((1, 6, 32), int)}, "inputs_embeds: wrong dtype; expected float64"),
        ({"inputs_embeds": [["a"]]}, "inputs_embeds: not an array of numbers"),
        ({"inputs_embeds": NAN}, r"inputs_embeds\[0, 1, 3\]: not a finite number; .*found nan \(1 of 64"),
        ({"input_ids": IDS, "attention_mask": np.ones((1, 5), int)}, r"attention_mask: wrong shape; expected \(1, 6\)"),
        (
            {"input_ids": IDS, "attention_mask": np.full((1, 6), 2)},
            "attention_mask: wrong values; expected 0 or 1, found 2",
        ),
        ({"input_ids": IDS, "attention_mask": np.ones((1, 6, 6))}, "attention_mask: wrong shape"),
        (
            {"input_ids": IDS, "attention_mask": np.ones((1, 1, 6, 5), bool)},
            r"attention_mask: wrong shape; expected \(1 or 1, 4 or",
        ),
        ({"input_ids": IDS, "attention_mask": np.ones((1, 3, 6, 6), bool)}, "attention_mask: wrong shape"),
        (
            {"input_ids": IDS, "attention_mask": np.ones((1, 1, 6, 6), int)},
            "attention_mask: wrong dtype; expected booleans",
        ),
        ({"input_ids": IDS, "attention_mask": np.full((1, 1, 6, 6), np.nan)}, "attention_mask: wrong values.*NaN"),
        ({"input_ids": IDS, "position_ids": [[0, 1]]}, r"position_ids: wrong shape; expected \(1, 6\)"),
        ({"input_ids": IDS, "position_ids": [[-1, 0, 1, 2, 3, 4]]}, "position_ids: negative position"),
        ({"input_ids": IDS, "position_ids": [[0.0, 1, 2, 3, 4, 5]]}, "position_ids: wrong dtype; expected integers"),
        ({"input_ids": IDS, "cache_position": np.arange(1, 7)}, "cache_position: doesn't match the cache; .*0 … 5"),
        ({"input_ids": IDS, "cache_position": np.arange(5)}, "cache_position: doesn't match the cache"),
        ({"input_ids": IDS, "past_key_values": []}, "past_key_values: wrong type; expected a KVCache, found list"),
        ({"input_ids": IDS, "past_key_values": KVCache(3)}, "past_key_values: cache of another model; .*2 layers"),
        ({"input_ids": IDS, "past_key_values": KVCache(2, 5, fixed=True)}, "past_key_values: static cache is full"),
        ({"input_ids": IDS, "logits_to_keep": -1}, "logits_to_keep: impossible value"),
        ({"input_ids": IDS, "logits_to_keep": [6]}, "logits_to_keep: no such position; expected -6 … 5, found 6"),
        ({"input_ids": IDS, "logits_to_keep": 1.5}, "logits_to_keep: wrong dtype; expected integers"),
        ({"input_ids": IDS, "logits_to_keep": [[1], [2]]}, r"logits_to_keep: wrong shape; .*\(1, N\)"),
        ({"input_ids": IDS, "labels": IDS[:, :5]}, "labels"),
        ({"input_ids": IDS, "labels": np.full((1, 6), 61)}, "labels.*61"),
        ({"input_ids": IDS, "labels": np.full((1, 6), -1)}, "labels.*-1"),
        ({"input_ids": IDS, "labels": np.zeros((1, 6))}, "labels.*integers"),
    ],
)
def test_a_wrong_call_is_an_error_that_names_the_argument(model, arguments, message):
    with pytest.raises(LlamaError, match=message):
        model(**arguments)


def test_a_mask_shorter_than_past_and_new_is_an_error(model):
    cache = model(IDS).past_key_values
    with pytest.raises(LlamaError, match=r"attention_mask: wrong shape; expected \(1, 7\).*found \(1, 1\)"):
        model([[3]], np.zeros((1, 1), int), past_key_values=cache)
    assert len(cache) == 6


def test_embeddings_for_another_batch_than_the_cache_are_an_error(model):
    cache = model(IDS).past_key_values
    with pytest.raises(LlamaError, match="batch doesn't fit the cache; expected 1 rows, found 2"):
        model(inputs_embeds=np.zeros((2, 1, 32)), past_key_values=cache)
