"""Every rope type beside Transformers: the same configs refused, the same frequencies, the same logits.

torch takes the powers of a whole array by a vector routine that is right to one unit in the last place, not to a half;
where it has none for the processor, by the C library's powf. Hence one power in a hundred, and the frequency made of
it, differs from ours in the last bit. With our powers in their place, every other operation must agree bit for bit.
"""

import math
import warnings
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import transformers  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding  # noqa: E402

from numpy_llama import KVCache, LlamaConfig, LlamaError, LlamaWarning  # noqa: E402
from numpy_llama.blocks import rope_frequencies, rope_tables  # noqa: E402
from numpy_llama.model.rope_scaling import scaled_rope  # noqa: E402
from numpy_llama.model.rope_types import ROPE_TYPES  # noqa: E402
from numpy_llama.precision import DTYPES  # noqa: E402
from numpy_llama.reference.lifted import frequencies_in_float64  # noqa: E402
from numpy_llama.reference.record import forward, to_numpy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::numpy_llama.LlamaWarning")
RELATIVE = {"float32": 1e-5, "float64": 1e-11}


@pytest.fixture(autouse=True, scope="module")
def quietly():
    """Transformers warns about each odd config."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def numbers(low, high):
    return st.one_of(st.integers(math.ceil(low), int(high)), st.floats(low, high))


def fields_of(rope_type, half, trained):
    """(fields that must be there, fields that may be) with strategies for both."""
    lists = st.lists(numbers(0.9, 60), min_size=half, max_size=half)
    own = st.sampled_from([4, 8, 33, trained // 2, trained])
    attention = st.sampled_from([None, 0, 0.7, 1, 1.5])
    factor, maybe = numbers(0.5, 40), st.sampled_from([None, 1.5, 4, 8.0])
    return {
        "default": ({}, {}),
        "linear": ({"factor": factor}, {}),
        "dynamic": ({"factor": factor}, {}),
        "proportional": ({}, {"factor": factor, "partial_rotary_factor": st.floats(0, 1)}),
        "llama3": (
            {"factor": factor, "low_freq_factor": numbers(0.3, 3.9), "high_freq_factor": numbers(2.1, 32)},
            {"original_max_position_embeddings": own},
        ),
        "longrope": (
            {"short_factor": lists, "long_factor": lists},
            {"factor": maybe, "attention_factor": attention, "original_max_position_embeddings": own},
        ),
        "yarn": (
            {"factor": maybe},
            {
                "attention_factor": attention,
                "original_max_position_embeddings": own,
                "beta_fast": st.sampled_from([None, 0, 2, 16.5, 32]),
                "beta_slow": st.sampled_from([None, 0, 0.3, 1, 4]),
                "mscale": st.sampled_from([None, 0, 0.707, 1, 1.3]),
                "mscale_all_dim": st.sampled_from([None, 0, 0.707, 0.8]),
                "truncate": st.booleans(),
            },
        ),
    }[rope_type]


@st.composite
def arguments(draw, rope_types=tuple(ROPE_TYPES), parts=(1, 1.0)):
    """Keyword arguments of a LlamaConfig, ours or theirs."""
    rope_type, half = draw(st.sampled_from(rope_types)), draw(st.integers(1, 40))
    trained = draw(st.sampled_from([16, 100, 200, 2048]))
    needed, optional = fields_of(rope_type, half, trained)
    theta = draw(st.one_of(st.sampled_from([10_000, 10_000.0, 500_000.0]), st.floats(2, 1e6)))
    rope = {"rope_type": rope_type, "rope_theta": theta, **draw(st.fixed_dictionaries(needed, optional=optional))}
    if rope_type != "proportional" and draw(st.booleans()):
        rope["partial_rotary_factor"] = draw(st.sampled_from(parts))
    return {
        "hidden_size": 2 * half,
        "num_attention_heads": 1,
        "head_dim": 2 * half,
        "max_position_embeddings": trained,
        "rope_parameters": rope,
    }


PARTS = (1, 0.999, 0.99, 0.96, 0.75, 0.5, 0.25, 0.1, 0, 1.01, 1.1, 1.5, -0.1, -1)
lengths = st.sampled_from([1, 4, 5, 15, 16, 17, 33, 34, 100, 101, 200, 201, 700, 2048, 2049, 5000])


def ours(given_):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)
        return LlamaConfig(**{**given_, "rope_parameters": dict(given_["rope_parameters"])})


def theirs(given_):
    return transformers.LlamaConfig(**{**given_, "rope_parameters": dict(given_["rope_parameters"])})


def their_rope(config, tokens, dtype=torch.float32):
    """A fresh module after one call of so many tokens, and its tables."""
    module = LlamaRotaryEmbedding(config)
    with torch.no_grad():
        return module, module(torch.zeros(1, dtype=dtype), torch.arange(tokens)[None])


def our_powers():
    """While this lasts, torch takes the powers of arrays as we do."""
    plain = torch.Tensor.__pow__

    def number_to_the(exponent, base):
        powers = np.float64(np.float32(base)) ** exponent.numpy().astype(np.float64)
        return torch.from_numpy(powers.astype(np.float32))

    def to_the(base, exponent):
        if isinstance(exponent, torch.Tensor):
            return number_to_the(exponent, base.numpy())
        return plain(base, exponent)

    return mock.patch.multiple(torch.Tensor, __rpow__=number_to_the, __pow__=to_the)


@given(given_=arguments(parts=PARTS), tokens=lengths)
@settings(max_examples=300)
def test_the_same_configs_are_refused_and_float32_frequencies_are_bit_equal(given_, tokens):
    try:
        rope = scaled_rope(rope_frequencies, ours(given_), DTYPES["float32"])
    except LlamaError:
        rope = None
    try:
        with our_powers():
            module, (cos, _) = their_rope(theirs(given_), tokens)
        crashes = cos.shape[-1] != given_["head_dim"]  # apply_rotary_pos_emb would
    except (RuntimeError, ZeroDivisionError):
        crashes = True
    assert (rope is None) == crashes
    if rope is not None:
        frequencies, scaling = rope.at(tokens - 1)
        np.testing.assert_array_equal(frequencies, to_numpy(module.inv_freq), strict=True)
        assert scaling == module.attention_scaling


@given(given_=arguments(), tokens=lengths)
@settings(max_examples=150)
def test_float32_frequencies_with_torchs_own_powers(given_, tokens):
    """One unit in the last place (1.2e-7) for the power, one for the quotient; llama3's blend multiplies that by its
    slope, high / (high − low) and the like, and is left to the test above."""
    if given_["rope_parameters"]["rope_type"] == "llama3" or is_impossible(given_):
        return
    module, _ = their_rope(theirs(given_), tokens)
    frequencies, _ = scaled_rope(rope_frequencies, ours(given_), DTYPES["float32"]).at(tokens - 1)
    np.testing.assert_allclose(frequencies, to_numpy(module.inv_freq), rtol=2.4e-7, atol=0)


@given(given_=arguments(), tokens=lengths)
@settings(max_examples=150)
def test_float64_frequencies_are_those_of_the_papers(given_, tokens):
    """A few roundings of 1.1e-16, times the 40 by which dynamic's difference and llama3's slope multiply them."""
    if is_impossible(given_):
        return
    truth, scaling = frequencies_in_float64(theirs(given_), tokens)
    frequencies, our_scaling = scaled_rope(rope_frequencies, ours(given_), DTYPES["float64"]).at(tokens - 1)
    assert our_scaling == pytest.approx(scaling, rel=1e-15)
    if not near_a_step(given_["rope_parameters"]):
        np.testing.assert_allclose(frequencies, truth.numpy(), rtol=2e-14, atol=0)


def is_impossible(given_):
    """Dynamic's exponent is D / (D − 2)."""
    return given_["rope_parameters"]["rope_type"] == "dynamic" and given_["head_dim"] == 2


