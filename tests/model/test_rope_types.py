"""Rope types: what each does to the frequencies, in sentences of mathematics; and fields that can't be, by name.

The same numbers as Transformers, bit for bit, are the matter of tests/reference/test_rope_live.py.
"""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from numpy_llama import LlamaConfig, LlamaError, LlamaWarning
from numpy_llama.blocks import rope_frequencies, rope_tables
from numpy_llama.model.rope_parameters import NEEDED
from numpy_llama.model.rope_scaling import scaled_rope
from numpy_llama.model.rope_types import ROPE_TYPES
from numpy_llama.precision import DTYPES

TRAINED = 64
FLOAT64 = DTYPES["float64"]
halves = st.integers(2, 24)
thetas = st.sampled_from([100.0, 10_000.0, 500_000.0])
factors = st.one_of(st.floats(1, 40), st.integers(1, 40))

# A power, a quotient and the blend of two: at most a dozen float64 roundings, of 1.1e-16 each, one after the other;
# dynamic's brackets are the difference of two numbers up to 40 times as large as what is left.
CLOSE = {"rtol": 2e-15, "atol": 0}
CLOSE_DYNAMIC = {"rtol": 40 * 2e-15, "atol": 0}


def config_of(rope_type, half, theta=10_000.0, **fields):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)
        return LlamaConfig(
            hidden_size=2 * half,
            num_attention_heads=1,
            max_position_embeddings=TRAINED,
            rope_parameters={"rope_type": rope_type, "rope_theta": theta, **fields},
        )


def rope_of(rope_type, half, theta=10_000.0, dtype=FLOAT64, **fields):
    return scaled_rope(rope_frequencies, config_of(rope_type, half, theta, **fields), dtype)


def plain(half, theta):
    return rope_frequencies(2 * half, theta, FLOAT64)


def some_fields(rope_type, half):
    """Fields that every rope type is content with."""
    everything = {
        "factor": 2.5,
        "original_max_position_embeddings": 32,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "short_factor": [1.0 + 0.1 * i for i in range(half)],
        "long_factor": [1.0 + 0.5 * i for i in range(half)],
    }
    return {name: everything[name] for name in NEEDED[rope_type]}


# -- each type ---------------------------------------------------------------------------------------------------------


@given(half=halves, theta=thetas)
def test_default_changes_nothing(half, theta):
    frequencies, scaling = rope_of("default", half, theta).at(10**6)
    np.testing.assert_array_equal(frequencies, plain(half, theta))
    assert scaling == 1


@given(half=halves, theta=thetas, factor=st.integers(1, 40), position=st.integers(0, 1000))
def test_linear_squeezes_positions(half, theta, factor, position):
    """Position factor · m is turned as far as position m was."""
    squeezed, _ = rope_of("linear", half, theta, factor=factor).at(0)
    far = rope_tables(np.array([[factor * position]]), squeezed, FLOAT64)
    near = rope_tables(np.array([[position]]), plain(half, theta), FLOAT64)
    # Two quotients, off by half a unit each, times an angle of up to 1000.
    np.testing.assert_allclose(far, near, rtol=0, atol=1e-15 + position * 4e-16)


@given(half=halves, theta=thetas, factor=factors, tokens=st.integers(1, TRAINED))
def test_dynamic_is_default_within_the_trained_context(half, theta, factor, tokens):
    frequencies, _ = rope_of("dynamic", half, theta, factor=factor).at(tokens - 1)
    np.testing.assert_allclose(frequencies, plain(half, theta), **CLOSE_DYNAMIC)


@given(half=halves, theta=thetas, factor=factors, tokens=st.integers(TRAINED + 1, 100 * TRAINED))
def test_dynamic_slows_the_slowest_pair_by_the_stretch_and_the_fastest_not_at_all(half, theta, factor, tokens):
    """Base θ · s^(D/(D−2)) makes the slowest frequency, θ^(−(D−2)/D), that over s."""
    frequencies, scaling = rope_of("dynamic", half, theta, factor=factor).at(tokens - 1)
    stretch = factor * tokens / TRAINED - (factor - 1)
    assert frequencies[0] == 1 and scaling == 1
    np.testing.assert_allclose(frequencies[-1], plain(half, theta)[-1] / stretch, **CLOSE_DYNAMIC)


