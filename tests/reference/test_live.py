"""Ours beside Transformers, both running: the embedded model, and what test_surface_live.py leaves out: what is made of
padding, greedy generation, folders that go back and forth.

Errors are relative to the largest number of the array: the error of a sum is relative to its terms, not to what is left
when they cancel.
"""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numpy_llama import LlamaConfig, LlamaForCausalLM
from numpy_llama.checkpoints import data_folder
from numpy_llama.conformance.greedy import follow_greedy, logits_along
from numpy_llama.reference.record import continue_greedily, forward

# A float32 rounding is 6e-8 of a number, a float64 one 1.1e-16. Three layers of sums of up to a hundred terms make some
# hundred roundings, which mostly cancel; a division by a small root in RMSNorm may blow their sum up tenfold.
RELATIVE = {"float32": 1e-5, "float64": 1e-11}

# See tests/published/test_published_logits.py: distance from the truth, ours over Transformers'. Chance alone makes
# 3 % over three texts of 150 tokens (one standard deviation, measured; as much as between two orders of summation),
# and less than one over thirty times as many.
WORST_CASE, ALL_CASES = 1.25, 1.02


@st.composite
def ropes(draw):
    theta = draw(st.sampled_from([100.0, 10_000.0, 500_000.0]))
    kind = draw(st.sampled_from(["default", "linear", "llama3"]))
    rope = {"rope_type": kind, "rope_theta": theta}
    if kind != "default":
        rope["factor"] = draw(st.sampled_from([1.5, 4.0, 8.0, 2.7]))
    if kind == "llama3":
        low = draw(st.sampled_from([0.5, 1.0, 1.1]))
        rope |= {
            "low_freq_factor": low,
            "high_freq_factor": low * draw(st.sampled_from([2.0, 4.0, 1.3])),
            "original_max_position_embeddings": draw(st.sampled_from([8, 32, 100])),
        }
    return rope


@st.composite
def configs(draw):
    """Multi-head, grouped and multi-query attention, any even head size, biases, tied heads, three types of rope."""
    K = draw(st.integers(1, 3))
    H = K * draw(st.integers(1, 3))
    return LlamaConfig(
        vocab_size=draw(st.integers(8, 80)),
        hidden_size=H * draw(st.integers(2, 8)),
        intermediate_size=draw(st.integers(1, 60)),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=H,
        num_key_value_heads=K,
        head_dim=2 * draw(st.integers(1, 10)),
        max_position_embeddings=200,
        rms_norm_eps=draw(st.sampled_from([1e-6, 1e-5, 1e-3])),
        tie_word_embeddings=draw(st.booleans()),
        attention_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        rope_parameters=draw(ropes()),
    )


seeds = st.integers(0, 2**32 - 1)
on_random_configurations = settings(
    max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def random_ids(config: LlamaConfig, seed: int, rows: int, tokens: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, config.vocab_size, (rows, tokens))


def assert_near(ours: np.ndarray, theirs: np.ndarray, relative: float) -> None:
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * np.abs(theirs).max())


@pytest.mark.parametrize("dtype", RELATIVE)
@given(config=configs(), seed=seeds, padding=st.lists(st.integers(0, 6), min_size=2, max_size=4))
@on_random_configurations
def test_left_padding(make_pair, dtype, config, seed, padding):
    """At padding, too, where nobody looks: a position that sees nothing must not become NaN in either."""
    ours, theirs = make_pair(config, dtype, seed)
    tokens = max(padding) + 4
    ids = random_ids(config, seed, len(padding), tokens)
    mask = (np.arange(tokens) >= np.array(padding)[:, None]).astype(np.int64)
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    expected = forward(theirs, ids, attention_mask=mask, position_ids=positions)
    assert_near(ours(ids, mask, positions).logits, expected.logits, RELATIVE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@given(config=configs(), seed=seeds)
@settings(on_random_configurations, max_examples=6)
def test_what_transformers_saves_we_load(make_pair, tmp_path_factory, dtype, config, seed):
    """make_pair has shown the other way; after both ways the numbers are the same, bit by bit."""
    ours, theirs = make_pair(config, dtype, seed)
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    back = LlamaForCausalLM.from_pretrained(folder, dtype)
    assert set(back.tensors) == set(ours.tensors)
    for name, tensor in ours.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], tensor)
    assert back.config.rope_parameters == ours.config.rope_parameters
    ids = random_ids(config, seed, 1, 5)
    np.testing.assert_array_equal(back(ids).logits, ours(ids).logits)


