"""A mask that is wrong is found at the scores, where it begins, also where theirs lacks the mask itself."""

import numpy as np
import pytest

from numpy_llama.study.compare import compare_traces
from numpy_llama.study.trace import patch, trace

SCORES = "model.layers.0.self_attn.scores"
SECOND = "call.0001/model.causal_mask"


def without(theirs, *endings):
    for call in theirs.calls:
        call.values = {name: value for name, value in call.values.items() if not name.endswith(endings)}
    return theirs


def with_chunk(small, patches):
    with patch(patches), trace() as recorded:
        past = small([[5, 3, 9, 7]], use_cache=True).past_key_values
        small([[4, 8, 2]], past_key_values=past)
    return recorded


def before_the_mask(theirs):
    """Their scores as they are before the mask is added, as llama.cpp's kq."""
    for call in theirs.calls:
        for name, query in list(call.values.items()):
            if name.endswith("query_rotated"):
                keys = call.values[name.replace("query_rotated", "keys")]
                keys = np.repeat(keys, query.shape[1] // keys.shape[1], axis=1)
                scores = query @ keys.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
                call.values[name.replace("query_rotated", "scores")] = scores.astype(query.dtype)
    return theirs


def test_the_mask_left_out_in_a_chunk(small):
    theirs = with_chunk(small, {SECOND: np.zeros_like})
    found = compare_traces(theirs, small)
    assert found.first.full_name == SECOND and not found.others and not found.unsure
    found = compare_traces(without(theirs, "causal_mask"), small)
    assert found.first.full_name == f"call.0001/{SCORES}"
    assert found.first.difference.kind == "mask"
    assert found.first.difference.says == "theirs isn't hidden at keys 5–6 for queries 0–1: the mask"
    assert all(other.name.endswith("scores") for other in [*found.others, *found.unsure])  # the other layer's


def test_padding_ignored_in_decode(small, run):
    found = compare_traces(without(run({SECOND: np.zeros_like}), "causal_mask"), small)
    assert found.first.full_name == f"call.0001/{SCORES}"
    assert found.first.difference.where == {"B": [0], "S": [0, 1]}
    assert found.first.difference.says == "theirs isn't hidden at keys 0–1: the mask"


def test_keys_hidden_that_may_be_seen(small, run):
    def hide(mask):
        mask = mask.copy()
        mask[1, 0, 4, 2:4] = np.finfo(mask.dtype).min
        return mask

    found = compare_traces(without(run({"call.0000/model.causal_mask": hide}), "causal_mask"), small)
    assert found.first.full_name == f"call.0000/{SCORES}"
    assert found.first.difference.says == "theirs hides keys 2–3 for query 4, that ours may look at: the mask"
    assert found.first.difference.where["B"] == [1]


@pytest.mark.parametrize("hidden", [-np.inf, -60000.0, -1e9])
@pytest.mark.parametrize("changed", [{}, {SECOND: np.zeros_like}])
def test_any_big_negative_number_hides(small, run, hidden, changed):
    theirs = without(run(changed), "causal_mask")
    for call in theirs.calls:
        for name, value in call.values.items():
            if name.endswith("scores"):
                call.values[name] = np.where(value < -1e30, hidden, value)
    found = compare_traces(theirs, small)
    assert found.first is None if not changed else found.first.full_name == f"call.0001/{SCORES}"


def test_padded_queries_may_look_anywhere(small, run):
    def look(mask):
        mask = mask.copy()
        mask[0, 0, :2] = 0
        return mask

    assert compare_traces(run({"call.0000/model.causal_mask": look}), small).status == 0


@pytest.mark.parametrize("left_out", [(), (".weights",), (".weights", ".context", ".values", "v_proj")])
def test_scores_from_before_the_mask_are_a_convention(small, run, left_out):
    theirs = without(before_the_mask(run()), "causal_mask", *left_out)
    found = compare_traces(theirs, small)
    assert found.status == 0 and any("without the mask" in note for note in found.notes)
    theirs = without(
        before_the_mask(run({"call.0001/model.layers.1.mlp.up_proj": lambda x: x * 2})), "causal_mask", *left_out
    )
    found = compare_traces(theirs, small)
    assert found.first.full_name == "call.0001/model.layers.1.mlp.up_proj" and not found.others


@pytest.mark.parametrize("left_out", [(), (".weights",)])
def test_a_mask_left_out_everywhere_is_no_convention(small, run, left_out):
    theirs = without(run({"*model.causal_mask": np.zeros_like}), "causal_mask", *left_out)
    found = compare_traces(theirs, small)
    assert found.first.full_name == f"call.0000/{SCORES}" and found.first.difference.kind == "mask"


def test_a_wrong_mask_and_wrong_numbers_together(small, run):
    theirs = run({SECOND: np.zeros_like, f"call.0001/{SCORES}": lambda x: x * 1.25})
    found = compare_traces(without(theirs, "causal_mask"), small)
    assert found.first.difference.kind == "scale" and "isn't hidden" in found.first.difference.says


def test_what_comes_of_padding_that_is_looked_at_follows(small, run):
    """In the next layer their padding holds other numbers than ours, and real tokens read them."""
    theirs = without(run({"*model.causal_mask": np.zeros_like}), "causal_mask")
    found = compare_traces(theirs, small)
    assert found.first.full_name == f"call.0000/{SCORES}"
    assert not [one.full_name for one in found.others if not one.name.endswith("scores")]