@given(
    half=halves, theta=thetas, factor=factors, slow=st.floats(0.5, 4), ratio=st.floats(1, 32), truncate=st.booleans()
)
def test_yarn_keeps_fast_pairs_squeezes_slow_ones_and_ramps_between(half, theta, factor, slow, ratio, truncate):
    fields = {"original_max_position_embeddings": 4096, "truncate": truncate}
    rope = rope_of("yarn", half, theta, factor=factor, beta_slow=slow, beta_fast=slow * ratio, **fields)
    frequencies, before = rope.frequencies, plain(half, theta)
    turns = before * 4096 / (2 * math.pi)  # of each pair, within the trained context
    # A ramp that would begin past D − 1 is turned round by the bound on its end, in YaRN's own code as well.
    assume(slow * ratio > 4096 / (2 * math.pi) * theta ** (-(2 * half - 1) / half))
    # Where the ramp's ends are rounded outwards, a pair next to an end may be on it.
    next_slower, next_faster = np.append(turns[1:], 0), np.insert(turns[:-1], 0, np.inf)
    is_fast = (next_slower if truncate else turns) > slow * ratio * 1.001
    is_slow = (next_faster if truncate else turns) < slow / 1.001
    np.testing.assert_allclose(frequencies[is_fast], before[is_fast], **CLOSE)
    np.testing.assert_allclose(frequencies[is_slow], before[is_slow] / factor, **CLOSE)
    kept = frequencies / before  # 1 … 1/factor, never up again
    assert (kept <= 1 + 1e-15).all() and (kept >= 1 / factor * (1 - 1e-15)).all()
    assert (np.diff(kept) <= 1e-14).all()


@given(half=halves, theta=thetas, factor=factors, low=st.floats(0.5, 4), ratio=st.floats(1.01, 16))
def test_llama3_keeps_short_waves_slows_long_ones_and_blends_between(half, theta, factor, low, ratio):
    fields = {"low_freq_factor": low, "high_freq_factor": low * ratio, "original_max_position_embeddings": 512}
    frequencies, before = rope_of("llama3", half, theta, factor=factor, **fields).frequencies, plain(half, theta)
    turns = before * 512 / (2 * math.pi)
    assume((np.abs(turns / low - 1) > 1e-9).all() and (np.abs(turns / (low * ratio) - 1) > 1e-9).all())
    fast, slow = turns > low * ratio, turns < low
    np.testing.assert_array_equal(frequencies[fast], before[fast])
    np.testing.assert_allclose(frequencies[slow], before[slow] / factor, **CLOSE)
    share = ((turns - low) / (low * ratio - low))[~fast & ~slow]
    blend = before[~fast & ~slow] * (share + (1 - share) / factor)
    np.testing.assert_allclose(frequencies[~fast & ~slow], blend, rtol=1e-15 * 200)  # low · ratio − low cancels by 100


@given(half=halves, theta=thetas, data=st.data())
def test_longrope_has_a_divisor_for_every_pair_and_another_in_long_texts(half, theta, data):
    lists = st.lists(st.floats(0.5, 60), min_size=half, max_size=half)
    short, long = data.draw(lists, "short"), data.draw(lists, "long")
    fields = {"short_factor": short, "long_factor": long, "original_max_position_embeddings": 16}
    rope, before = rope_of("longrope", half, theta, **fields), plain(half, theta)
    np.testing.assert_allclose(rope.at(15)[0], before / short, **CLOSE)  # 16 tokens
    np.testing.assert_allclose(rope.at(16)[0], before / long, **CLOSE)
    assert rope.at(15)[1] == rope.at(16)[1] == pytest.approx(math.sqrt(1 + math.log(4, 16)), rel=1e-15)


@given(half=halves, theta=thetas, factor=factors, share=st.floats(0, 1))
def test_proportional_turns_the_first_pairs_alone(half, theta, factor, share):
    frequencies = rope_of("proportional", half, theta, factor=factor, partial_rotary_factor=share).frequencies
    turning = math.floor(share * half)
    np.testing.assert_array_equal(frequencies[:turning], plain(half, theta)[:turning] / factor)
    np.testing.assert_array_equal(frequencies[turning:], 0)


