"""Stepping over near-ties: what counts as one, and what doesn't."""

import numpy as np
import pytest

from numpy_llama import LlamaForCausalLM, embedded_model_folder
from numpy_llama.conformance.greedy import follow_greedy, logits_along

ROWS = np.array([[0.0, 3.0, 1.0], [2.0, 1.9995, 0.0], [0.0, 1.0, 1.0], [5.0, 4.0, 4.9999]])


def test_clear_steps_are_neither_ties_nor_differences():
    comparison = follow_greedy(ROWS[:1], [1], 1e-3)
    assert (comparison.steps, comparison.ties, comparison.differences) == (1, (), ())


def test_a_near_tie_is_noted_whichever_token_was_taken():
    for expected, chosen in ((0, 0), (1, 0)):
        comparison = follow_greedy(ROWS[1:2], [expected], 1e-3)
        assert [(tie.expected, tie.chosen) for tie in comparison.ties] == [(expected, chosen)]
        assert comparison.ties[0].gap == pytest.approx(0.0005)
        assert not comparison.differences


def test_the_comparison_goes_on_behind_a_tie():
    comparison = follow_greedy(ROWS, [1, 1, 2, 1], 1e-3)
    assert [tie.step for tie in comparison.ties] == [1, 2]
    assert [fork.step for fork in comparison.differences] == [3]


def test_a_third_token_is_no_tie_though_the_first_two_are_close():
    """The expected token has to be one of those that are close."""
    comparison = follow_greedy(ROWS[3:], [1], 1e-3)
    assert not comparison.ties
    assert "expected token 1, chosen 0" in str(comparison.differences[0])


def test_lengths_must_fit():
    with pytest.raises(ValueError, match="4 rows of logits for 2 tokens"):
        follow_greedy(ROWS, [1, 1], 1e-3)


def test_logits_along_are_those_of_one_pass():
    model = LlamaForCausalLM.from_pretrained(embedded_model_folder(), "float64")
    prompt, tokens = [1, 300, 7], [40, 2, 900, 11]
    whole = model([[*prompt, *tokens]]).logits[0, len(prompt) - 1 : -1]
    # sums of at most a few hundred float64 products, in another order for one row than for several
    np.testing.assert_allclose(logits_along(model, prompt, tokens), whole, rtol=0, atol=1e-11)
