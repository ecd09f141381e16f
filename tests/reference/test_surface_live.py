"""All of the surface at once: whatever class, config, weights, inputs, masks and chunking hypothesis draws, in ours and
in Transformers, every output compared at every real position.

What is drawn, and how often, is in numpy_llama/reference/case_drawn.py.
"""

import inspect
from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import transformers
from hypothesis import HealthCheck, Phase, given, seed, settings

import numpy_llama
from numpy_llama.reference.case import Call, Case, small_config
from numpy_llama.reference.case_drawn import (
    CLASSES,
    PADDINGS,
    ROPE_TYPES,
    WIDE,
    drawn_cases,
    farthest_position,
    real_places,
)
from numpy_llama.reference.case_draws import Draws
from numpy_llama.reference.side_by_side import run_ours, run_theirs, selected

# Relative to the largest number of the output at real positions. A float32 rounding is 6e-8 of a number, a float64 one
# 1.1e-16. Three layers of sums of up to a hundred terms make some hundred roundings, which mostly cancel; a division by
# a small root in RMSNorm may blow their sum up tenfold. Float32 angles err in proportion to the position.
RELATIVE = {"float32": 1e-5, "float64": 1e-11}
SAME_BOUND_UP_TO = 2048

# Distance from the truth, ours over Transformers': 1 where both round alike; chance makes some per cent of a case.
WORST_CASE, ALL_CASES = 1.25, 1.02

KINDS = list(product(CLASSES, PADDINGS))


def for_each_drawn_case(number, examples, check, **kinds):
    """Run `check` on so many drawn cases. Other numbers, other cases; the same number, the same ones."""

    @seed(number)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],  # to shrink takes minutes
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(case=drawn_cases(**kinds))
    def run(case):
        check(case)

    run()


# hypothesis varies one example into several after the first ten; few examples for each of many kinds are all different.
@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize(("class_name", "padding"), KINDS)
def test_every_output(dtype, class_name, padding):
    number = KINDS.index((class_name, padding))
    for_each_drawn_case(number, 10, lambda case: compare(case, dtype), classes=(class_name,), paddings=(padding,))


@pytest.mark.parametrize(
    ("kind", "dtype"), [*((kind, "float32") for kind in ROPE_TYPES), ("default", "float64"), ("longrope", "float64")]
)
def test_a_long_text(kind, dtype):
    """Past position 2,048, where the float32 bound begins to grow: in one pass, then a chunk, then token by token."""
    config = small_config(heads="head_dim apart", rope=kind, max_position_embeddings=1024, num_hidden_layers=1)
    ids = Draws(kind).integers((1, 2150), 0, config["vocab_size"])
    pieces = np.split(ids, [2048, 2148, 2149], axis=1)
    calls = tuple(Call({"input_ids": piece}, {"use_cache": True, "output_hidden_states": True}) for piece in pieces)
    compare(Case(f"long {kind}", "", "LlamaForCausalLM", config, calls), dtype)


def compare(case, dtype):
    """Every output of every call, at real places, within the bound of the dtype."""
    runs = list(zip(run_ours(case, dtype), run_theirs(case, dtype), strict=True))
    largest: dict[str, float] = {}  # of all calls: one call may have a single number, near 0 by chance
    for index, (_, theirs) in enumerate(runs):
        for name, places in real_places(case, index).items():
            if name in theirs:
                here = np.abs(selected(theirs[name], places)).max(initial=0)
                largest[name] = max(largest.get(name, 0), here)
    for index, (ours, theirs) in enumerate(runs):
        farther = max(1.0, farthest_position(case, index) / SAME_BOUND_UP_TO) if dtype == "float32" else 1.0
        bounds = {name: RELATIVE[dtype] * farther * number for name, number in largest.items()}
        assert_near(ours, theirs, real_places(case, index), bounds)