@given(half=halves, theta=thetas, factor=factors, low=st.floats(0.5, 4), less=st.floats(0, 0.4))
def test_llama3_without_a_ramp_is_a_step(half, theta, factor, low, less):
    """With high_freq_factor at or below low_freq_factor no pair lies between: low alone divides them."""
    fields = {"low_freq_factor": low, "high_freq_factor": low - less, "original_max_position_embeddings": 512}
    before = plain(half, theta)
    turns = before * 512 / (2 * math.pi)
    assume((np.abs(turns / low - 1) > 1e-9).all())
    frequencies = rope_of("llama3", half, theta, factor=factor, **fields).frequencies
    np.testing.assert_array_equal(frequencies, np.where(turns > low, before, before / float(factor)))


# -- published and worked out by hand ----------------------------------------------------------------------------------


def test_attention_scaling_as_published():
    phi3 = {"short_factor": [1.0] * 4, "long_factor": [1.0] * 4, "original_max_position_embeddings": 2}
    # YaRN: √(1/t) = 0.1 ln(s) + 1; 16 times the context makes 1.2773.
    assert rope_of("yarn", 4, factor=16.0).attention_scaling == pytest.approx(1.2772588722239782, rel=1e-15)
    # DeepSeek-V2: mscale and mscale_all_dim both 0.707 cancel.
    assert rope_of("yarn", 4, factor=40, mscale=0.707, mscale_all_dim=0.707).attention_scaling == 1
    both = rope_of("yarn", 4, factor=math.e, mscale=2, mscale_all_dim=1).attention_scaling
    assert both == pytest.approx(1.2 / 1.1, rel=1e-15)
    # One of the two alone does nothing.
    assert rope_of("yarn", 4, factor=math.e, mscale=2).attention_scaling == pytest.approx(1.1, rel=1e-15)
    # LongRoPE: √(1 + ln(32) / ln(2)) = √6, the factor being 64 / 2 where it isn't given.
    assert rope_of("longrope", 4, **phi3).attention_scaling == pytest.approx(math.sqrt(6), rel=1e-15)
    assert rope_of("longrope", 4, factor=8, **phi3).attention_scaling == 2
    assert rope_of("longrope", 4, factor=8, attention_factor=1.5, **phi3).attention_scaling == 1.5
    assert rope_of("yarn", 4, factor=0.5).attention_scaling == 1


