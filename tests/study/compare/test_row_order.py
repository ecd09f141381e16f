"""Rows of q and k in neighbours' order are a convention where all of them are, and hide no mistake behind them."""

import numpy as np
import pytest

from numpy_llama.checkpoints.rope_layout import neighbours_from_halves
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.study.compare import compare_traces
from numpy_llama.study.compare.row_order import NOTE, WRONG_PAIRS
from numpy_llama.study.subject import Subject, calls_of
from numpy_llama.study.trace import trace

QUERIES_AND_KEYS = ("q_proj", "k_proj", "query_rotated", "key_rotated", ".keys")
FULL = ("",)
ATTENTION = ("q_proj", "k_proj", "scores", "weights", "self_attn", "lm_head")
SPARSE = ("k_proj", "scores", "lm_head")
HEADS = "call.0000/model.layers.0.self_attn"


def neighbours(value, heads):
    return neighbours_from_halves(value.swapaxes(0, -1), heads).swapaxes(0, -1)


def reordered(theirs, head_dim, wanted=lambda name: True):
    """With queries and keys as a port has them that keeps Meta's rows."""
    for call in theirs.calls:
        for name, value in list(call.values.items()):
            if name.endswith(QUERIES_AND_KEYS) and wanted(name):
                call.values[name] = neighbours(value, value.shape[-1] // head_dim)
    return theirs


@pytest.fixture(scope="module")
def port(small, run):
    """port(keys, endings): the values of these endings, of a run with the catalogue's mistakes."""
    calls = calls_of(run())

    def recorded(keys=(), endings=FULL):
        subject = Subject(small.config, small.tensors, calls)
        for key in keys:
            subject = next(iter(CATALOGUE[key].plant(subject)))[1]
        with trace() as theirs:
            subject.run()
        for call, asked in zip(theirs.calls, calls, strict=True):
            call.position_ids = asked.position_ids
            call.values = {name: value for name, value in call.values.items() if name.endswith(endings)}
        return theirs

    return recorded


@pytest.mark.parametrize("endings", [FULL, ATTENTION, SPARSE, ("query_rotated", ".keys", "lm_head")])
def test_a_right_port_of_neighbours_agrees_and_says_so_once(small, port, endings):
    found = compare_traces(reordered(port((), endings), small.config.head_dim), small)
    assert {finding.verdict for finding in found.findings} == {"agrees"}
    assert found.notes == [NOTE]


@pytest.mark.parametrize(
    ("endings", "keys"),
    [(FULL, ["scale-missing", "relu-for-silu"]), (ATTENTION, ["kv-heads-tiled"]), (SPARSE, ["kv-heads-tiled"])],
)
def test_a_mistake_behind_it_is_the_first_that_disagrees(small, port, endings, keys):
    found = compare_traces(reordered(port(keys, endings), small.config.head_dim), small)
    assert found.first.full_name == f"{HEADS}.scores" and found.notes == [NOTE]
    if endings == FULL:  # otherwise what is lacking in between may be wrong, too
        assert not any(other.name.endswith(QUERIES_AND_KEYS) for other in found.others)


def test_a_mistake_before_it_is_the_first_and_the_order_is_told_from_their_values(small, port):
    values = ("norm", "q_proj", "k_proj", "scores", "layers.0", "lm_head")
    found = compare_traces(reordered(port(["norm-one-plus-weight"], values), small.config.head_dim), small)
    assert found.first.full_name == "call.0000/model.layers.0.input_layernorm" and found.notes == [NOTE]
    assert all(other.name.endswith("norm") for other in found.others)


@pytest.mark.parametrize(
    ("endings", "first"),
    [(("q_proj", "query_rotated", "scores", "lm_head"), f"{HEADS}.query_rotated"), (SPARSE, f"{HEADS}.scores")],
)
def test_neighbours_rows_and_a_rope_of_halves_is_said(small, port, endings, first):
    found = compare_traces(port(["qk-rows-permuted"], endings), small)
    assert found.first.full_name == first and found.notes == [NOTE, WRONG_PAIRS]


@pytest.mark.parametrize("key", ["qk-rows-unpermuted", "k-rows-permuted", "q-heads-permuted", "qk-bias-unpermuted"])
def test_any_other_order_is_a_disagreement_where_it_stands(small, port, key):
    found = compare_traces(port([key], ("q_proj", "k_proj", "lm_head")), small)
    expected = CATALOGUE[key].first.replace("{i}", "0")
    assert found.first.full_name == f"call.0000/{expected}" and not found.notes


@pytest.mark.parametrize("part", ["layers.0", "layers.1"])
def test_rows_of_some_layers_alone_are_a_disagreement(small, port, part):
    theirs = reordered(port((), ("q_proj", "k_proj", "lm_head")), small.config.head_dim, lambda name: part in name)
    for call in theirs.calls:  # what follows is wrong, so it is no other order of the same
        call.values["lm_head"] = np.zeros_like(call.values["lm_head"])
    found = compare_traces(theirs, small)
    assert found.first.full_name == f"call.0000/model.{part}.self_attn.q_proj" and not found.notes
