"""The judge: it finds the smallest example, finds the same one every time, and leaves nothing behind."""

import numpy as np
import pytest

from numpy_llama.blocks import rms_norm
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import rms_norm as properties
from numpy_llama.conformance.rounding import Broken, close, equal, is_array, tolerance, unit
from numpy_llama.conformance.runner import judge, replay, try_property
from numpy_llama.mistakes.wrong_blocks.table import WRONG_BLOCKS
from numpy_llama.precision import DTYPES


def port_with(function):
    return Port().swap(rms_norm=function)


def test_ours_passes_and_the_verdicts_are_in_words():
    verdicts = list(judge("rms_norm", Port(), examples=2))
    assert all(verdict.passed for verdict in verdicts)
    assert [verdict.name for verdict in verdicts] == [property_.__name__ for property_ in properties.PROPERTIES]
    assert "√(mean(x²) + eps)" in verdicts[-1].sentence


def test_the_smallest_example_is_found():
    """A norm that is wrong for more than one row fails with two rows of one channel, and no more."""

    def over_everything(x, weight, eps):
        return WRONG_BLOCKS["mean over the whole array"].wrong(x, weight, eps)

    verdict = try_property(properties.rows_do_not_know_each_other, port_with(over_everything))
    assert not verdict.passed
    assert verdict.example["x"].shape == (2, 1)
    assert verdict.example["x"].dtype == np.float64
    assert np.count_nonzero(verdict.example["x"]) <= 2
    assert "several rows are each row alone: off by" in verdict.message
    assert verdict.expected.shape == verdict.got.shape == (2, 1)


def test_the_same_examples_every_time():
    first, second = (
        try_property(properties.is_the_formula, WRONG_BLOCKS["eps outside the root"].planted(Port()), seconds=1e9)
        for _ in range(2)
    )
    assert first.message == second.message
    np.testing.assert_array_equal(first.example["x"], second.example["x"])


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try_property(properties.is_the_formula, WRONG_BLOCKS["eps left out"].planted(Port()))
    assert list(tmp_path.iterdir()) == []


def test_an_example_can_be_tried_again_on_another_port():
    wrong = WRONG_BLOCKS["weight left out"].planted(Port())
    verdict = try_property(properties.is_the_formula, wrong)
    again = replay(properties.is_the_formula, wrong, verdict.example)
    assert again.message == verdict.message
    assert replay(properties.is_the_formula, Port(), verdict.example).passed


def raises(x, weight, eps):
    raise RuntimeError("out of ideas")


def changes_x(x, weight, eps):
    x /= 2
    return rms_norm(x, weight, eps)


def unwritten(x, weight, eps):
    raise NotImplementedError


def ends(x, weight, eps):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, "raised RuntimeError in line"),
        (changes_x, "writes into an array it was given"),
        (unwritten, "isn't written yet"),
        (ends, "raised SystemExit"),
        (lambda x, weight, eps: None, "returned a NoneType, not an array"),
        (lambda x, weight, eps: x[0], "returned shape"),
        (lambda x, weight, eps: x * np.nan, "not a number at [0, 0]"),
    ],
)
def test_what_goes_wrong_is_said_in_plain_words(function, message):
    verdict = try_property(properties.is_the_formula, port_with(function))
    assert message in verdict.message


def test_a_slow_function_gets_a_verdict_all_the_same():
    """Looking for a smaller example ends in time; the last failure found is reported."""
    verdict = try_property(properties.is_the_formula, port_with(lambda x, weight, eps: x + 1), seconds=0.0)
    assert not verdict.passed
    assert verdict.example


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_one_rounding_stays_within_the_tolerance_of_one(dtype):
    numbers = np.random.default_rng(0).uniform(-4, 4, 2000)
    rounded = numbers.astype(np.float32).astype(dtype) if dtype.itemsize == 2 else numbers.astype(dtype)
    close(rounded, numbers, tolerance(dtype, numbers, narrow=1, wide=1), "rounding")
    if dtype != np.float64:
        with pytest.raises(Broken, match="off by"):
            close(rounded, numbers, tolerance(dtype, numbers, narrow=1) / 3, "a third of a rounding")


def test_units_are_those_of_ieee_754_and_bfloat16():
    assert [unit(dtype) for dtype in DTYPES.values()] == [2.0**-53, 2.0**-24, 2.0**-11, 2.0**-8]


def test_checks_name_the_worst_element():
    with pytest.raises(Broken, match=r"y: off by 2 at \[1, 0\]"):
        equal(np.array([[1.0, 2.5], [5.0, 4.0]]), [[1, 2], [3, 4]], "y")
    with pytest.raises(Broken, match="given float16, returned float32"):
        is_array(np.ones(2, np.float32), (2,), "y", np.dtype(np.float16))