def test_llama_31_frequencies_worked_out_by_hand():
    """D = 128, θ = 500,000, trained on 8,192 tokens: wavelengths of 2π · θ^(i/64)."""
    rope = LlamaConfig(
        hidden_size=128,
        num_attention_heads=1,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    change = plain(64, 500_000.0) / scaled_rope(rope_frequencies, rope, FLOAT64).frequencies
    # 2π · 500000^(28/64) = 1956 < 8192 / 4 < 2π · 500000^(29/64) = 2401; … 34/64: 6697 < 8192 < 35/64: 8221
    np.testing.assert_array_equal(change[:29], 1)
    assert ((change > 1) & (change < 8))[29:35].all()
    np.testing.assert_allclose(change[35:], 8, rtol=1e-15)


def test_yarn_worked_out_by_hand():
    """θ = 256, D = 8: frequencies 1, 1/4, 1/16, 1/64. Trained on 2π · 64 tokens they turn 64, 16, 4 and 1 times."""
    fields = {"original_max_position_embeddings": 2 * math.pi * 64, "beta_fast": 16.0, "beta_slow": 1.0}
    frequencies = rope_of("yarn", 4, 256.0, factor=3.0, truncate=False, **fields).frequencies
    np.testing.assert_allclose(frequencies, [1, 1 / 4, (1 / 2 + 1 / 6) / 16, 1 / 64 / 3], rtol=1e-15)


# -- of every type -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rope_type", ROPE_TYPES)
def test_frequencies_are_float32_but_for_a_float64_model(rope_type):
    for name, dtype in DTYPES.items():
        rope = rope_of(rope_type, 6, dtype=dtype, **some_fields(rope_type, 6))
        for frequencies, scaling in (rope.at(0), rope.at(10 * TRAINED)):
            assert frequencies.dtype == (np.float64 if name == "float64" else np.float32)
            assert frequencies.shape == (6,)
            assert type(scaling) is float


@pytest.mark.parametrize("rope_type", ROPE_TYPES)
def test_only_dynamic_and_longrope_depend_on_the_largest_position(rope_type):
    rope = rope_of(rope_type, 6, **some_fields(rope_type, 6))
    threshold = {"dynamic": TRAINED, "longrope": 32}.get(rope_type)
    assert rope.trained == (threshold or math.inf)
    if threshold is None:
        assert rope.at(10**7)[0] is rope.frequencies
        return
    assert rope.at(threshold - 1)[0] is rope.frequencies
    assert (rope.at(threshold)[0][1:] < rope.frequencies[1:]).all()
    # No call leaves a trace: short texts after long ones, and long ones in any order.
    far = rope.at(10 * threshold)[0].copy()
    rope.at(99 * threshold)
    np.testing.assert_array_equal(rope.at(10 * threshold)[0], far)
    assert rope.at(3)[0] is rope.frequencies


@pytest.mark.parametrize("rope_type", ROPE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_swapped_block_decides_the_frequencies_of_every_type(rope_type, dtype):
    """Twice as fast a rope_frequencies makes every frequency twice as large: no type goes round the block."""

    def twice_as_fast(head_dim, theta, dtype):
        return rope_frequencies(head_dim, theta, dtype) * 2

    fields = some_fields(rope_type, 6)
    if rope_type == "llama3":  # where its ramp ends depends on the frequencies themselves
        fields["original_max_position_embeddings"] = 1
    config, dtype = config_of(rope_type, 6, **fields), DTYPES[dtype]
    ours, swapped = scaled_rope(rope_frequencies, config, dtype), scaled_rope(twice_as_fast, config, dtype)
    for position in (0, 1000):
        expected = 2 * ours.at(position)[0]
        np.testing.assert_allclose(swapped.at(position)[0], expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("rope_type", ROPE_TYPES)
def test_config_json_gives_every_type_back(tmp_path, rope_type):
    config = config_of(rope_type, 6, **some_fields(rope_type, 6))
    config.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)
        assert LlamaConfig.from_pretrained(tmp_path) == config


# -- spelling ----------------------------------------------------------------------------------------------------------


def test_the_older_spelling_of_every_type():
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    older = LlamaConfig.from_dict({"rope_theta": 77.0, "rope_scaling": scaling})
    assert older.rope_parameters == {
        "rope_type": "yarn",
        "rope_theta": 77.0,
        "factor": 4.0,
        "original_max_position_embeddings": 512,
    }


def test_the_trained_length_beside_rope_scaling_goes_first():
    beside = {"original_max_position_embeddings": 128, "rope_scaling": {"type": "yarn", "factor": 16.0}}
    assert LlamaConfig.from_dict(beside).rope_parameters["original_max_position_embeddings"] == 128
    with pytest.warns(LlamaWarning, match="unknown fields kept and not used: original_max_position_embeddings"):
        config = LlamaConfig.from_dict({"original_max_position_embeddings": 128})
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 10000.0}
    assert config.to_dict()["original_max_position_embeddings"] == 128


def test_which_spelling_goes_first():
    both = {"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_theta": 7.0}, "rope_theta": 8.0}
    for config in (LlamaConfig(**both), LlamaConfig.from_dict(both)):
        assert config.rope_parameters == {"rope_type": "linear", "rope_theta": 8.0, "factor": 2}
    inside = {"rope_parameters": {"rope_theta": 7.0}, "rope_theta": 8.0, "rope_scaling": None}
    for config in (LlamaConfig(**inside), LlamaConfig.from_dict(inside)):
        assert config.rope_parameters == {"rope_type": "default", "rope_theta": 7.0}


def test_rope_type_goes_before_type():
    with pytest.warns(LlamaWarning, match="rope type default doesn't have are not used: .'factor'"):
        config = LlamaConfig(rope_parameters={"type": "linear", "rope_type": "default", "factor": 2.0})
    assert config.rope_parameters["rope_type"] == "default"


@pytest.mark.filterwarnings("error")
def test_the_trained_length_is_the_models_unless_given():
    config = LlamaConfig(rope_parameters={"rope_type": "yarn", "factor": 4.0}, max_position_embeddings=100)
    assert config.rope_parameters["original_max_position_embeddings"] == 100


# -- what can't be -----------------------------------------------------------------------------------------------------

LONG = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
NOT_POSITIVE = (0, -1, 0.0, 1e-300, math.nan, math.inf, -math.inf, "2", True, [2.0], {}, 10**400)


