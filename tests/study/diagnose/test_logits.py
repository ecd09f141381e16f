"""From logits alone: the mistake that was planted is named, and none where none was."""

import json
from dataclasses import replace

import numpy as np
import pytest

from numpy_llama import LlamaError
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.study.diagnose import diagnose
from numpy_llama.study.diagnose.numbers_written import log_softmax, softmax

NOISE = 1e-7  # relative: a float32 run in another order of sums


def plant(subject, *mistakes):
    for mistake in mistakes:
        subject = next(iter(mistake.plant(subject)))[1]
    return subject


@pytest.mark.parametrize("seed", range(3))
def test_no_mistake_is_blamed_where_there_is_none(make_subject, strange, seed):
    subject = make_subject(seed)
    for honest in (subject, subject.in_dtype("float64")):
        found = diagnose(subject, strange.logits(honest, subject.calls, noise=NOISE, seed=seed))
        assert (found.verdict, found.mistakes) == ("agrees", ())
        assert found.before_rms < 10 * found.rounding


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_an_honest_run_in_another_dtype_agrees(make_subject, strange, dtype):
    subject = make_subject(1)
    theirs = strange.logits(subject.in_dtype(dtype), subject.calls, dtype=dtype)
    assert diagnose(subject, theirs).verdict == "agrees"
    theirs.dtype = None  # then it is told from the numbers
    assert diagnose(subject, theirs).verdict == "agrees"


@pytest.mark.parametrize("key", sorted(CATALOGUE)[::32])
def test_a_mistake_of_the_catalogue_is_named(make_subject, strange, key):
    """A sample: all of them are planted in Transformers' Llama in tests/reference."""
    mistake = CATALOGUE[key]
    subject = make_subject(3)
    variants = list(mistake.plant(subject))
    if not variants or mistake.invisible:
        return
    label, planted = variants[0]
    theirs = strange.logits(planted, subject.calls, noise=NOISE)
    found = diagnose(subject, theirs)
    if found.verdict == "agrees":
        assert key in found.unseen or found.before_rms < 10 * found.rounding, (key, label)
    else:
        assert found.verdict == "mistake" and key in (*found.mistakes, *found.equals), (key, label, found)
        assert found.after * 10 < found.before


@pytest.mark.parametrize("key", ["large-eps", "no-scaling", "late-decode"])
@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_the_largest_difference_falls_to_rounding_where_the_mistake_is_planted(make_subject, strange, key, noise):
    subject = make_subject()
    theirs = strange.logits(plant(subject, strange.own[key]), subject.calls, noise=noise)
    found = diagnose(subject, theirs, catalogue=strange.own)
    assert (found.verdict, found.mistakes, found.equals) == ("mistake", (key,), ())
    assert found.before > 0.01 and found.after < 1e-4 and found.after_rms < 10 * found.rounding


def test_two_mistakes_are_named_together(make_subject, strange):
    subject, own = make_subject(), strange.own
    theirs = strange.logits(plant(subject, own["large-eps"], own["late-decode"]), subject.calls, noise=NOISE)
    found = diagnose(subject, theirs, catalogue=own)
    assert found.verdict == "pair" and set(found.mistakes) == {"large-eps", "late-decode"}


def test_two_mistakes_of_the_catalogue_are_named_together(make_subject, strange):
    subject, keys = make_subject(5), ("relu-for-silu", "kv-heads-tiled")
    theirs = strange.logits(plant(subject, *(CATALOGUE[key] for key in keys)), subject.calls, noise=NOISE)
    found = diagnose(subject, theirs)
    classes = [{key, *CATALOGUE[key].twins} for key in keys]
    assert found.verdict == "pair" and all(one & set(found.mistakes) for one in classes), found


def test_twins_are_named_together_and_what_to_dump_to_tell_them(make_subject, strange):
    subject = make_subject()
    theirs = strange.logits(plant(subject, strange.own["context-doubled"]), subject.calls)
    found = diagnose(subject, theirs, catalogue=strange.own)
    assert {*found.mistakes, *found.equals} == {"values-doubled", "context-doubled"}
    assert found.tell_apart == ("model.layers.0.self_attn.values",), "the context is the same with both"


def test_a_mistake_that_the_calls_cannot_show_is_not_blamed_but_named_with_what_would_show_it(make_subject, strange):
    subject = make_subject()
    prefill = subject.calls[:1]
    theirs = strange.logits(plant(replace(subject, calls=prefill), strange.own["large-eps"]), prefill)
    found = diagnose(subject, theirs, catalogue=strange.own)
    assert found.mistakes == ("large-eps",)
    assert {"late-decode", "nothing"} <= set(found.unseen)
    assert found.add == {"decode": ("late-decode",)}


def test_a_mistake_outside_the_catalogue_is_not_given_the_name_of_another(make_subject, strange):
    subject = make_subject()
    others = {key: one for key, one in CATALOGUE.items() if "eps" in key or "scale" in key or "mask" in key}
    for key in ("gate-up-swapped", "gate-up-added"):
        found = diagnose(subject, strange.logits(plant(subject, CATALOGUE[key]), subject.calls), catalogue=others)
        assert found.verdict == "unknown" and found.mistakes == ()
        assert all(one.rms * 2 <= found.before_rms for one in found.candidates)


