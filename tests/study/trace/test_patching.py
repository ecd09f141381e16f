"""Changing a value on its way: what follows is changed, what came before is not."""

import warnings

import numpy as np
import pytest

from numpy_llama import patch, trace
from numpy_llama.errors import LlamaError, LlamaWarning

PROMPT = [[1, 5, 9, 2, 7]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_patch_that_gives_back_its_value_changes_nothing(make_model, dtype):
    model = make_model(dtype)
    plain = model(PROMPT).logits
    for change in (lambda value: value, np.copy, lambda value: None):
        with patch({"*": change}):
            assert np.array_equal(model(PROMPT).logits, plain)


def test_without_its_mlps_the_stream_is_that_of_attention_alone(make_model):
    model = make_model()
    with patch({"*.mlp": np.zeros_like}), trace() as t:
        model(PROMPT)
    for layer in (0, 1):
        assert np.array_equal(t[f"model.layers.{layer}"], t[f"model.layers.{layer}.after_attention"])


def test_values_before_the_patch_stay_as_they_were(make_model):
    model = make_model()
    with trace() as plain:
        model(PROMPT)
    with patch({"model.layers.1.self_attn.scores": lambda scores: scores * 2}), trace() as patched:
        model(PROMPT)
    names = list(plain)
    place = names.index("call.0000/model.layers.1.self_attn.scores")
    assert all(np.array_equal(plain[name], patched[name]) for name in names[:place])
    assert not any(np.array_equal(plain[name], patched[name]) for name in names[place : place + 5])


def test_a_value_of_another_run_takes_this_one_there(make_model):
    model = make_model()
    with trace() as other:
        expected = model([[3, 3, 8, 1, 4]]).logits
    with patch({"model.layers.1": other["model.layers.1"]}):
        assert np.array_equal(model(PROMPT).logits, expected)


def test_a_pattern_with_a_call_is_for_that_call(make_model):
    model, heard = make_model(), []
    with patch({"call.0001/model.norm": lambda value: heard.append(value.shape)}):
        model.generate(PROMPT, max_new_tokens=3)
    assert heard == [(1, 1, 32)]
    with patch({"model.norm": lambda value: heard.append(value.shape)}):
        model.generate(PROMPT, max_new_tokens=3)
    assert heard[1:] == [(1, 5, 32), (1, 1, 32), (1, 1, 32)]


def test_the_last_of_several_that_fit_has_the_last_word(make_model):
    with patch({"*.mlp": np.zeros_like, "model.layers.0.*": lambda value: value + 1}), trace("*.mlp") as t:
        make_model()(PROMPT)
    assert (t["model.layers.0.mlp"] == 1).all() and not t["model.layers.1.mlp"].any()


@pytest.mark.parametrize("wrong", [np.zeros((1, 2)), np.zeros((1, 5, 32), int), "text", lambda value: value[:, :1]])
def test_what_cannot_take_its_place_is_refused(make_model, wrong):
    with pytest.raises(LlamaError, match="call.0000/model.layers.0.mlp"), patch({"model.layers.0.mlp": wrong}):
        make_model()(PROMPT)


def test_a_patch_that_fits_nothing_is_warned_of(make_model):
    with (
        pytest.warns(LlamaWarning, match=r"'model.layer.0.mlp'.*model\.layers\.0\.mlp"),
        patch({"model.layer.0.mlp": np.zeros_like}),
    ):
        make_model()(PROMPT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with patch({"model.layer.0.mlp": np.zeros_like}):
            pass  # nothing was run, so nothing was missed
