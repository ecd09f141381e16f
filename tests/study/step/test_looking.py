"""What is shown of a value: statistics, what is watched, the difference from another trace, the line of code."""

import linecache
from dataclasses import replace

import numpy as np
import pytest

from numpy_llama import Blocks, LlamaForCausalLM
from numpy_llama.model.values import VALUES, table_name
from numpy_llama.study.step import Session, first_run
from numpy_llama.study.step.numbers import difference, statistics
from numpy_llama.study.step.predictions import likeliest
from numpy_llama.study.step.source_lines import own_lines
from numpy_llama.study.step.watching import HIDDEN, Sizes, Watch, look_at
from numpy_llama.study.trace import Trace, TracedCall, save_trace
from numpy_llama.study.trace.trace import Partial

IDS = [1, 17, 3, 58, 40]


def test_statistics_are_of_what_no_mask_hides(small_run):
    for full, value in small_run.trace.items():
        name = full.partition("/")[2]
        seen = statistics(look_at(name, value, Watch(), 0, Sizes()))
        numbers = value[value > HIDDEN].astype(np.float64) if name.endswith(("scores", "mask")) else value
        assert seen.count == numbers.size
        assert seen.count + seen.hidden == value.size
        assert (seen.minimum, seen.maximum) == (numbers.min(), numbers.max())
        assert seen.rms == pytest.approx(np.sqrt((numbers.astype(np.float64) ** 2).mean()), rel=1e-12)
    masked = [name for name in small_run.trace.glob("*.scores") if "call.0000" in name]
    assert masked


def test_what_is_no_number_is_counted():
    value = np.array([[[1.0, np.nan, np.inf, -np.inf, 3.0]]], np.float32)
    seen = statistics(look_at("model.norm", value, Watch(), 0, Sizes()))
    assert (seen.count, seen.nan, seen.inf, seen.minimum, seen.maximum, seen.mean) == (5, 1, 2, 1, 3, 2)


@pytest.mark.parametrize("head", range(4))
def test_a_watched_head_is_its_part_of_every_value_that_has_heads(small_run, head):
    call, D, kv = small_run.trace.calls[0].values, 6, head // 2
    where = {
        "scores": np.s_[:, head], "weights": np.s_[:, head], "context": np.s_[:, head],
        "query_rotated": np.s_[:, head], "key_rotated": np.s_[:, kv], "keys": np.s_[:, kv], "values": np.s_[:, kv],
        "q_proj": np.s_[..., head * D : (head + 1) * D], "k_proj": np.s_[..., kv * D : (kv + 1) * D],
        "v_proj": np.s_[..., kv * D : (kv + 1) * D],
    }  # fmt: skip
    for name, index in where.items():
        full = f"model.layers.1.self_attn.{name}"
        look = look_at(full, call[full], Watch(head=head), 0, Sizes(D, 2))
        assert np.array_equal(look.numbers.ravel(), call[full][index].ravel()), name
        assert not look.missing
    look = look_at(full, call[full], Watch(head=head, token=3), 0, Sizes(D, 2))
    assert np.array_equal(look.numbers.ravel(), call[full][:, 3, kv * D : (kv + 1) * D].ravel())
    for full in ("model.layers.1.mlp", "model.rotary_emb.cos"):
        look = look_at(full, call[full], Watch(head=head), 0, Sizes(D, 2))
        assert np.array_equal(look.numbers, call[full])
        assert look.missing == (f"head {head}",)


