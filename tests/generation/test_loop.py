"""The token loop: the same tokens with and without a cache, with the same seed, alone and in a batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError
from numpy_llama.generation import GenerationSettings

PROMPT = [[1, 5, 9, 14]]
ENDLESS = {"eos_token_id": None}


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("float64")


def test_greedy_takes_the_likeliest_token_of_a_full_pass_each_time(model):
    generated = model.generate(PROMPT, max_new_tokens=20, **ENDLESS)
    assert generated.shape == (1, 24)
    for length in range(4, 24):
        full_pass = model(generated[:, :length]).logits[0, -1]
        assert generated[0, length] == full_pass.argmax()


@given(
    seed=st.integers(0, 2**32),
    temperature=st.floats(0.2, 3),
    top_p=st.floats(0.1, 1),
    top_k=st.integers(0, 70),
)
def test_the_same_seed_gives_the_same_text(model, seed, temperature, top_p, top_k):
    settings = {
        "do_sample": True,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "max_new_tokens": 6,
    }
    first = model.generate(PROMPT, seed=seed, **settings)
    np.testing.assert_array_equal(first, model.generate(PROMPT, seed=seed, **settings))


def test_another_seed_gives_another_text(model):
    texts = {model.generate(PROMPT, seed=s, do_sample=True, max_new_tokens=20, **ENDLESS).tobytes() for s in range(5)}
    assert len(texts) == 5


def test_streaming_yields_what_generate_returns(model):
    steps = list(model.stream(PROMPT, max_new_tokens=9, do_sample=True, seed=4, **ENDLESS))
    whole = model.generate(PROMPT, max_new_tokens=9, do_sample=True, seed=4, **ENDLESS)
    np.testing.assert_array_equal(np.stack(steps, axis=1), whole[:, 4:])


def test_a_batch_padded_on_the_left_gives_each_prompt_its_own_continuation(model):
    prompts = [[1, 5, 9, 14], [7, 3]]
    batch, mask = [[1, 5, 9, 14], [0, 0, 7, 3]], [[1, 1, 1, 1], [0, 0, 1, 1]]
    together = model.generate(batch, mask, max_new_tokens=12, **ENDLESS)
    for row, prompt in enumerate(prompts):
        alone = model.generate([prompt], max_new_tokens=12, **ENDLESS)
        np.testing.assert_array_equal(together[row, 4:], alone[0, len(prompt) :])


def test_generation_stops_at_each_end_token_and_fills_with_padding(model):
    endless = model.generate([[1, 5], [2, 6]], max_new_tokens=30, **ENDLESS)[:, 2:]
    end = int(endless[0, 3])
    stopped = model.generate([[1, 5], [2, 6]], max_new_tokens=30, eos_token_id=[end, 60], pad_token_id=59)[:, 2:]
    for row, full in enumerate(endless):
        ends = np.flatnonzero(np.isin(full, (end, 60)))
        length = ends[0] + 1 if len(ends) else len(full)
        length = min(length, stopped.shape[1])
        np.testing.assert_array_equal(stopped[row, :length], full[:length])
        assert (stopped[row, length:] == 59).all()


def test_an_empty_prompt_begins_from_bos(model):
    expected = model.generate([[1]], max_new_tokens=5, **ENDLESS)
    for empty in (None, [], [[]]):
        np.testing.assert_array_equal(model.generate(empty, max_new_tokens=5, **ENDLESS), expected)


def test_an_empty_prompt_without_bos_is_an_error(make_model):
    with pytest.raises(LlamaError, match="input_ids: empty prompt; expected at least one token, since there is no BOS"):
        make_model(bos_token_id=None).generate([], max_new_tokens=5)


def test_the_caller_overrides_the_file_and_the_file_the_config(model, make_model):
    config = make_model(eos_token_id=3, pad_token_id=4).config
    gathered = GenerationSettings.gather(
        config, {"eos_token_id": [5], "temperature": 0.5, "wings": 2}, {"temperature": 2}
    )
    assert (gathered.eos_token_ids, gathered.pad_token_id, gathered.temperature) == ((5,), 4, 2)


def test_max_length_counts_the_prompt(model):
    assert model.generate(PROMPT, max_length=10, **ENDLESS).shape == (1, 10)
    with pytest.raises(LlamaError, match="max_length: no room for new tokens; expected more than the prompt's 4"):
        model.generate(PROMPT, max_length=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1}, r"generate\(temprature=…\): no such setting; expected one of .*temperature"),
        ({"temperature": 0}, "temperature: impossible value; expected a positive number, 1e-30 … 1e30, found 0"),
        ({"temperature": float("nan")}, "temperature: impossible value"),
        ({"top_p": 1.5}, "top_p: impossible value; expected a number in 0 … 1, found 1.5"),
        ({"top_k": -1}, "top_k: impossible value"),
        ({"max_new_tokens": 0}, "max_new_tokens: impossible value; expected a positive integer, found 0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens: impossible value"),
        ({"eos_token_id": "x"}, "eos_token_id: impossible value"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_before_the_first_token(model, settings, message):
    with pytest.raises(LlamaError, match=message):
        model.stream(PROMPT, **settings)


def test_padding_on_the_right_is_an_error(model):
    with pytest.raises(LlamaError, match="attention_mask: padding on the right"):
        model.generate([[1, 5, 0]], [[1, 1, 0]], max_new_tokens=3)


def test_the_cache_never_copies_the_past_for_one_token(model, monkeypatch):
    """Over 300 decode steps the past is copied when a buffer doubles, not at every step: operations, not time."""
    from numpy_llama.blocks import kv_cache

    copied = []
    grown = kv_cache._grown
    monkeypatch.setattr(kv_cache, "_grown", lambda held, *rest: copied.append(held.shape[2]) or grown(held, *rest))
    cache = kv_cache.KVCache(1, capacity=1)
    for _ in range(300):
        cache.update(np.zeros((1, 2, 1, 6)), np.zeros((1, 2, 1, 6)), 0)
    assert sum(copied) < 2 * 2 * 300  # keys and values, each copied less than twice on average
