"""What can't be compared is said, and never judged."""

import numpy as np
import pytest

from numpy_llama.errors import LlamaError
from numpy_llama.study.compare import compare_traces
from numpy_llama.study.compare.their_dtype import told_dtype
from numpy_llama.study.trace import Trace, TracedCall


def test_a_trace_of_another_model_by_its_config(small, run):
    theirs = run()
    theirs.config = {**theirs.config, "hidden_size": 99}
    with pytest.raises(LlamaError, match="hidden_size: a trace of another model; expected .*, found 99"):
        compare_traces(theirs, small)


def test_a_trace_of_another_model_by_its_shapes(small, run):
    theirs = run()
    theirs.config = None
    for call in theirs.calls:
        call.values = {name: np.ones((*value.shape, 5)) * value[..., None] for name, value in call.values.items()}
    with pytest.raises(LlamaError, match="no value has a shape that fits: a trace of another model"):
        compare_traces(theirs, small)


def test_settings_that_differ_are_noted(small, run):
    theirs = run()
    theirs.config = {**theirs.config, "rms_norm_eps": 0.5}
    found = compare_traces(theirs, small)
    assert any("rms_norm_eps 0.5" in note for note in found.notes)


def test_another_prompt_is_said_with_its_place(small, run):
    ours, theirs = run(), run()
    theirs.calls[0].input_ids = theirs.calls[0].input_ids.copy()
    theirs.calls[0].input_ids[1, 4] ^= 1
    with pytest.raises(LlamaError, match=r"call.0000/input_ids\[1, 4\]: another prompt"):
        compare_traces(theirs, small, ours)


def test_a_later_token_of_their_own_ends_the_comparison_and_not_the_verdict(small, run):
    ours, theirs = run(), run({"call.0000/model.layers.0.mlp": lambda x: x * 2})
    theirs.calls[1].input_ids = theirs.calls[1].input_ids ^ 1
    found = compare_traces(theirs, small, ours)
    assert found.status == 1 and found.kinds == ["prefill"]
    assert any("call.0001/input_ids" in note for note in found.notes)


def test_missing_and_unknown_names_are_listed(small, run):
    theirs = run()
    del theirs.calls[0].values["model.layers.0.mlp.gated"]
    theirs.calls[0].values["model.layers.0.wonder"] = np.ones(3)
    found = compare_traces(theirs, small)
    assert found.status == 0
    assert found.missing[0] == ["model.layers.0.mlp.gated"]
    assert found.unknown == ["call.0000/model.layers.0.wonder"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no value that ours has; expected .*, found no values at all"),
        ({"wonder": np.ones(3)}, "no value that ours has; expected .*, found wonder"),
        ({"lm_head": np.full((1, 2, 48), np.nan)}, "holds nothing but NaN"),
    ],
)
def test_nothing_to_compare(small, values, message):
    theirs = Trace([TracedCall(0, 0, np.array([[1, 2]]), None, None, values)])
    with pytest.raises(LlamaError, match=message):
        compare_traces(theirs, small)


def test_no_ids_and_nothing_to_compare_with(small, run):
    theirs = Trace([TracedCall(0, 0, None, None, None, {"lm_head": np.zeros((1, 2, 48))})])
    with pytest.raises(LlamaError, match="no input_ids"):
        compare_traces(theirs, small)
    with pytest.raises(LlamaError, match="nothing to compare with"):
        compare_traces(run(), None)


def test_a_value_of_an_impossible_shape_leaves_no_clean_verdict(small, run):
    theirs = run()
    theirs.calls[0].values["model.norm"] = np.ones((3, 3))
    found = compare_traces(theirs, small)
    assert found.status == 2 and [misfit.name for misfit in found.misfits] == ["model.norm"]


@pytest.mark.parametrize("stored", ["float64", "float32"])
def test_the_dtype_is_told_from_the_numbers(small, run, stored):
    from numpy_llama import LlamaForCausalLM
    from numpy_llama.precision import float_dtype
    from tests.study.compare.conftest import padded_calls

    tensors = {name: array.astype(float_dtype("bfloat16")) for name, array in small.tensors.items()}
    theirs = padded_calls(small, LlamaForCausalLM(small.config, tensors))
    theirs.dtype = stored
    for call in theirs.calls:
        call.values = {name: value.astype(stored) for name, value in call.values.items()}
    found = compare_traces(theirs, small)
    assert (found.dtype, found.status) == ("bfloat16", 0)
    assert found.notes == [f"the numbers are bfloat16 ones, stored as {stored}"]
    if stored == "float32":  # judged as that, it is far off
        for call in theirs.calls:
            call.values = {name: call.values[name] for name in ("model.norm", "lm_head")}
        assert compare_traces(theirs, small, their_dtype="float32").status == 1


def test_nothing_but_padding_is_no_agreement(small):
    mask, values = np.zeros((1, 2), int), {"lm_head": np.ones((1, 2, 48), np.float32)}
    theirs = Trace([TracedCall(0, 0, np.array([[1, 2]]), mask, None, values)])
    with pytest.raises(LlamaError, match="nothing but padding"):
        compare_traces(theirs, small)


def test_what_the_model_cannot_be_asked_is_said_with_file_and_call(small, run):
    theirs = run()
    theirs.calls[1].input_ids[0, 0] = 999
    with pytest.raises(LlamaError, match=r": call 1: input_ids\[0, 0\]: token id out of range"):
        compare_traces(theirs, small)


def test_positions_that_are_not_given_may_skip_padding_or_count_it(small, run):
    """A bare forward pass counts it, generate skips it; neither is a mistake of whoever leaves them out."""
    theirs = run()
    assert compare_traces(theirs, small).status == 0
    for call in theirs.calls:
        call.position_ids = None
    found = compare_traces(theirs, small)
    assert found.status == 0

    ids, mask = np.array([[4, 0, 0, 6, 7]]), np.array([[1, 0, 0, 1, 1]])
    logits = small(ids, attention_mask=mask, position_ids=np.array([[0, 0, 0, 1, 2]])).logits
    theirs = Trace([TracedCall(0, 0, ids, mask, None, {"lm_head": logits})])
    found = compare_traces(theirs, small)
    assert found.status == 0 and any("skip padding" in note for note in found.notes)
    theirs.calls[0].values["lm_head"] = 2 * logits
    found = compare_traces(theirs, small)
    assert found.status == 1 and any("no position_ids given" in note for note in found.notes)


def test_float16_numbers_that_are_small_are_not_taken_for_bfloat16():
    values = np.float16(1e-6) * np.arange(1, 30, dtype=np.float16)
    for stored in (np.float16, np.float32):
        theirs = Trace([TracedCall(0, 0, np.array([[1]]), None, None, {"lm_head": values.astype(stored)})])
        assert told_dtype(theirs)[0] == "float16"