def near_a_step(rope):
    """A llama3 ramp of no width, or nearly, is a step: which side a pair is on may hang on its last bit."""
    return rope["rope_type"] == "llama3" and rope["high_freq_factor"] - rope["low_freq_factor"] < 0.1


@given(given_=arguments())
@settings(max_examples=150)
def test_standard_parameters_are_the_same(given_):
    if not is_impossible(given_):
        assert ours(given_).rope_parameters == theirs(given_).rope_parameters


@given(given_=arguments(), beside=st.sampled_from([None, 7, 50]), older_name=st.booleans())
@settings(max_examples=100)
def test_the_older_spelling_is_read_alike(given_, beside, older_name):
    if is_impossible(given_):
        return
    rope = dict(given_["rope_parameters"])
    told = {name: given_[name] for name in given_ if name != "rope_parameters"} | {"rope_theta": rope.pop("rope_theta")}
    if older_name:
        rope["type"] = rope.pop("rope_type")
    told["rope_scaling"] = rope
    if beside:
        told["original_max_position_embeddings"] = beside
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)
        config = LlamaConfig.from_dict({**told, "rope_scaling": dict(rope)})
    other = transformers.LlamaConfig(**told)
    with our_powers():
        module, _ = their_rope(other, 60)
    expected = {name: value for name, value in other.rope_parameters.items() if name != "type"}
    assert config.rope_parameters == expected
    frequencies, scaling = scaled_rope(rope_frequencies, config, DTYPES["float32"]).at(59)
    np.testing.assert_array_equal(frequencies, to_numpy(module.inv_freq))
    assert scaling == module.attention_scaling


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tables_with_attention_scaling_are_rounded_alike(dtype):
    """The factor multiplies before the tables are rounded to two bytes. NumPy's and torch's cos and sin differ in the
    last bit of some float32 numbers; the rounding hides most of that."""
    rope = {"rope_type": "yarn", "factor": 16.0, "rope_theta": 10_000.0, "original_max_position_embeddings": 64}
    given_ = {"hidden_size": 64, "num_attention_heads": 1, "max_position_embeddings": 1024, "rope_parameters": rope}
    _, tables = their_rope(theirs(given_), 400, getattr(torch, dtype))
    frequencies, scaling = scaled_rope(rope_frequencies, ours(given_), DTYPES[dtype]).at(399)
    assert scaling > 1.2
    for table, other in zip(
        rope_tables(np.arange(400)[None], frequencies, DTYPES[dtype], scaling), tables, strict=True
    ):
        other = to_numpy(other)
        assert table.dtype == other.dtype
        assert (table == other).mean() > (0.9 if dtype == "float32" else 0.99)
        np.testing.assert_allclose(
            table.astype(float), other.astype(float), rtol=0, atol=2e-7 if dtype == "float32" else 1e-2
        )