def test_noise_larger_than_rounding_is_no_mistake(make_subject, strange):
    """Plain best fit would blame whatever happens to fit the noise best."""
    subject = make_subject()
    for seed in range(3):
        theirs = strange.logits(subject, subject.calls, noise=1e-3, seed=seed)
        found = diagnose(subject, theirs, catalogue=strange.own)
        assert (found.verdict, found.mistakes) == ("unknown", ())


def test_a_mistake_under_coarser_noise_is_a_suspicion(make_subject, strange):
    """As where weights are quantized, too: much nearer, but not the whole explanation."""
    subject = make_subject()
    theirs = strange.logits(plant(subject, strange.own["no-scaling"]), subject.calls, noise=1e-2)
    found = diagnose(subject, theirs, catalogue=strange.own)
    assert (found.verdict, found.mistakes) == ("partly", ("no-scaling",))


def test_logits_of_the_last_position_will_do_and_so_will_fewer_axes(make_subject, strange):
    subject = make_subject()
    asked = subject.calls[2:]
    run = plant(replace(subject, calls=asked), strange.own["no-scaling"]).run()[0]  # (1, 7, V)
    for logits in (run[:, -1:], run[0, -1], run[0], run[:, -3:]):
        found = diagnose(subject, strange.of([logits], asked), catalogue=strange.own)
        assert found.mistakes == ("no-scaling",) and found.positions == (1 if logits.ndim == 1 else logits.shape[-2])


def test_what_stands_at_padding_does_not_count(make_subject, strange):
    subject = make_subject()
    theirs = strange.logits(subject, subject.calls)
    theirs.calls[0].values["lm_head"][0, :3] = np.nan
    assert diagnose(subject, theirs).verdict == "agrees"


@pytest.mark.parametrize(("turn", "key"), [(log_softmax, "log-softmax-returned"), (softmax, "probabilities-returned")])
def test_probabilities_are_recognised_and_a_mistake_before_them_too(make_subject, strange, turn, key):
    subject = make_subject()
    few = {**strange.own, key: CATALOGUE[key]}
    honest = [turn(one) for one in subject.run()]
    assert diagnose(subject, strange.of(honest, subject.calls), catalogue=few).mistakes == (key,)
    wrong = [turn(one) for one in plant(subject, strange.own["no-scaling"]).run()]
    found = diagnose(subject, strange.of(wrong, subject.calls), catalogue=few)
    assert found.verdict == "pair" and set(found.mistakes) == {"no-scaling", key}


@pytest.mark.parametrize("short", [np.float16, lambda x: x.round(3)])
def test_logits_written_with_fewer_digits_are_judged_by_those(make_subject, strange, short):
    subject = make_subject()
    for planted, expected in ((subject, ()), (plant(subject, strange.own["no-scaling"]), ("no-scaling",))):
        run = [np.asarray(short(one)) for one in planted.run()]
        found = diagnose(subject, strange.of(run, subject.calls, dtype="float32"), catalogue=strange.own)
        assert found.mistakes == expected
        assert any("written with" in sentence for sentence in found.assumptions)


def test_both_conventions_of_positions_agree_where_none_are_given(make_subject, strange):
    """In a decode step after a text that was padded on the right, they differ."""
    subject = make_subject()
    mask = np.ones((2, 6), np.int64)
    mask[1, 4:] = 0
    ids = subject.calls[0].input_ids[:, :6]
    longer = np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
    first, then = replace(subject.calls[0], input_ids=ids, attention_mask=mask, position_ids=None), None
    for step in (None, np.array([[6], [4]])):
        then = replace(subject.calls[1], attention_mask=longer, position_ids=step, past=6)
        planted = replace(subject, calls=(first, then))
        bare = [replace(one, position_ids=None) for one in planted.calls]
        found = diagnose(subject, strange.of(planted.run(), bare), catalogue=strange.own)
        assert found.verdict == "agrees"
        assert any("counting padding" in s or "skip padding" in s or "count padding" in s for s in found.assumptions)


def test_ctrl_c_gives_what_is_known_so_far(make_subject, strange):
    subject = make_subject()

    def stop(line):
        if line.startswith("3 of"):
            raise KeyboardInterrupt

    theirs = strange.logits(plant(subject, strange.own["large-eps"]), subject.calls)
    found = diagnose(subject, theirs, catalogue=strange.own, progress=stop)
    assert found.interrupted and found.mistakes == ("large-eps",)


def test_a_long_search_ends_with_the_first_that_fits_and_its_twins(make_subject, strange, monkeypatch):
    monkeypatch.setattr("numpy_llama.study.diagnose.from_logits.PATIENCE", 0.0)
    subject = make_subject()
    theirs = strange.logits(plant(subject, strange.own["values-doubled"]), subject.calls)
    found = diagnose(subject, theirs, catalogue=strange.own)
    assert found.mistakes == ("values-doubled",) and found.equals == ("context-doubled",) and found.tried == 4
    assert diagnose(subject, theirs, catalogue=strange.own, thorough=True).tried == len(strange.own)


