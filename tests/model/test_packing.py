"""Packed texts: each has the logits that it has alone, and the mask says exactly who may see whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError, packed_mask, packed_positions
from numpy_llama.precision import DTYPES, lowest

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(lengths=LENGTHS)
def test_a_token_may_look_at_itself_and_what_comes_before_it_in_its_own_text(lengths):
    text_of = [text for text, length in enumerate(lengths) for _ in range(length)]
    mask = packed_mask(lengths)
    assert mask.shape == (1, 1, sum(lengths), sum(lengths)) and mask.dtype == bool
    for t, row in enumerate(mask[0, 0]):
        for s, seen in enumerate(row):
            assert seen == (text_of[s] == text_of[t] and s <= t)


@given(lengths=LENGTHS, dtype=st.sampled_from(list(DTYPES)))
def test_the_additive_mask_is_0_where_the_boolean_one_is_true_and_the_lowest_number_elsewhere(lengths, dtype):
    mask = packed_mask(lengths, dtype)
    assert mask.dtype == DTYPES[dtype]
    np.testing.assert_array_equal(mask, np.where(packed_mask(lengths), DTYPES[dtype].type(0), lowest(DTYPES[dtype])))


@given(lengths=LENGTHS)
def test_positions_begin_again_with_each_text(lengths):
    assert packed_positions(lengths).tolist() == [[i for length in lengths for i in range(length)]]


@given(lengths=LENGTHS, seed=st.integers(0, 100), additive=st.booleans())
def test_packed_texts_have_the_logits_that_they_have_alone(make_model, lengths, seed, additive):
    model = make_model("float64")
    texts = [np.random.default_rng(seed + i).integers(0, 61, length).tolist() for i, length in enumerate(lengths)]
    row = [[token_id for text in texts for token_id in text]]
    mask = packed_mask(lengths, "float64" if additive else bool)
    packed = model(row, attention_mask=mask, position_ids=packed_positions(lengths)).logits[0]
    alone = np.concatenate([model([text]).logits[0] for text in texts])
    # The same numbers added up over longer rows, most of which weigh nothing: the order of the sums differs.
    np.testing.assert_allclose(packed, alone, rtol=0, atol=1e-12 * np.abs(alone).max())


@pytest.mark.parametrize("lengths", [[], [3, 0], [2, -1], [1.5], [True], ["3"]])
def test_lengths_that_cannot_be_are_refused(lengths):
    for make in (packed_mask, packed_positions):
        with pytest.raises(LlamaError, match="lengths"):
            make(lengths)


def test_another_dtype_is_refused():
    with pytest.raises(LlamaError, match="unknown dtype"):
        packed_mask([2], "int8")
