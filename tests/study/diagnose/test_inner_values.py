"""From inner values: diagnosis starts at the first that disagrees, so it tells twins apart, and what logits hide."""

from dataclasses import replace

import numpy as np
import pytest

from numpy_llama.checkpoints.rope_layout import neighbours_from_halves
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.mistakes.planting import with_value
from numpy_llama.study.diagnose import diagnose


def plant(subject, *keys):
    for key in keys:
        subject = next(iter(CATALOGUE[key].plant(subject)))[1]
    return subject


def test_no_mistake_is_blamed_where_there_is_none(make_subject, strange):
    subject = make_subject()
    found = diagnose(subject, strange.full(subject, subject.calls))
    assert (found.verdict, found.first) == ("agrees", None)


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("rope-interleaved", "call.0000/model.layers.0.self_attn.query_rotated"),
        ("qk-rows-unpermuted", "call.0000/model.layers.0.self_attn.q_proj"),
        ("gate-up-swapped", "call.0000/model.layers.0.mlp.gate_proj"),
        ("decode-positions-late", "call.0001/model.rotary_emb.cos"),
        ("final-norm-missing", "call.0000/model.norm.normed"),
    ],
)
def test_twins_are_told_apart_by_the_value_at_which_they_begin(make_subject, strange, key, first):
    subject = make_subject(2)
    found = diagnose(subject, strange.full(plant(subject, key), subject.calls))
    assert (found.verdict, found.mistakes, found.equals) == ("mistake", (key,), ())
    assert found.first in (first, first.removesuffix(".normed")) and found.after * 10 < found.before


def test_only_what_lives_at_the_first_disagreement_is_tried(make_subject, strange):
    subject = make_subject()
    found = diagnose(subject, strange.full(plant(subject, "relu-for-silu"), subject.calls))
    assert found.mistakes == ("relu-for-silu",) and found.tried < len(CATALOGUE) / 4


def test_several_mistakes_are_found_one_after_the_other(make_subject, strange):
    subject, keys = make_subject(), ("rope-reversed", "relu-for-silu", "norm-one-plus-weight")
    found = diagnose(subject, strange.full(plant(subject, *keys), subject.calls))
    assert found.verdict == "pair" and set(found.mistakes) == set(keys)


def test_a_partial_dump_leads_as_far_as_it_goes(make_subject, strange):
    """Of the layers' outputs alone, the mistake may be anywhere in the first layer that disagrees."""
    subject = make_subject()
    theirs = strange.full(plant(subject, "kv-heads-tiled"), subject.calls, lambda name: name.count(".") == 2)
    found = diagnose(subject, theirs)
    assert found.first == "call.0000/model.layers.0"
    assert found.mistakes == ("kv-heads-tiled",) and found.equals == ("query-heads-regrouped",)


@pytest.mark.parametrize("key", ["positions-shifted", "mask-minus-1e4"])
def test_what_shows_in_no_logits_shows_in_its_own_value(make_subject, strange, key):
    subject = make_subject()
    planted = plant(subject, key)
    assert diagnose(subject, strange.logits(planted, subject.calls), catalogue={key: CATALOGUE[key]}).unseen == (key,)
    found = diagnose(subject, strange.full(planted, subject.calls))
    assert found.mistakes == (key,) and found.last_bits is not None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("key", ["norm-in-half", "norm-rounded-after-weight", "softmax-in-half"])
def test_rounding_is_told_by_the_last_bits_of_half_precision(make_subject, strange, key, dtype):
    subject = make_subject().in_dtype(dtype)
    theirs = strange.full(plant(subject, key), subject.calls, dtype=dtype)
    found = diagnose(make_subject(), theirs)
    assert (found.verdict, found.mistakes) == ("mistake", (key,))
    assert found.last_bits[1] < 0.95 and found.last_bits[2] > 0.99
    honest = strange.full(subject, subject.calls, dtype=dtype)
    assert diagnose(make_subject(), honest).verdict == "agrees"