# -- whole models ------------------------------------------------------------------------------------------------------

HALF = 8
ROPES = {
    "default": {},
    "linear": {"factor": 3.0},
    "dynamic": {"factor": 2.5},
    "yarn": {"factor": 2.5, "original_max_position_embeddings": 12},
    "longrope": {
        "short_factor": [1 + i / 8 for i in range(HALF)],
        "long_factor": [1.3 + i / 2 for i in range(HALF)],
        "original_max_position_embeddings": 12,
    },
    "llama3": {
        "factor": 2.7,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 12,
    },
    "proportional": {"factor": 1.5, "partial_rotary_factor": 0.6},
}
DEPENDS_ON_THE_CALL = ("dynamic", "longrope")


def model_config(rope_type, trained=24):
    return LlamaConfig(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=30,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=2 * HALF,
        max_position_embeddings=trained,
        rope_parameters={"rope_type": rope_type, "rope_theta": 10_000.0, **ROPES[rope_type]},
    )


def fresh(model):
    """The same model with a rope that remembers no earlier call."""
    model.model.rotary_emb = LlamaRotaryEmbedding(model.config)
    return model


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize("rope_type", ROPE_TYPES)
def test_logits_call_by_call_within_and_past_the_trained_context(make_pair, rope_type, dtype):
    from transformers import DynamicCache

    our_model, their_model = make_pair(model_config(rope_type), dtype, seed=5)
    ids = np.random.default_rng(5).integers(0, 40, (2, 60))
    for pieces in ([60], [10, 2, 1, 1, 10, 1, 1, 14, 1, 1, 18], [13, 47], [24, 1, 35]):
        our_cache, their_cache, at = KVCache(2), DynamicCache(config=their_model.config), 0
        for tokens in pieces:
            part, at = ids[:, at : at + tokens], at + tokens
            expected = forward(fresh(their_model), part, past_key_values=their_cache).logits
            assert distance(our_model(part, past_key_values=our_cache).logits, expected) < RELATIVE[dtype]