def assert_near(ours, theirs, places, bounds):
    """The same outputs, of the same dtype and shape, and at real places the same numbers but for so much."""
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (expected.dtype, expected.shape), name
        if name == "cache_length":
            assert ours[name] == expected
        else:
            found, expected = selected(ours[name], places[name]), selected(expected, places[name])
            np.testing.assert_allclose(found, expected, rtol=0, atol=bounds[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_two_byte_models_are_as_near_to_the_truth_as_transformers(dtype, record_property):
    """Every output counts, the residual stream of all layers among them: classifiers alone have too few numbers."""
    ratios = []

    def check(case):
        ratios.append(distance_ratio(replace(case, config={**case.config, "output_hidden_states": True}), dtype))

    for number, (class_name, padding) in enumerate(KINDS, start=100):
        for_each_drawn_case(number, 4, check, classes=(class_name,), paddings=(padding,), sizes=WIDE)

    mean, worst = float(np.exp(np.mean(np.log(ratios)))), max(ratios)
    record_property("distance from the truth, ours over theirs", {"mean": mean, "worst": worst})
    print(f"{dtype}, {len(ratios)} cases: distance from the truth, ours over theirs: {mean:.4f}, worst {worst:.3f}")
    assert len(ratios) >= 100
    assert worst <= WORST_CASE
    assert mean <= ALL_CASES


def distance_ratio(case, dtype):
    """How far ours is from the truth, over how far Transformers is: roots of mean squares over all outputs of a case,
    each error relative to the largest number of its output."""
    ours_off, theirs_off = [], []
    runs = zip(run_ours(case, dtype), run_theirs(case, dtype), run_ours(case, "float64", dtype), strict=True)
    for index, (ours, theirs, truth) in enumerate(runs):
        places = real_places(case, index)
        for name in theirs:
            assert (ours[name].dtype, ours[name].shape) == (theirs[name].dtype, theirs[name].shape), name
        for name in theirs.keys() - {"cache_length", "loss"}:
            exact = selected(truth[name], places[name])
            largest = np.abs(exact).max(initial=0) or 1.0
            ours_off.append((selected(ours[name], places[name]) - exact) / largest)
            theirs_off.append((selected(theirs[name], places[name]) - exact) / largest)
    return float(np.linalg.norm(np.concatenate(ours_off)) / np.linalg.norm(np.concatenate(theirs_off)))


# -- names and orders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_name", CLASSES)
def test_arguments_have_the_same_order(class_name):
    ours, theirs = (
        [name for name, argument in inspect.signature(call).parameters.items() if argument.kind.name.startswith("POS")]
        for call in (
            getattr(numpy_llama, class_name).__call__,
            inspect.unwrap(getattr(transformers, class_name).forward),
        )
    )
    assert ours[: len(theirs)] == theirs


def test_config_has_the_same_defaults():
    ours, theirs = numpy_llama.LlamaConfig(), transformers.LlamaConfig()
    for field in fields(ours):
        if field.name != "extra":
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name


@pytest.mark.filterwarnings("ignore::numpy_llama.LlamaWarning")  # rope fields that surprise
def test_config_reads_and_writes_the_same(tmp_path):
    """Fields of a drawn config.json are the same in both, and what either writes, the other reads."""

    def check(case):
        ours = numpy_llama.LlamaConfig.from_dict(case.config)
        theirs = transformers.LlamaConfig(**case.config)
        ours.save_pretrained(tmp_path / "ours")
        theirs.save_pretrained(tmp_path / "theirs")
        for one, other in (
            (ours, theirs),
            (ours, transformers.LlamaConfig.from_pretrained(tmp_path / "ours")),
            (numpy_llama.LlamaConfig.from_pretrained(tmp_path / "theirs"), theirs),
        ):
            for field in fields(one):
                if field.name != "extra":
                    assert getattr(one, field.name) == getattr(other, field.name), field.name

    for number in range(10):
        for_each_drawn_case(200 + number, 10, check)