def test_a_watched_token_is_found_behind_the_cache(small_run):
    decode = small_run.trace.calls[1].values["model.layers.0.self_attn.weights"]
    look = look_at("model.layers.0.self_attn.weights", decode, Watch(token=5), 5, Sizes())
    assert np.array_equal(look.numbers, decode) and look.words == "token 5" and not look.missing
    assert look_at("model.norm", np.ones((1, 1, 4)), Watch(token=2), 5, Sizes()).missing == ("token 2",)
    assert look_at("model.norm", np.ones((1, 1, 4)), Watch(batch=1), 5, Sizes()).missing == ("batch 1",)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_value_is_equal_to_itself_and_other_when_it_is_moved(make_model, dtype):
    trace = first_run(make_model(dtype), IDS, steps=1).trace
    for full, value in trace.items():
        name = full.partition("/")[2]
        assert difference(name, value, value.copy()).equal
        wide = value.astype(np.float64)
        moved = np.where(wide > HIDDEN, wide + 1 + wide.max(), wide).astype(value.dtype)
        found = difference(name, value, moved)
        assert found.differs, full
        assert value[found.where] != moved[found.where]
        assert difference(name, value, value[..., 1:]).differs
        assert not difference(name, value, None).differs


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_an_honest_run_in_a_coarser_dtype_does_not_differ(storyteller, dtype):
    """The embedded model against itself in float64: rounding alone stays under the limit for a quick look."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in storyteller.tensors.items()}
    ids = [1, 424, 380, 261, 347]
    exact = first_run(LlamaForCausalLM(storyteller.config, tensors), ids).trace
    rounded = {name: tensor.astype(first_dtype(dtype)) for name, tensor in tensors.items()}
    coarse = first_run(LlamaForCausalLM(storyteller.config, rounded), ids).trace
    session = Session(exact, against=coarse)
    assert not session.stepper.run_to(session.differs)
    assert not session.differs(0, session.stepper.name)
    assert session.difference(0, "lm_head").largest > 0


def first_dtype(name):
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name, None) or name)


def test_the_first_difference_is_where_a_block_was_swapped(make_model, small_run, tmp_path):
    model = make_model()
    wrong = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(softmax=np.tanh))
    save_trace(first_run(wrong, IDS).trace, tmp_path / "wrong.safetensors")
    session = Session(small_run.trace, str, small_run)
    session.compare_with(str(tmp_path / "wrong.safetensors"))
    assert session.stepper.run_to(session.differs)
    assert session.stepper.full_name == "call.0000/model.layers.0.self_attn.weights"


def test_a_number_that_both_masks_hide_is_the_same():
    ours = np.array([[[[1.0, -3.4e38], [2.0, 3.0]]]], np.float32)
    for masked in (-np.inf, -1e9, -65504):
        theirs = np.where(ours < HIDDEN, masked, ours).astype(np.float32)
        assert difference("model.layers.0.self_attn.scores", ours, theirs).equal
    assert difference("model.layers.0.self_attn.scores", ours, np.where(ours < 0, -50, ours)).differs
    assert difference("lm_head", np.array([np.nan, 1.0]), np.array([np.nan, 1.0])).equal
    assert difference("lm_head", np.array([np.nan, 1.0]), np.array([0.0, 1.0])).differs


def test_every_value_has_the_line_that_makes_it(small_run):
    for lines in (own_lines(), small_run.lines):
        assert {table_name(full.partition("/")[2]) for full in small_run.trace} <= set(lines)
        assert set(VALUES) == set(lines)
        for name, line in lines.items():
            text = linecache.getline(line.file, line.number)
            own = "layers.{index}" if name == "model.layers.{i}" else name.rpartition(".")[2]
            assert f'probe("{own}", ' in text or f'probe(f"{own}", ' in text
            shown = line.code()
            assert shown[-1] == (line.number, text.strip()) or shown[-1][1].strip() == text.strip()
            assert 1 <= len(shown) <= 3
            assert min(len(code) - len(code.lstrip()) for _, code in shown) == 0
            assert line.short.startswith("numpy_llama/")


def test_a_swapped_block_is_shown_where_it_stands(make_model):
    from numpy_llama.probe import probe

    def my_softmax_attention(query, key, value, mask):
        return probe("context", query)

    model = make_model()
    swapped = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(attention=my_softmax_attention))
    run = first_run(swapped, IDS)
    line = run.lines["model.layers.{i}.self_attn.context"]
    assert (line.short, line.function) == (f"test_looking.py:{line.number}", "my_softmax_attention")
    assert line.code()[-1][1].strip() == 'return probe("context", query)'


def test_the_values_that_one_reads_can_be_gone_to(session):
    for call, tree in enumerate(session.stepper.trees):
        for name in tree.names:
            session.stepper.go(call, name)
            for place, read in session.reads():
                before = (place, session.stepper.trees[place].number(read))
                assert before < (call, tree.number(name))
    session.stepper.go(1, "model.layers.1.self_attn.keys")
    assert session.reads() == [(1, "model.layers.1.self_attn.key_rotated"), (0, "model.layers.1.self_attn.keys")]
    session.stepper.go(0, "model.norm.normed")
    assert session.reads() == [(0, "model.layers.1")]


def test_the_logit_lens_ends_in_the_logits(session, small_run):
    logits = small_run.trace.calls[0].logits
    for name in ("model.layers.1", "model.norm", "lm_head"):
        session.stepper.go(0, name)
        assert np.array_equal(session.logits(), logits)
    session.stepper.go(0, "model.layers.1.mlp")
    assert session.logits() is None


def test_the_likeliest_tokens_are_those_of_softmax():
    logits = np.array([1.0, 3.0, 2.0, 3.0, -np.inf])
    found = likeliest(logits, 5)
    assert [prediction.token_id for prediction in found] == [1, 3, 2, 0, 4]
    assert sum(prediction.probability for prediction in found) == pytest.approx(1, abs=1e-12)
    assert found[0].probability == pytest.approx(np.exp(3) / (np.exp(1) + 2 * np.exp(3) + np.exp(2)), rel=1e-12)


def test_nan_is_run_to_and_the_mask_of_minus_infinity_is_none():
    def call(index, **values):
        shape = (1, 1, 2, 2)
        return TracedCall(index, values={name: np.full(shape, value, np.float32) for name, value in values.items()})

    values = {"model.causal_mask": -np.inf, "model.layers.0.self_attn.scores": -np.inf, "lm_head": 1.0}
    broken = {**values, "lm_head": np.nan, "model.norm": np.inf}
    session = Session(Trace([call(0, **values), call(1, **broken)]))
    found = []
    while session.stepper.run_to(session.is_broken) and len(found) < 3:
        found.append(session.stepper.full_name)
    assert found[:2] == ["call.0001/model.norm", "call.0001/lm_head"]
    assert found == found[:2], "and not round again"
    clean = Session(Trace([call(0, **values)]))
    assert not clean.stepper.run_to(clean.is_broken)


def test_each_difference_is_run_to_once_in_order(small_run):
    names = ["model.layers.0.mlp.up_proj", "model.layers.1.self_attn.weights", "model.norm"]
    call = small_run.trace.calls[0]
    values = {name: value * 2 if name in names else value for name, value in call.values.items()}
    session = Session(small_run.trace, against=Trace([replace(call, values=values)]))
    found = []
    while session.stepper.run_to(session.differs) and len(found) < 9:
        found.append(session.stepper.name)
    assert found == names
    session.stepper.go(0, "model.layers.1.mlp")
    assert session.stepper.run_to(session.differs) and session.stepper.name == names[0]


def test_logits_of_the_last_tokens_are_held_to_the_last_ones(small_run):
    logits = np.asarray(small_run.trace.calls[0].values["lm_head"])
    wrong = logits[:, -1:].copy()
    wrong[0, 0, 3] += 50
    for ours, theirs in ((logits, logits[:, -1:]), (logits[:, -1:], logits)):
        assert difference("lm_head", ours, theirs).equal
    found = difference("lm_head", logits, wrong)
    assert found.differs and found.where == (0, logits.shape[1] - 1, 3)
    assert difference("model.norm", logits, logits[:, -1:]).problem


def test_what_is_unknown_of_a_trace_is_not_held_against_it(small_run):
    full = "call.0000/model.norm"
    value = small_run.trace[full]
    known = np.zeros(value.shape, bool)
    known[..., :3] = True
    holes = TracedCall(0, values={"model.norm": np.where(known, value, np.nan).astype(np.float32)})
    session = Session(small_run.trace, against=replace(Trace([holes]), partial={full: Partial(known)}))
    assert not session.differs(0, "model.norm")
    theirs = Session(session.against)
    assert not theirs.stepper.run_to(theirs.is_broken) and not theirs.is_broken(0, "model.norm")
    assert theirs.unknown() == value.size - known.sum()
