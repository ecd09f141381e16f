"""Perplexity: e to the loss, every token counted once, whatever the window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError, LlamaTokenizer, embedded_model_folder
from numpy_llama.study.perplexity import perplexity
from numpy_llama.study.quantization import stories


@pytest.fixture(scope="module")
def small(make_model):
    return make_model("float64")


@given(ids=st.lists(st.integers(0, 60), min_size=2, max_size=30))
def test_a_short_texts_perplexity_is_e_to_the_loss(small, ids):
    found = perplexity(small, [ids])
    assert found.tokens == len(ids) - 1
    np.testing.assert_allclose(found.value, np.exp(small([ids], labels=[ids]).loss), rtol=1e-12)


@given(
    ids=st.lists(st.integers(0, 60), min_size=2, max_size=40),
    window=st.integers(2, 20),
    share=st.floats(0, 0.999),
)
def test_each_token_is_scored_once_with_the_window_before_it(small, ids, window, share):
    """The plainest way: for each token, the window in which it comes first, and its probability there."""
    stride = 1 + int(share * (window - 1))
    total = 0.0
    for position in range(1, len(ids)):
        steps = max(0, -(-(position + 1 - window) // stride))  # windows that end before it
        begin = steps * stride
        logits = small([ids[begin:position]]).logits[0, -1]
        total -= logits[ids[position]] - np.log(np.exp(logits).sum())
    found = perplexity(small, [ids], window, stride)
    assert found.tokens == len(ids) - 1
    np.testing.assert_allclose(found.value, np.exp(total / (len(ids) - 1)), rtol=1e-9)


def test_all_tokens_of_all_texts_weigh_the_same(small):
    texts = [[1, 2, 3, 4, 5, 6, 7], [9], [8, 60]]
    one, two = (perplexity(small, [text]) for text in (texts[0], texts[2]))
    both = perplexity(small, texts)
    assert both.tokens == one.tokens + two.tokens == 7
    np.testing.assert_allclose(np.log(both.value), (6 * np.log(one.value) + np.log(two.value)) / 7)


def test_a_model_that_knows_nothing_hesitates_among_all_tokens(make_model):
    model = make_model("float64")
    model.lm_head[...] = 0
    np.testing.assert_allclose(perplexity(model, [[1, 2, 3, 4]]).value, model.config.vocab_size)


def test_the_storyteller_knows_stories_like_its_own(storyteller):
    """Its card gives a held-out loss of 0.22435 nats a token, over 1,000 stories and their ends; these are 16."""
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder())
    found = perplexity(storyteller, [tokenizer(text)["input_ids"] for text in stories()])
    assert abs(np.log(found.value) - 0.22435) < 0.02
    assert found.tokens == 2557


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([],), "texts: nothing to foresee"),
        (([[1], []],), "texts: nothing to foresee"),
        (([[1, 2]], 1), "window: impossible value"),
        (([[1, 2]], 4, 4), "stride: impossible value; expected an integer from 1 to 3"),
        (([[1, 2]], 4, 0), "stride: impossible value"),
        (([[1, 61]],), "input_ids"),
    ],
)
def test_what_cannot_be_measured_is_said(small, arguments, complaint):
    with pytest.raises(LlamaError, match=complaint):
        perplexity(small, *arguments)