def refuses(rope_type, field, **fields):
    with pytest.raises(LlamaError) as caught:
        config_of(rope_type, 4, **fields)
    assert caught.value.where == f"rope_parameters.{field}"
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("value", [*NOT_POSITIVE, None], ids=lambda value: repr(value)[:10])
def test_numbers_that_must_be_positive(value):
    for rope_type in ("linear", "dynamic", "llama3", "proportional"):
        assert "a positive number" in refuses(rope_type, "factor", **{**LLAMA3, "factor": value})
    for name in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"):
        refuses("llama3", name, **{**LLAMA3, name: value})
    for rope_type, fields in (("yarn", {"factor": 2.0}), ("longrope", LONG)):
        refuses(rope_type, "original_max_position_embeddings", **fields, original_max_position_embeddings=value)
    for rope_type in NEEDED:
        refuses(rope_type, "rope_theta", theta=value, **some_fields(rope_type, 4))


@pytest.mark.parametrize("value", NOT_POSITIVE, ids=lambda value: repr(value)[:10])
def test_factors_that_may_be_null_and_nothing_else(value):
    refuses("yarn", "factor", factor=value)
    refuses("longrope", "factor", **LONG, factor=value)
    for name in ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"):
        if value != 0 or isinstance(value, bool):
            assert "0 or more" in refuses("yarn", name, factor=2.0, **{name: value})
    if value != 0:
        refuses("longrope", "attention_factor", **LONG, attention_factor=value)


@pytest.mark.parametrize("rope_type", ["linear", "dynamic", "yarn", "llama3"])
def test_a_factor_must_be_there(rope_type):
    fields = some_fields(rope_type, 4)
    del fields["factor"]
    assert "found None" in refuses(rope_type, "factor", **fields)


def test_null_factors_are_worked_out():
    fields = {"original_max_position_embeddings": 16}
    by_ratio = rope_of("yarn", 4, factor=None, attention_factor=None, beta_fast=None, mscale=None, **fields)
    given_ = rope_of("yarn", 4, factor=4.0, **fields)
    np.testing.assert_array_equal(by_ratio.frequencies, given_.frequencies)
    assert by_ratio.attention_scaling == given_.attention_scaling
    # 0 counts as not given, as in Transformers
    zeros = rope_of("yarn", 4, factor=4.0, beta_fast=0, beta_slow=0, mscale=0, mscale_all_dim=1, **fields)
    np.testing.assert_array_equal(zeros.frequencies, given_.frequencies)
    assert zeros.attention_scaling == given_.attention_scaling
    ratio, stated = rope_of("longrope", 4, **LONG, **fields), rope_of("longrope", 4, **LONG, factor=4, **fields)
    assert ratio.attention_scaling == stated.attention_scaling


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.0,
        "1111",
        {},
        [],
        [1.0],
        [1.0] * 3,
        [1.0] * 5,
        [1.0] * 10**6,
        [1.0, 2.0, 3.0, "4"],
        [1.0, 2.0, 3.0, True],
        [1.0, 2.0, 3.0, None],
        [1.0, 2.0, 3.0, 0],
        [1.0, 2.0, 3.0, -4],
        [1.0, 2.0, 3.0, math.nan],
        [1.0, 2.0, 3.0, math.inf],
        [[1.0], [2.0], [3.0], [4.0]],
        ["x" * 10**6] * 4,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_longrope_lists_must_be_d_half_positive_numbers(value):
    for name in ("short_factor", "long_factor"):
        assert "a list of 4 positive numbers (head_dim / 2)" in refuses("longrope", name, **{**LONG, name: value})


@pytest.mark.parametrize("value", [None, 0, 1, "true"])
def test_truncate_is_true_or_false(value):
    assert "true or false" in refuses("yarn", "truncate", factor=2.0, truncate=value)


@pytest.mark.parametrize("value", [None, 3, True, [], "su", "mrope", "axial", "x" * 10**6])
def test_rope_types_that_transformers_does_not_have_for_llama(value):
    refuses(value, "rope_type")


@pytest.mark.parametrize("value", [3, 0, False, "linear", "", [], [1], [0] * 10**6])
def test_rope_parameters_must_be_an_object(value):
    for name in ("rope_parameters", "rope_scaling"):
        with pytest.raises(LlamaError, match="rope_parameters: impossible value; expected an object") as caught:
            LlamaConfig(**{name: value})
        assert len(str(caught.value)) < 200