@pytest.mark.parametrize("dtype", RELATIVE)
@given(config=configs(), seed=seeds, tokens=st.integers(1, 5))
@settings(on_random_configurations, max_examples=6)
def test_greedy_generation(make_pair, dtype, config, seed, tokens):
    ours, theirs = make_pair(config, dtype, seed)
    prompt = random_ids(config, seed, 1, tokens)[0].tolist()
    expected = continue_greedily(theirs, prompt, 40)
    logits = logits_along(ours, prompt, expected.tokens)
    bar = 2 * RELATIVE[dtype] * float(np.abs(logits).max())
    comparison = follow_greedy(logits, expected.tokens, bar)
    assert not comparison.differences
    assert_near(logits[np.arange(40), expected.tokens], expected.top_two[:, 0], RELATIVE[dtype])
    if not comparison.ties:
        generated = ours.generate([prompt], max_new_tokens=40, do_sample=False, eos_token_id=None)
        np.testing.assert_array_equal(generated[0, tokens:], expected.tokens)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_two_byte_storyteller_is_as_near_to_the_truth_as_transformers(storytellers, dtype, record_property):
    """On its own stories, cut at the front: with one first token everywhere, its roundings would count in all cases."""
    ours, theirs = storytellers(dtype)
    narrator, _ = storytellers("float32")
    start = np.ones((90, 1), int)
    stories = narrator.generate(start, max_new_tokens=130, do_sample=True, top_k=0, eos_token_id=None, seed=0)[:, 20:]
    judge([distance_ratio(ours, theirs, three) for three in np.split(stories, 30)], record_property)


def distance_ratio(ours, theirs, ids: np.ndarray) -> float:
    """How far ours is from the truth, over how far Transformers is: roots of mean squares over all logits of a case."""
    exact = LlamaForCausalLM(ours.config, {name: t.astype(np.float64) for name, t in ours.tensors.items()})
    truth = exact(ids).logits
    ours_off, theirs_off = (
        np.sqrt(np.mean(np.square(logits.astype(np.float64) - truth)))
        for logits in (ours(ids).logits, forward(theirs, ids).logits)
    )
    return float(ours_off / theirs_off)


def judge(ratios: list[float], record_property) -> None:
    mean = float(np.exp(np.mean(np.log(ratios))))
    record_property("distance from the truth, ours over theirs", {"mean": mean, "worst": max(ratios)})
    print(f"distance from the truth, ours over theirs: geometric mean {mean:.4f}, worst {max(ratios):.3f}")
    assert max(ratios) <= WORST_CASE
    assert mean <= ALL_CASES


@pytest.mark.parametrize("dtype", RELATIVE)
def test_storyteller_on_the_published_prompts(storytellers, dtype):
    """What data/published_logits/ holds, once more, with the Transformers of this machine."""
    published = json.loads((data_folder() / "published_logits" / "prompts.json").read_text(encoding="utf-8"))
    ours, theirs = storytellers(dtype)
    for prompt in published["prompts"]:
        expected = forward(theirs, [prompt["ids"]])
        output = ours([prompt["ids"]], output_hidden_states=True)
        assert_near(output.logits, expected.logits, RELATIVE[dtype])
        for hidden, other in zip(output.hidden_states, expected.hidden_states, strict=True):
            assert_near(hidden, other, RELATIVE[dtype])


@pytest.mark.parametrize(("dtype", "every"), [("float32", 3), ("float64", 7)])
def test_storyteller_greedily(storytellers, dtype, every):
    published = json.loads((data_folder() / "published_logits" / "prompts.json").read_text(encoding="utf-8"))
    ours, theirs = storytellers(dtype)
    for prompt in published["prompts"][::every]:
        expected = continue_greedily(theirs, prompt["ids"], 200)
        logits = logits_along(ours, prompt["ids"], expected.tokens)
        bar = 2 * {"float32": 1e-4, "float64": 1e-10}[dtype]  # twice what the project allows a single logit
        assert not follow_greedy(logits, expected.tokens, bar).differences