def test_a_diagnosis_can_be_written_as_json(make_subject, strange):
    subject = make_subject()
    theirs = strange.logits(plant(subject, strange.own["large-eps"]), subject.calls)
    facts = json.loads(json.dumps(diagnose(subject, theirs, catalogue=strange.own).as_dict()))
    assert facts["verdict"] == "mistake" and facts["mistakes"] == ["large-eps"]


def _call(theirs, **fields):
    for name, value in fields.items():
        setattr(theirs.calls[1], name, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda theirs: theirs.calls.clear(), "no calls"),
        (lambda theirs: _call(theirs, input_ids=None), "call.0001: no input_ids"),
        (lambda theirs: _call(theirs, input_ids=np.array([[99], [0]])), "token id out of range"),
        (lambda theirs: _call(theirs, past=4), "don't follow each other"),
        (lambda theirs: _call(theirs, attention_mask=np.ones((2, 4), int)), "attention_mask: wrong shape"),
        (lambda theirs: _call(theirs, values={"lm_head": np.zeros((2, 1, 7))}), "logits of another model"),
        (lambda theirs: _call(theirs, values={"lm_head": np.zeros((2, 5, 61))}), "wrong shape"),
        (lambda theirs: _call(theirs, values={"lm_head": np.zeros((2, 1, 61), int)}), "wrong dtype"),
        (
            lambda theirs: theirs.calls[1].values.update(lm_head=np.full((2, 1, 61), np.nan, np.float32)),
            "call.0001: logits[0, 0, 0]: not a finite number",
        ),
        (lambda theirs: [call.values.clear() for call in theirs.calls], "no logits"),
        (lambda theirs: setattr(theirs, "config", {"hidden_size": 64}), "a trace of another model"),
    ],
)
def test_what_cannot_be_judged_is_an_error_and_no_verdict(make_subject, strange, change, says):
    subject = make_subject()
    theirs = strange.logits(subject, subject.calls)
    change(theirs)
    with pytest.raises(LlamaError) as error:
        diagnose(subject, theirs, catalogue=strange.own)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_noise_that_is_small_is_not_taken_for_what_makes_logits_small(make_subject, strange):
    subject = make_subject(vocab_size=64)
    generator = np.random.default_rng(0)
    run = [0.01 * generator.standard_normal(one.shape).astype(np.float32) for one in subject.run()]
    assert diagnose(subject, strange.of(run, subject.calls)).verdict == "unknown"


def test_logits_of_padding_alone_are_nothing_to_judge(make_subject, strange):
    subject = make_subject()
    asked = [replace(subject.calls[0], attention_mask=np.zeros_like(subject.calls[0].attention_mask))]
    run = [np.ones((*asked[0].input_ids.shape, subject.config.vocab_size), np.float32)]
    with pytest.raises(LlamaError, match="nothing but padding"):
        diagnose(subject, strange.of(run, asked))


def test_what_only_shrinks_logits_is_not_near_to_unrelated_ones(make_subject, strange):
    subject = make_subject(vocab_size=64)
    generator = np.random.default_rng(0)
    run = [0.2 * one.std() * generator.standard_normal(one.shape).astype(np.float32) for one in subject.run()]
    found = diagnose(subject, strange.of(run, subject.calls))
    assert (found.verdict, found.candidates) == ("unknown", ())


def test_of_a_mistakes_variants_those_that_change_nothing_are_no_candidates(make_subject, strange):
    """Of one that comes near by one variant, the other would stand there with the whole difference left."""
    subject, own = make_subject(), strange.own

    def in_some_calls(subject):
        yield "in no call", subject
        yield from own["late-decode"].plant(subject)

    few = {"late-decode": replace(own["late-decode"], plant=in_some_calls)}
    found = diagnose(subject, strange.logits(plant(subject, own["large-eps"]), subject.calls), catalogue=few)
    assert found.verdict == "unknown" and not any("in no call" in one.labels for one in found.candidates)


def test_of_several_calls_those_that_agree_without_a_mistake_are_told(make_subject, strange):
    subject, own = make_subject(), strange.own
    late = plant(subject, own["late-decode"])
    found = diagnose(subject, strange.logits(late, subject.calls, noise=NOISE), catalogue=own)
    assert [(one.call, one.given, one.agrees) for one in found.calls] == [
        (0, "prefill of 9, 2 rows", True), (1, "decode step after 9, 2 rows", False), (2, "prefill of 7", True),
    ]  # fmt: skip
    assert diagnose(subject, strange.logits(subject, subject.calls), catalogue=own).calls == ()


def test_garbage_at_padding_makes_no_call_disagree(make_subject, strange):
    subject, own = make_subject(), strange.own
    theirs = strange.logits(plant(subject, own["late-decode"]), subject.calls)
    theirs.calls[0].values["lm_head"][0, :3] = 1e6
    assert [one.agrees for one in diagnose(subject, theirs, catalogue=own).calls] == [True, False, True]
