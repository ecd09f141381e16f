"""A value is called wrong by itself only where all that it reads is there, cached keys and values included."""

import numpy as np

from numpy_llama.cli.compare_text import as_text
from numpy_llama.study.compare import compare_traces

WRONG = {"call.0000/model.layers.0.self_attn.v_proj": lambda x: x * 2}


def test_with_logits_alone_a_later_call_may_follow(small, run):
    theirs = run(WRONG)
    for call in theirs.calls:
        call.values = {"lm_head": call.values["lm_head"]}
    found = compare_traces(theirs, small)
    assert found.first.full_name == "call.0000/lm_head"
    assert not found.others and [one.full_name for one in found.unsure] == ["call.0001/lm_head"]
    text = as_text(found)
    assert "may follow" in text and "by itself" not in text and "by themselves" not in text


def test_a_cache_that_nobody_dumped(small, run):
    """The second call is there, whole; its cached values are those of the first, of which only the logits are."""
    theirs = run(WRONG)
    theirs.calls[0].values = {"lm_head": theirs.calls[0].values["lm_head"]}
    found = compare_traces(theirs, small)
    assert "call.0001/model.layers.0.self_attn.values" in [one.full_name for one in found.unsure]
    assert not found.others


def test_a_second_mistake_whose_cause_is_not_shown(small, run):
    """Without q_proj nobody can say whether the query's rotation is wrong or q_proj before it."""
    wrong = {"call.0000/model.layers.0.mlp": lambda x: x * 2, "call.0000/*.1.self_attn.q_proj": np.negative}
    rotated = "call.0000/model.layers.1.self_attn.query_rotated"
    for left_out in ("q_proj", "nothing"):
        theirs = run(wrong)
        for call in theirs.calls:
            call.values = {name: value for name, value in call.values.items() if not name.endswith(left_out)}
        found = compare_traces(theirs, small)
        certain, unsure = ([one.full_name for one in some] for some in (found.others, found.unsure))
        assert (rotated in unsure and not certain) if left_out == "q_proj" else (len(certain) == 1 and not unsure)


def test_two_names_of_one_array_need_not_both_be_there(small, run):
    wrong = {
        "call.0000/model.layers.0.mlp": lambda x: x * 2,
        "call.0000/model.layers.1.after_attention": lambda x: x * 2,
    }
    theirs = run(wrong)
    for call in theirs.calls:
        call.values = {name: value for name, value in call.values.items() if not name.endswith("self_attn")}
    found = compare_traces(theirs, small)
    assert [one.full_name for one in found.others] == ["call.0000/model.layers.1.after_attention"]