@pytest.mark.parametrize("rope_type", ROPE_TYPES)
def test_any_split_gives_the_logits_of_one_pass_but_for_two_types_past_their_threshold(make_pair, rope_type):
    our_model, _ = make_pair(model_config(rope_type), "float64", seed=6)
    ids = np.random.default_rng(6).integers(0, 40, (1, 40))
    for total in (12, 40):  # 12 tokens are within the threshold of both types
        whole = our_model(ids[:, :total]).logits
        cache = KVCache(2)
        parts = [our_model(part, past_key_values=cache).logits for part in np.split(ids[:, :total], [5, 6, 11], axis=1)]
        apart = distance(np.concatenate(parts, axis=1), whole)
        if rope_type in DEPENDS_ON_THE_CALL and total == 40:
            assert apart > 1e-3
        else:
            assert apart < 1e-13


@pytest.mark.parametrize("rope_type", DEPENDS_ON_THE_CALL)
def test_one_long_row_sets_the_frequencies_of_the_batch_as_in_transformers(make_pair, rope_type):
    our_model, their_model = make_pair(model_config(rope_type), "float64", seed=7)
    ids = np.random.default_rng(7).integers(0, 40, (2, 9))
    positions = np.arange(9) + np.array([[0], [70]])
    expected = forward(fresh(their_model), ids, position_ids=positions).logits
    assert distance(our_model(ids, position_ids=positions).logits, expected) < 1e-11
    alone = our_model(ids[:1], position_ids=positions[:1]).logits
    assert distance(alone, expected[:1]) > 1e-3


@pytest.mark.parametrize("rope_type", ROPE_TYPES)
def test_float32_logits_up_to_position_2048(make_pair, rope_type):
    """Nearly all of it past the trained context. No power in these frequencies is one that torch rounds otherwise."""
    our_model, their_model = make_pair(model_config(rope_type), "float32", seed=8)
    ids = np.random.default_rng(8).integers(0, 40, (1, 2048))
    assert distance(our_model(ids).logits, forward(fresh(their_model), ids).logits) < RELATIVE["float32"]


def test_ours_remembers_no_longer_text_where_transformers_does(make_pair):
    """Transformers' dynamic rope keeps the frequencies of the longest text until one within the context comes."""
    our_model, their_model = make_pair(model_config("dynamic"), "float32", seed=9)
    long, short = np.random.default_rng(9).integers(0, 40, (1, 90)), np.random.default_rng(10).integers(0, 40, (1, 30))
    expected = forward(fresh(their_model), short).logits
    our_model(long), forward(their_model, long)
    assert distance(our_model(short).logits, expected) < RELATIVE["float32"]
    assert distance(forward(their_model, short).logits, expected) > 1e-3
