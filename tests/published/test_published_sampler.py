"""The sampler on published numbers: logits and uniform numbers in, tokens out."""

import numpy as np
import pytest

from numpy_llama.blocks import softmax
from numpy_llama.blocks.sampler import sample
from numpy_llama.checkpoints import data_folder
from numpy_llama.files import read_json
from numpy_llama.generation.settings import GenerationSettings

PUBLISHED = read_json(data_folder() / "published_sampler" / "cases.json")
CASES = {case["name"]: case for case in PUBLISHED["cases"]}


def processed(case: dict, dtype: str) -> np.ndarray:
    """(1, V): the logits after the rules, −∞ where a token is removed."""
    logits = np.array([[-np.inf if logit is None else logit for logit in case["logits"]]], dtype)
    off = {"top_k": 0}  # the default of 50 would be a rule of its own
    for rule in GenerationSettings(do_sample=True, **{**off, **case["settings"]}).rules():
        logits = rule(logits, np.array([case["ids"]], np.int64))
    return logits


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_rules_keep_the_published_tokens(name, dtype):
    logits = processed(CASES[name], dtype)
    assert logits.dtype == dtype
    np.testing.assert_array_equal(np.flatnonzero(logits[0] > -np.inf), CASES[name]["kept"])


@pytest.mark.parametrize("name", CASES)
def test_probabilities_are_the_published_ones(name):
    # Logits of 2.5 to 50 (after a temperature of 0.1) carry an error of one half-ulp, relative to themselves, into exp.
    probabilities = softmax(processed(CASES[name], "float64"))[0]
    np.testing.assert_allclose(probabilities, CASES[name]["probabilities"], rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_each_uniform_number_draws_the_published_token(name, dtype):
    case = CASES[name]
    rows = np.repeat(processed(case, dtype), len(case["uniforms"]), axis=0)  # all draws of a case as one batch
    np.testing.assert_array_equal(sample(rows, np.array(case["uniforms"])), case["tokens"])


def test_a_generator_is_a_row_of_uniform_numbers():
    logits = np.random.default_rng(0).standard_normal((7, 20))
    uniforms = np.random.default_rng(5).random(7)
    np.testing.assert_array_equal(sample(logits, np.random.default_rng(5)), sample(logits, uniforms))


def test_cases_cover_every_rule():
    used = {setting for case in CASES.values() for setting in case["settings"]}
    assert used == set(PUBLISHED["order"])
    assert len(CASES) == len(PUBLISHED["cases"])  # no name twice
