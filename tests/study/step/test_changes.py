"""A value is changed, the model run again; an undo restores everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama import LlamaError
from numpy_llama.precision import float_dtype
from numpy_llama.study.step import Session, first_run
from numpy_llama.study.step.changes import read_change
from numpy_llama.study.step.slices import read_index
from numpy_llama.study.trace import patch, trace

NAMES = ["model.embed_tokens", "model.layers.0.self_attn.key_rotated", "model.layers.1.mlp.gated", "lm_head"]


def equal(ours, theirs):
    return list(ours) == list(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("call", [0, 1])
def test_a_change_is_the_same_patch_by_hand(session, small_run, name, call):
    session.stepper.go(call, name)
    session.change("[..., 1:3] * 2")

    def double(value):
        value = value.copy()
        value[..., 1:3] *= 2
        return value

    with patch({f"call.{call:04d}/{name}": double}), trace() as by_hand:
        output = small_run.model([[1, 17, 3, 58, 40]])
        for place in (1, 2):
            ids = small_run.trace.calls[place].input_ids
            output = small_run.model(ids, past_key_values=output.past_key_values)
    assert equal(session.stepper.trace, by_hand)
    assert not equal(session.stepper.trace, small_run.trace)


@settings(max_examples=12)
@given(st.data())
def test_changes_that_are_undone_leave_nothing(small_run, data):
    session = Session(small_run.trace, str, small_run)
    seen = [session.stepper.trace]
    for name in data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)):
        session.stepper.go(data.draw(st.integers(0, 2)), name)
        session.change(data.draw(st.sampled_from(["= 0", "* -1", "[0] + 1", "/ 0", "= nan"])))
        seen.append(session.stepper.trace)
    for before in reversed(seen[:-1]):
        session.undo()
        assert equal_or_nan(session.stepper.trace, before)
    assert session.stepper.trace is small_run.trace
    with pytest.raises(LlamaError, match="nothing to undo"):
        session.undo()


def equal_or_nan(ours, theirs):
    return all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in theirs)


def test_a_change_moves_only_what_is_computed_from_it(session):
    session.stepper.go(1, "model.layers.1.self_attn.q_proj")
    session.change("= 0")
    moved = {full for call, tree in enumerate(session.stepper.trees) for full in
             (f"{call} {name}" for name in tree.names if not session.moved(call, name).equal)}  # fmt: skip
    inside = ["q_proj", "query_rotated", "scores", "weights", "context", "o_proj"]
    assert {f"1 model.layers.1.self_attn.{name}" for name in inside} < moved
    assert not [name for name in moved if not name.startswith("1 ") or ".layers.0" in name or "k_proj" in name]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_changed_value_keeps_its_dtype_and_is_rounded_once(dtype):
    value = np.linspace(-3, 3, 12).reshape(3, 4).astype(float_dtype(dtype))
    kept, wide = value.copy(), value.astype(np.float64 if dtype == "float64" else np.float32)
    third = wide.copy()
    third[:, 2] /= 3
    for text, expected in (("* 3.7", wide * 3.7), ("+ 0.1", wide + 0.1), ("[:, 2] / 3", third)):
        changed = read_change(text, "x", value.shape)(value)
        assert changed.dtype == value.dtype
        assert np.array_equal(changed, expected.astype(value.dtype))
    assert np.array_equal(value, kept), "the value itself is as it was"


INDICES = {"[0]": np.s_[0], "0": np.s_[0], "[0, 3, :5]": np.s_[0, 3, :5], "[..., -1]": np.s_[..., -1], "": np.s_[...],
           "[1:, ::2]": np.s_[1:, ::2], "[:]": np.s_[:], "[0, ..., 2:4:1]": np.s_[0, ..., 2:4:1], "[]": np.s_[...],
           "[ -1 , 0,]": np.s_[-1, 0], "[:-1]": np.s_[:-1], "[…, 0]": np.s_[..., 0]}  # fmt: skip


@pytest.mark.parametrize("text", INDICES)
def test_an_index_is_what_numpy_makes_of_it(text):
    array = np.arange(2 * 4 * 6).reshape(2, 4, 6)
    assert np.array_equal(array[read_index(text, array.shape)], array[INDICES[text]])


@pytest.mark.parametrize("text", ["[2]", "[0, 4]", "[0, 0, 0, 0]", "[..., ...]", "[a]", "[__import__('os')]", "[0",
                                  "0]", "[1.5]", "[::0]", "[0,,1]", "[..., -7]", "[None]", "[True]", "[1e3]", "[0][0]",
                                  "[" + "9" * 13 + "]", "[:" + "9" * 99 + "]", "[0:1:2:3]", "[²]"])  # fmt: skip
def test_what_is_no_index_is_refused(text):
    with pytest.raises(LlamaError):
        read_index(text, (2, 4, 6))


@pytest.mark.parametrize("text", ["", "0", "[0]", "= ", "= x", "== 2", "** 2", "[9] = 0", "= 1 2", "[0] [1] = 2",
                                  "= 1j", "= exec", "[0, 3] 0", "% 2"])  # fmt: skip
def test_what_is_no_change_is_refused_and_nothing_is_changed(session, text):
    with pytest.raises(LlamaError):
        session.change(text)
    assert session.changes == []
    assert session.stepper.trace is session.trace


def test_a_run_is_that_of_generate(storyteller):
    ids = [1, 424, 380, 261, 347]
    run = first_run(storyteller, ids, steps=4)
    fed = [int(call.input_ids[0, 0]) for call in run.trace.calls[1:]]
    expected = storyteller.generate([ids], max_new_tokens=4, do_sample=False)
    assert fed == list(np.asarray(expected)[0, 5:])


def test_without_a_model_nothing_can_be_changed(small_run):
    session = Session(small_run.trace)
    with pytest.raises(LlamaError, match="no model"):
        session.change("= 0")
