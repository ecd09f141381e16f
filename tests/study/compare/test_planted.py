"""Whatever is changed in a run is found: the first value, the kind, the place; and what only follows from it is told
apart from a second mistake."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.model.values import VALUES, value_named
from numpy_llama.study.compare import compare_traces

WIDE = ["self_attn.query_rotated", "self_attn.context", "mlp.gated", "self_attn.o_proj", "post_attention_layernorm"]


def at(name, layer, call):
    return f"call.{call:04d}/model.layers.{layer}.{name}"


@given(name=st.sampled_from(WIDE), layer=st.integers(0, 1), call=st.integers(0, 1), data=st.data())
@settings(max_examples=3)
def test_one_number_is_found_with_its_place(small, run, name, layer, call, data):
    full = at(name, layer, call)
    shape = run()[full].shape
    axis = value_named(full.partition("/")[2]).shape.index("T")
    index = tuple(data.draw(st.integers(2 if i == axis and size == 6 else 0, size - 1)) for i, size in enumerate(shape))

    def change(value):
        value = value.copy()
        value[index] += 1e-3 * np.sqrt(np.mean(value**2))
        return value

    found = compare_traces(run({full: change}), small)
    assert found.first.full_name == full
    assert found.first.difference.kind == "elements"
    assert found.first.difference.worst == index
    assert not found.others and not found.between


def test_a_second_mistake_is_told_from_what_follows(small, run):
    first, second = at("mlp.up_proj", 0, 0), at("self_attn.v_proj", 1, 1)
    found = compare_traces(run({first: lambda x: x * 2, second: lambda x: -x}), small)
    assert found.first.full_name == first
    assert [other.full_name for other in found.others] == [second]
    assert found.others[0].difference.kind == "sign"
    assert len(found.following) > 20


def test_a_mistake_smaller_than_what_rounding_left_behind_is_found_from_their_own_values(small, run):
    """In the second layer float32's error bar is wider than in the first; fed with their values it isn't."""
    full = at("mlp.down_proj", 1, 0)
    found = compare_traces(run({full: lambda x: x * np.float32(1 + 2e-5)}), small)
    assert found.first.full_name == full


def test_between_what_agrees_and_what_differs_lies_what_a_partial_dump_lacks(small, run):
    theirs = run({at("self_attn.scores", 1, 0): lambda x: np.where(x > -1e30, x * 1.01, x)})
    kept = ("model.layers.0", "model.layers.1", "lm_head")
    for call in theirs.calls:
        call.values = {name: call.values[name] for name in kept}
    found = compare_traces(theirs, small)
    assert found.first.full_name == "call.0000/model.layers.1"
    assert found.before == ["model.layers.0"]
    assert "model.layers.1.self_attn.scores" in found.between
    assert not any(name.startswith("model.layers.0") for name in found.between)
    assert found.missing[0]


def test_what_comes_out_of_nan_follows_from_it(small, run):
    full = at("self_attn.v_proj", 0, 0)

    def spoil(value):
        value = value.copy()
        value[1, 3, 2] = np.nan
        return value

    found = compare_traces(run({full: spoil}), small)
    assert found.first.full_name == full
    assert found.first.difference.kind == "nan"
    assert not found.others


def test_an_order_or_a_unit_that_is_undone_afterwards_is_no_mistake(small, run):
    """The scale of the scores may stand in the queries, and both in any order of channels."""
    theirs, D = run(), small.config.head_dim
    for call in theirs.calls:
        for name, value in list(call.values.items()):
            if name.endswith((".query_rotated", ".key_rotated", ".keys")):
                call.values[name] = value[..., ::-1]
            if name.endswith(".v_proj"):
                call.values[name] = value / np.sqrt(D).astype(value.dtype)
    found = compare_traces(theirs, small)
    assert found.status == 0
    elsewhere = {
        finding.name.rpartition(".")[2]: finding.difference.kind
        for finding in found.findings
        if finding.verdict == "elsewhere"
    }
    assert elsewhere == {"query_rotated": "permuted", "key_rotated": "permuted", "keys": "permuted", "v_proj": "scale"}


def test_the_values_of_another_name_are_recognised(small, run):
    theirs = run()
    for call in theirs.calls:
        values = call.values
        gate, up = "model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj"
        values[gate], values[up] = values[up], values[gate]
    found = compare_traces(theirs, small)
    assert any("agrees with what ours calls call.0000/model.layers.1.mlp.up_proj" in note for note in found.notes)


def test_padding_is_not_compared(small, run):
    theirs = run()
    for name, value in list(theirs.calls[0].values.items()):
        axes = value_named(name).shape
        if axes[0] == "B" and "T" in axes:
            spoilt = np.moveaxis(value.copy(), axes.index("T"), 1)
            spoilt[0, :2] = np.nan
            theirs.calls[0].values[name] = np.moveaxis(spoilt, 1, axes.index("T"))
    assert compare_traces(theirs, small).status == 0


@pytest.mark.parametrize("hidden", [-np.inf, -1e4, np.nan])
def test_hidden_scores_may_be_anything(small, run, hidden):
    """A mask of −∞, a small finite one, or none yet: what hides a score is each one's own matter."""
    theirs = run()
    for call in theirs.calls:
        for name, value in list(call.values.items()):
            if name.endswith("scores"):
                call.values[name] = np.where(value < -1e30, hidden, value)
    assert compare_traces(theirs, small).status == 0


def test_a_score_hidden_that_may_be_seen_is_found(small, run):
    def hide(value):
        value = value.copy()
        value[..., 0] = -1e9
        return value

    found = compare_traces(run({at("self_attn.scores", 0, 1): hide}), small)
    assert found.first.name.endswith("scores")
    assert found.first.difference.where.get("S") == [0]


def test_every_value_of_the_table_is_looked_at(run):
    names = {name.rpartition("/")[2] for name in run()}
    assert len({name for name in names if "layers.0" in name}) == sum("{i}" in name for name in VALUES)
