"""Positions that don't follow are worth a remark; positions that do are not."""

import numpy as np
import pytest

from numpy_llama.checkpoints import data_folder
from numpy_llama.study.trace import TracedCall, read_trace
from numpy_llama.study.trace.following import positions_that_do_not_follow


def calls(*positions, mask=None):
    made, past = [], 0
    for index, row in enumerate(positions):
        given = np.array(row).reshape(-1, np.shape(row)[-1])
        made.append(TracedCall(index, past, np.ones_like(given), mask if index == 0 else None, given))
        past += given.shape[1]
    return made


@pytest.mark.parametrize("shift", [0, 1, 100])
def test_positions_that_go_on_are_right_wherever_they_begin(shift):
    assert positions_that_do_not_follow(calls([shift, shift + 1, shift + 2], [shift + 3], [shift + 4, shift + 5])) == []


@pytest.mark.parametrize(("wrong", "follows"), [(4, 3), (2, 3), (0, 3)])
def test_a_call_that_goes_on_elsewhere_is_named(wrong, follows):
    (remark,) = positions_that_do_not_follow(calls([0, 1, 2], [wrong]))
    assert remark.startswith(f"call.0001: position_ids go on at {wrong} where {follows} follows")


def test_padding_does_not_count():
    mask = np.array([[0, 0, 1], [1, 1, 1]])
    assert positions_that_do_not_follow(calls([[0, 0, 0], [0, 1, 2]], [[1], [3]], mask=mask)) == []
    (remark,) = positions_that_do_not_follow(calls([[0, 0, 0], [0, 1, 2]], [[3], [3]], mask=mask))
    assert "go on at 3 where 1 follows" in remark


def test_texts_packed_in_one_row_begin_anew():
    assert positions_that_do_not_follow(calls([0, 1, 2, 0, 1], [2])) == []


def test_calls_that_were_left_out_are_no_mistake():
    made = calls([0, 1, 2], [3], [4])
    assert positions_that_do_not_follow([made[0], made[2]]) == []


def test_the_litmus_script_follows():
    for script in ("script.safetensors", "plain/script.safetensors"):
        assert read_trace(data_folder() / "litmus" / script).notes == []