def test_divisions_by_zero_are_found_before_they_happen():
    refuses("yarn", "rope_theta", theta=1.0, factor=2.0)
    refuses("longrope", "original_max_position_embeddings", **LONG, original_max_position_embeddings=1)
    rope_of("longrope", 4, **LONG, original_max_position_embeddings=1, attention_factor=1.0)
    with pytest.raises(LlamaError, match="rope_parameters.rope_type: .*another than dynamic where head_dim is 2"):
        config_of("dynamic", 1, factor=2.0)


def test_numbers_that_make_no_frequencies_are_refused_by_the_model():
    """factor − (factor − 1) is 0 for a factor past float64's 16 digits, and so would be the base."""
    for dtype in DTYPES.values():
        with pytest.raises(LlamaError, match="rope_parameters: impossible value; expected .*finite frequencies"):
            rope_of("dynamic", 4, dtype=dtype, factor=1e30)


# -- partial_rotary_factor ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rope_type", ["linear", "dynamic", "yarn", "longrope", "llama3"])
@pytest.mark.parametrize("value", [0.75, 0.5, 0.0, 1.3, -0.5, math.nan, math.inf, "1", True, None])
def test_a_part_of_the_channels_is_refused_where_transformers_crashes(rope_type, value):
    refuses(rope_type, "partial_rotary_factor", **some_fields(rope_type, 4), partial_rotary_factor=value)
    config_of(rope_type, 4, **some_fields(rope_type, 4), partial_rotary_factor=1)


@pytest.mark.parametrize("value", [1.3, -0.5, math.nan, math.inf, "1", True, None])
def test_proportional_turns_none_to_all_of_the_pairs(value):
    refuses("proportional", "partial_rotary_factor", partial_rotary_factor=value)


def test_default_passes_over_partial_rotary_factor_with_a_warning():
    with pytest.warns(LlamaWarning, match="partial_rotary_factor has no effect with rope type default"):
        config = LlamaConfig.from_dict({"partial_rotary_factor": 0.5, "hidden_size": 64, "num_attention_heads": 4})
    frequencies = scaled_rope(rope_frequencies, config, FLOAT64).frequencies
    np.testing.assert_array_equal(frequencies, plain(8, 10_000.0))
    refuses("default", "partial_rotary_factor", partial_rotary_factor="half")


# -- what is surely not meant ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "linear", "factor": 2, "wings": 2}, "rope type linear doesn't have are not used: .'wings'"),
        ({"rope_type": "linear", "factor": 0.5}, "factor 0.5 is less than 1"),
        ({"rope_type": "llama3", **LLAMA3, "low_freq_factor": 9}, "high_freq_factor is not greater than low"),
        ({"rope_type": "llama3", **LLAMA3}, "original_max_position_embeddings is not less than"),
        ({"rope_type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 2}, "beta_fast is less than beta_slow"),
        (
            {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 512},
            "factor is 2, and max_position_embeddings / original_max_position_embeddings is 4; factor counts",
        ),
    ],
)
def test_a_warning_for_what_transformers_warns_about(rope, message):
    with pytest.warns(LlamaWarning, match=message) as caught:
        LlamaConfig(max_position_embeddings=2048, rope_parameters=rope)
    assert all(warning.filename == __file__ for warning in caught)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.sampled_from([1e-38, 1e38, 1 + 1e-15]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
field_names = sorted({"rope_theta", "partial_rotary_factor", "type", *sum(NEEDED.values(), ())})


@given(
    rope_type=st.sampled_from(sorted(NEEDED)),
    half=st.sampled_from([1, 2, 4]),
    wrong=st.dictionaries(st.sampled_from([*field_names, "attention_factor", "beta_fast", "mscale"]), json_values),
    position=st.integers(0, 10**6),
)
@settings(max_examples=300)
def test_whatever_json_says_there_are_finite_frequencies_or_a_llama_error(rope_type, half, wrong, position):
    parameters = json.loads(json.dumps({"rope_type": rope_type, **some_fields(rope_type, half), **wrong}))
    theta = parameters.pop("rope_theta", 10_000.0)
    try:
        rope = rope_of(parameters.pop("rope_type"), half, theta, dtype=DTYPES["float32"], **parameters)
        frequencies, scaling = rope.at(position)
    except LlamaError:
        return
    assert np.isfinite(frequencies).all() and math.isfinite(scaling)
    assert frequencies.shape == (half,)
