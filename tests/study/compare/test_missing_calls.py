"""Where a dump leaves calls out, what can be asked again is compared, and what can't is named and not judged."""

from dataclasses import replace

import numpy as np
import pytest

from numpy_llama.errors import LlamaError
from numpy_llama.study.compare import compare_traces
from numpy_llama.study.trace import read_trace, trace


@pytest.fixture(scope="module")
def steps(small):
    """A prompt and three more tokens, a call each."""
    with trace() as recorded:
        past = small([[5, 3, 9, 7]], use_cache=True).past_key_values
        for token in (4, 8, 2):
            small([[token]], past_key_values=past)
    return recorded


def only(recorded, *indices, names=("scores", "model.layers.0", "lm_head"), **changes):
    calls = [replace(recorded.calls[index], **changes) for index in indices]
    for call in calls:
        call.values = {name: value for name, value in call.values.items() if name.endswith(names)}
    return replace(recorded, calls=calls, source="theirs")


def wrong(theirs, place):
    theirs.calls[place].values = {name: -value for name, value in theirs.calls[place].values.items()}
    return theirs


def test_a_call_after_unknown_ids_is_left_out_and_named(small, steps):
    found = compare_traces(wrong(only(steps, 0, 3), 1), small)
    assert found.status == 0 and found.kinds == ["prefill"]
    assert [note for note in found.notes if "call.0003" in note] == [
        "call.0003: not compared, calls before it are missing"
    ]
    assert compare_traces(wrong(only(steps, 0, 3), 0), small).status == 1


def test_a_trace_of_ours_knows_the_ids_in_between(small, steps):
    for model in (small, None):
        found = compare_traces(only(steps, 0, 3), model, steps)
        assert found.status == 0 and {finding.call for finding in found.findings} == {0, 3}
        found = compare_traces(wrong(only(steps, 0, 3), 1), model, steps)
        assert found.first.call == 3


def test_a_new_text_can_always_be_asked(small, steps):
    theirs = only(steps, 1, 2, 0)
    theirs.calls[2].index = 7
    found = compare_traces(theirs, small)
    assert found.status == 0 and {finding.call for finding in found.findings} == {7}
    assert sum("calls before it are missing" in note for note in found.notes) == 2


def test_calls_numbered_by_tokens_are_not_missing(small, steps):
    """The width of their scores says that they go on where the call before ended."""
    theirs = only(steps, 0, 1, 2, past=None)
    for call, index in zip(theirs.calls, (0, 4, 5), strict=True):
        call.index = index
    found = compare_traces(theirs, small)
    assert found.status == 0 and found.kinds == ["prefill", "decode", "decode"]


def test_a_call_without_ids_takes_those_after_it_along(small, steps):
    theirs = only(steps, 0, 1, 2)
    theirs.calls[1].input_ids = None
    found = compare_traces(theirs, small)
    assert found.status == 0 and found.kinds == ["prefill"] and len(found.notes) == 2


def test_nothing_is_left_to_compare(small, steps):
    with pytest.raises(LlamaError, match=r"call\.0003: calls before it are missing; expected after 0 tokens, found"):
        compare_traces(only(steps, 3), small)


@pytest.mark.parametrize("given", [("input_ids",), ("input_ids", "position_ids")])
def test_a_file_that_says_nothing_of_the_cache(small, steps, tmp_path, given):
    """One token alone might follow the prompt; but there were calls in between, so nobody knows what it follows."""
    for call in steps.calls:
        values = {f"{call.name}/lm_head": call.values["lm_head"], f"{call.name}/input_ids": call.input_ids}
        if "position_ids" in given:
            past = call.past
            values[f"{call.name}/position_ids"] = np.arange(past, past + call.input_ids.shape[1])[None]
        if call.index in (0, 3):
            for name, array in values.items():
                path = tmp_path / f"{name}.npy"
                path.parent.mkdir(exist_ok=True)
                np.save(path, array)
    found = compare_traces(read_trace(tmp_path), small)
    assert found.status == 0 and found.kinds == ["prefill"] and any("call.0003" in note for note in found.notes)
