"""One walks through a trace forward and back, and never loses the way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError
from numpy_llama.study.step import Stepper
from numpy_llama.study.trace import Trace, TracedCall


def everywhere(stepper):
    """Every value, by next and into alone, from the first place on."""
    seen = [stepper.full_name]
    while stepper.into():
        seen.append(stepper.full_name)
    while stepper.next():
        seen.append(stepper.full_name)
        while stepper.into():
            if stepper.full_name in seen:  # at the end of a level one stands at what it makes up, and has been inside
                stepper.out()
                break
            seen.append(stepper.full_name)
    return seen


def test_next_and_into_reach_every_value(small_run):
    assert set(everywhere(Stepper(small_run.trace))) == set(small_run.trace)


def test_a_whole_pass_forward_and_back_shows_the_values_of_the_trace(small_run):
    stepper, forward = Stepper(small_run.trace), []
    while True:
        assert np.array_equal(stepper.value, small_run.trace[stepper.full_name])
        forward.append(stepper.full_name)
        if not stepper.next():
            break
    backward = [stepper.full_name]
    while stepper.back():
        backward.append(stepper.full_name)
    assert backward[::-1] == forward
    prefill = [name for name in forward if name.startswith("call.0000")]
    whole = ["embed_tokens", "rotary_emb.cos", "rotary_emb.sin", "causal_mask", "layers.0", "layers.1", "norm"]
    assert prefill == [f"call.0000/model.{name}" for name in whole] + ["call.0000/lm_head"]


MOVES = st.lists(st.sampled_from(["next", "back", "into", "out"]), max_size=40)


@given(MOVES)
def test_next_then_back_is_where_one_was_and_so_is_into_then_out(small_run, moves):
    stepper = Stepper(small_run.trace)
    for move in moves:
        getattr(stepper, move)()
        here, name = stepper.place, stepper.full_name
        for there, again in (("next", "back"), ("into", "out")):
            if getattr(stepper, there)():
                assert stepper.full_name != name
                getattr(stepper, again)()
                assert stepper.full_name == name
            stepper.place = here


@given(MOVES)
def test_next_never_goes_back_in_the_order_of_computation(small_run, moves):
    stepper = Stepper(small_run.trace)
    order = {name: place for place, name in enumerate(small_run.trace)}
    for move in moves:
        before = order[stepper.full_name]
        moved = getattr(stepper, move)()
        after = order[stepper.full_name]
        assert moved == (after != before)
        assert (after > before) == (moved and move in ("next", "out"))


def test_inside_a_level_next_goes_value_by_value_and_out_at_the_end(small_run):
    stepper = Stepper(small_run.trace)
    stepper.jump("layers.0.mlp")
    stepper.into()
    walked = [stepper.name.rpartition("mlp.")[2]]
    for _ in range(6):
        stepper.next()
        walked.append(stepper.name.removeprefix("model.layers.0.mlp."))
    inside = ["gate_proj", "up_proj", "act_fn", "gated", "down_proj"]
    assert walked == [*inside, "model.layers.0.mlp", "model.layers.0"]


def test_back_out_of_the_first_value_of_a_level_is_what_came_before_the_level(small_run):
    stepper = Stepper(small_run.trace)
    stepper.jump("layers.1.self_attn.q_proj")
    stepper.back()
    assert stepper.name == "model.layers.1.input_layernorm"


@pytest.mark.parametrize("pattern", ["scores", "*.scores", "*self_attn.s*", "call.0001/*.scores", "call.*/scores"])
def test_jump_goes_round_all_that_fit(small_run, pattern):
    stepper = Stepper(small_run.trace)
    seen = [(stepper.jump(pattern), stepper.name) for _ in range(3)]
    names = [name for _, name in seen]
    assert names[:2] == ["model.layers.0.self_attn.scores", "model.layers.1.self_attn.scores"]
    assert names[2] == names[0]
    assert [which for (which, _), _ in seen[:2]] == [1, 2]


@pytest.mark.parametrize("pattern", ["nothing", "call.0009/*", "score", "", "[", "*/*/*"])
def test_what_nothing_fits_is_said_and_one_stays(small_run, pattern):
    stepper = Stepper(small_run.trace)
    here = stepper.place
    with pytest.raises(LlamaError, match="no value fits"):
        stepper.jump(pattern)
    assert stepper.place == here


def test_a_trace_with_holes_is_walked_as_far_as_it_goes():
    values = {name: np.ones((1, 2, 3), np.float32) for name in ("model.layers.0.mlp", "lm_head", "strange", "a.b")}
    stepper = Stepper(Trace([TracedCall(0, values={}), TracedCall(4, values=values)]))
    names = [stepper.name]
    while stepper.next():
        names.append(stepper.name)
    assert names == ["model.layers.0.mlp", "lm_head", "strange", "a.b"]
    assert stepper.full_name == "call.0004/a.b"


def test_a_trace_of_nothing_cannot_be_walked():
    with pytest.raises(LlamaError, match="no values"):
        Stepper(Trace([TracedCall(0)], source="empty.safetensors"))
