"""The table of a trace: numbers as NumPy finds them, and what is wrong at a glance."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import Trace, trace
from numpy_llama.errors import LlamaError
from numpy_llama.study.trace import TracedCall
from numpy_llama.study.trace.trace import Partial
from numpy_llama.study.trace.tree import numbers_of

PROMPT = [[1, 5, 9, 2, 7]]


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf]), min_size=1, max_size=20))
def test_numbers_are_those_of_the_finite_elements(elements):
    array = np.array(elements, np.float32)
    n = numbers_of(array)
    finite = array[np.isfinite(array)].astype(np.float64)
    assert (n.nan, n.inf) == (np.isnan(array).sum(), np.isinf(array).sum())
    if len(finite):
        assert (n.min, n.max) == (finite.min(), finite.max())
        # float64 adds up 20 such numbers to 20 · 1e6 · 2^-53 and their squares to 1e6 times that
        assert n.mean == pytest.approx(finite.mean(), abs=1e-8)
        assert n.rms == pytest.approx(np.sqrt((finite**2).mean()), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_what_the_mask_hides_is_counted_apart(dtype):
    lowest = ml_dtypes.finfo(dtype).min
    n = numbers_of(np.array([[1, lowest], [2, 3]], dtype), "model.layers.0.self_attn.scores")
    assert (n.masked, n.min, n.max, n.mean) == (1, 1, 3, 2)
    assert numbers_of(np.array([1, lowest], dtype), "model.norm").masked == 0


def test_what_is_not_known_counts_for_nothing():
    partial = Partial(np.array([True, False, True]))
    n = numbers_of(np.array([1.0, np.nan, 3.0]), "", partial)
    assert (n.unknown, n.nan, n.mean) == (1, 0, 2)


def test_a_nan_is_seen_in_its_line(make_model):
    with trace() as t:
        make_model()(PROMPT)
    broken = dict(t.calls[0].values)
    broken["model.layers.1"] = np.where(np.arange(32) < 3, np.nan, broken["model.layers.1"])
    line = next(line for line in Trace([TracedCall(0, values=broken)]).tree().splitlines() if "model.layers.1 " in line)
    assert line.split()[-1] == "15"


def test_layers_are_folded_unless_a_pattern_asks(make_model):
    with trace() as t:
        make_model(num_hidden_layers=9).generate(PROMPT, max_new_tokens=2)
    overview = t.tree().splitlines()
    for layer in range(9):
        assert len([line for line in overview if line.startswith(f"model.layers.{layer} ")]) == 2  # of two calls
    assert len([line for line in overview if "gate_proj" in line]) == 1
    whole = t.tree("*").splitlines()
    assert len([line for line in whole if "gate_proj" in line]) == 18
    assert len(t.tree("*").split("×")) > len(t.tree().split("×"))


def test_dtypes_are_a_column_where_they_differ(make_model):
    with trace() as t:
        make_model()(PROMPT)
    assert "dtype" not in t.tree() and "float32" in t.tree().splitlines()[0]
    mixed = {**t.calls[0].values, "model.causal_mask": np.ones((1, 1, 5, 5), bool)}
    assert "bool" in Trace([TracedCall(0, values=mixed)], dtype="float32").tree()


@pytest.mark.parametrize("width", [79, 161, None, "80"])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(LlamaError):
        Trace().tree(width=width)
    assert Trace().tree() == "no calls"