def test_ctrl_c_gives_what_is_known_so_far(make_subject, strange):
    subject = make_subject()

    def stop(line):
        if "relu" in line:
            raise KeyboardInterrupt

    found = diagnose(subject, strange.full(plant(subject, "relu-for-silu"), subject.calls), progress=stop)
    assert found.interrupted and found.first == "call.0000/model.layers.0.mlp.act_fn"


FEW = {
    key: CATALOGUE[key]
    for key in (
        "rope-interleaved", "qk-rows-permuted", "k-rows-permuted", "kv-heads-tiled", "scale-missing", "mask-missing",
        "gate-up-swapped", "relu-for-silu",
    )
}  # fmt: skip
NEIGHBOURS = ("q_proj", "k_proj", "query_rotated", "key_rotated", ".keys")


def in_neighbours_order(theirs, head_dim):
    """With queries and keys as a port has them that keeps Meta's rows, and turns neighbours."""
    for call in theirs.calls:
        for name, value in list(call.values.items()):
            if name.endswith(NEIGHBOURS):
                moved = neighbours_from_halves(value.swapaxes(0, -1), value.shape[-1] // head_dim)
                call.values[name] = moved.swapaxes(0, -1)
    return theirs


@pytest.mark.parametrize("endings", ["", ("q_proj", "k_proj", "scores", "self_attn")])
@pytest.mark.parametrize("keys", [(), ("kv-heads-tiled",), ("scale-missing", "relu-for-silu")])
def test_rows_in_neighbours_order_are_not_blamed_for_what_is_wrong_behind_them(make_subject, strange, keys, endings):
    subject = make_subject()
    theirs = strange.full(plant(subject, *keys), subject.calls, lambda name: name.endswith(endings))
    found = diagnose(subject, in_neighbours_order(theirs, subject.config.head_dim), catalogue=FEW)
    assert found.verdict == ("agrees", "mistake", "pair")[len(keys)] and set(found.mistakes) == set(keys)
    assert not keys or found.first == "call.0000/model.layers.0.self_attn.scores"
    assert any("neighbours' order" in said for said in found.assumptions)


@pytest.mark.parametrize("head_dim", [4, 6])
@pytest.mark.parametrize("endings", ["", ("q_proj", "lm_head")])
@pytest.mark.parametrize("key", ["rope-interleaved", "qk-rows-permuted"])
def test_the_order_of_their_rows_decides_whether_these_or_rope_is_wrong(make_subject, strange, key, endings, head_dim):
    """With four channels a head, two pairs, both orders are each other's inverse, and the logits are the same."""
    subject = make_subject(head_dim=head_dim)
    found = diagnose(
        subject, strange.full(plant(subject, key), subject.calls, lambda name: name.endswith(endings)), catalogue=FEW
    )  # fmt: skip
    assert (found.verdict, found.mistakes, found.equals) == ("mistake", (key,), ())
    assert not any("neighbours' order" in said for said in found.assumptions)


@pytest.mark.parametrize("key", ["embedding-scaled", "cache-forgotten"])
def test_mistakes_that_change_how_many_tokens_there_are_can_be_tried(make_subject, strange, key):
    """With a token to begin texts, one that is dropped or doubled is among those tried; a lost cache has fewer keys."""
    subject = make_subject(bos_token_id=1)
    subject.calls[0].input_ids[:, :4] = 1
    found = diagnose(subject, strange.full(plant(subject, key), subject.calls))
    assert (found.verdict, found.mistakes) == ("mistake", (key,))


def test_zeros_are_no_known_mistake_and_no_reason_to_stop(make_subject, strange):
    subject = make_subject(bos_token_id=1)
    theirs = strange.full(subject, subject.calls)
    for call in theirs.calls:
        call.values = {name: np.zeros_like(array) for name, array in call.values.items()}
    found = diagnose(subject, theirs)
    assert found.verdict == "unknown" and any("the same number" in one for one in found.assumptions)


def test_a_value_that_is_wrong_and_has_no_consequence_is_mentioned(make_subject, strange):
    subject = make_subject()
    theirs = strange.full(subject, subject.calls)
    theirs.calls[1].values["model.layers.1.mlp"][0, 0, 3] = np.nan
    found = diagnose(subject, theirs)
    assert found.verdict == "agrees"
    assert any(one.startswith("call.0001/model.layers.1.mlp differs") for one in found.assumptions)


def test_what_the_inner_values_rule_out_is_not_suspected(make_subject, strange):
    """Of an unknown mistake in the rotation of queries, no mistake of the MLP or of the logits is a candidate."""
    subject = make_subject()
    planted = with_value(subject, "*.query_rotated", lambda value: 0.5 * value[..., ::-1] ** 3)
    found = diagnose(subject, strange.full(planted, subject.calls))
    assert found.verdict == "unknown" and found.first == "call.0000/model.layers.0.self_attn.query_rotated"
    suspects = {key for one in found.candidates for key in one.mistakes}
    assert all(CATALOGUE[key].first.endswith("query_rotated") for key in suspects), suspects
    name, how = found.unexplained
    assert name == found.first and how


def test_several_calls_are_told_apart_by_inner_values_too(make_subject, strange):
    subject = make_subject()
    found = diagnose(subject, strange.full(plant(subject, "decode-positions-late"), subject.calls))
    assert [(one.call, one.agrees) for one in found.calls] == [(0, True), (1, False), (2, True)]
    assert diagnose(subject, strange.full(subject, subject.calls)).calls == ()


@pytest.fixture
def second_row_padded(make_subject):
    """Then the first row's mask hides nothing, and to take it for all rows is to ignore padding."""
    subject = make_subject()
    mask = np.ones((2, 9), np.int64)
    mask[1, :3] = 0
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    return replace(subject, calls=(replace(subject.calls[0], attention_mask=mask, position_ids=positions),))


@pytest.mark.parametrize("endings", ["", "lm_head", ("causal_mask", "scores")])
def test_of_two_that_are_the_same_here_the_commoner_leads_and_no_dump_is_asked_for(second_row_padded, strange, endings):
    subject = second_row_padded
    few = {key: CATALOGUE[key] for key in ("mask-of-first-row", "padding-ignored")}
    theirs = strange.full(plant(subject, "padding-ignored"), subject.calls, lambda name: name.endswith(endings))
    found = diagnose(subject, theirs, catalogue=few)
    assert (found.mistakes, found.equals, found.tell_apart) == (("padding-ignored",), ("mask-of-first-row",), ())


def test_a_value_in_the_file_decides_between_two_with_the_same_logits(make_subject, strange):
    """Both double what attention gives; the one that begins where theirs is right didn't do it."""
    subject = make_subject()
    theirs = strange.full(
        next(iter(strange.own["context-doubled"].plant(subject)))[1], subject.calls,
        lambda name: name.endswith(("self_attn", ".values", "lm_head")),
    )  # fmt: skip
    found = diagnose(subject, theirs, catalogue=strange.own)
    assert (found.mistakes, found.equals) == (("context-doubled",), ())


def test_a_mask_that_is_right_in_the_file_is_said_to_be_used_wrongly(second_row_padded, strange):
    subject = second_row_padded
    theirs = strange.full(plant(subject, "padding-ignored"), subject.calls)
    honest = strange.full(subject, subject.calls)
    theirs.calls[0].values["model.causal_mask"] = honest.calls[0].values["model.causal_mask"]
    found = diagnose(subject, theirs)
    assert (found.mistakes, found.equals) == (("padding-ignored",), ("mask-of-first-row",))
    assert (found.tell_apart, found.dump) == ((), ())
    assert any("model.causal_mask is right" in one for one in found.assumptions)
