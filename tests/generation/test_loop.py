"""The token loop: the same tokens with and without a cache, with the same seed, alone and in a batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.logits_rules import log_softmax

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


def test_max_length_counts_the_prompt(model):
    assert model.generate(PROMPT, max_length=10, **ENDLESS).shape == (1, 10)
    with pytest.raises(LlamaError, match="max_length: no room for new tokens; expected more than the prompt's 4"):
        model.generate(PROMPT, max_length=4)


def test_padding_on_the_right_is_an_error(model):
    with pytest.raises(LlamaError, match="attention_mask: padding on the right"):
        model.generate([[1, 5, 0]], [[1, 1, 0]], max_new_tokens=3)


def test_draws_from_one_prompt_are_rows_drawn_one_by_one(model):
    """num_return_sequences repeats each prompt, in order; the cache of the prompt is shared and nothing else."""
    prompts, mask = [[1, 5, 9], [0, 7, 3]], [[1, 1, 1], [0, 1, 1]]
    chosen = {"do_sample": True, "seed": 3, "max_new_tokens": 8, **ENDLESS}
    together = model.generate(prompts, mask, num_return_sequences=3, **chosen)
    repeated = model.generate(np.repeat(prompts, 3, axis=0), np.repeat(mask, 3, axis=0), **chosen)
    np.testing.assert_array_equal(together, repeated)


CACHES = [
    {"use_cache": False},
    {"cache_implementation": "static"},
    {"cache_implementation": "dynamic"},
    {"cache_implementation": "static", "max_cache_len": 200},
]


@pytest.mark.parametrize("cache", CACHES, ids=str)
@pytest.mark.parametrize("choice", [{}, {"do_sample": True, "seed": 5}, {"num_beams": 3}], ids=str)
def test_every_cache_gives_the_same_tokens(model, cache, choice):
    for prompt, mask in (([[1, 5, 9, 14]], None), ([[1, 5, 9], [0, 7, 3]], [[1, 1, 1], [0, 1, 1]])):
        expected = model.generate(prompt, mask, max_new_tokens=12, **choice, **ENDLESS)
        np.testing.assert_array_equal(
            model.generate(prompt, mask, max_new_tokens=12, **choice, **cache, **ENDLESS), expected
        )


def test_a_static_cache_has_room_for_what_the_text_can_need_and_no_more(model):
    output = model.generate(
        PROMPT, max_length=10, cache_implementation="static", return_dict_in_generate=True, **ENDLESS
    )
    assert output.past_key_values.max_cache_len == len(output.past_key_values) == 9  # no token follows the last one


def test_a_static_cache_that_is_full_is_an_error(model):
    cache = KVCache(2, capacity=7, fixed=True)
    with pytest.raises(LlamaError, match="past_key_values: static cache is full; expected room for 8 tokens"):
        model.generate(PROMPT, past_key_values=cache, max_new_tokens=20, **ENDLESS)
    assert len(cache) == 7


def test_a_cache_that_has_seen_the_beginning_saves_its_work(model, monkeypatch):
    expected = model.generate(PROMPT, max_new_tokens=6, **ENDLESS)
    for ids, mask in ((PROMPT, None), ([PROMPT[0][3:]], [[1, 1, 1, 1]])):  # all tokens, or the new ones and a mask
        cache = KVCache(2)
        model([PROMPT[0][:3]], past_key_values=cache)
        output = model.generate(ids, mask, past_key_values=cache, max_new_tokens=6, **ENDLESS)
        np.testing.assert_array_equal(output[:, -6:], expected[:, -6:])
        assert len(cache) == 9
    with pytest.raises(
        LlamaError, match="input_ids: nothing new; expected all tokens so far, of which the cache holds 9"
    ):
        model.generate(PROMPT, past_key_values=cache)
    with pytest.raises(LlamaError, match="past_key_values, cache_implementation: two caches"):
        model.generate(PROMPT, past_key_values=cache, cache_implementation="static")


def test_embeddings_stand_for_their_ids(model):
    embeds = model.model.embed_tokens[np.array(PROMPT)]
    expected = model.generate(PROMPT, max_new_tokens=6, repetition_penalty=2.0, **ENDLESS)
    beside = model.generate(PROMPT, inputs_embeds=embeds, max_new_tokens=6, repetition_penalty=2.0, **ENDLESS)
    np.testing.assert_array_equal(beside, expected)
    alone = model.generate(inputs_embeds=embeds, max_new_tokens=6, **ENDLESS)
    np.testing.assert_array_equal(alone, model.generate(PROMPT, max_new_tokens=6, **ENDLESS)[:, 4:])


def test_the_result_as_an_object(model):
    """scores are what was chosen from, logits what they were before the rules: here divided by the temperature."""
    wanted = {
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "output_hidden_states": True,
    }
    chosen = {"max_new_tokens": 5, "do_sample": True, "temperature": 0.5, "top_k": 0, "seed": 2, **ENDLESS}
    output = model.generate(PROMPT, **chosen, **wanted)
    np.testing.assert_array_equal(output.sequences, model.generate(PROMPT, **chosen))
    assert len(output.scores) == len(output.logits) == len(output.hidden_states) == 5
    full_pass = model(output.sequences[:, :-1]).logits[0, 3:]  # (5, V)
    np.testing.assert_allclose(np.concatenate(output.logits), full_pass, rtol=1e-9)  # float64, sums in another order
    np.testing.assert_array_equal(output.scores[0], output.logits[0] / 0.5)
    assert output.keys() == ["sequences", "scores", "logits", "hidden_states", "past_key_values"]
    assert model.generate(PROMPT, return_dict_in_generate=True, max_new_tokens=1).keys() == [
        "sequences",
        "past_key_values",
    ]


def test_rules_of_the_caller_come_before_the_distribution_is_narrowed(model):
    """A rule that makes all tokens but two impossible, before a top_k of 1 picks one of the two."""
    seen = []

    def two_tokens(ids, logits):
        seen.append(ids.shape[1])
        return np.where(np.isin(np.arange(logits.shape[1]), (7, 8)), logits, -np.inf)

    output = model.generate(PROMPT, logits_processor=[two_tokens], do_sample=True, top_k=1, max_new_tokens=4, **ENDLESS)
    assert set(output[0, 4:].tolist()) <= {7, 8}
    assert seen == [4, 5, 6, 7]
    with pytest.raises(LlamaError, match=r"logits_processor: wrong shape; expected \(1, 61\), found \(1, 3\)"):
        model.generate(PROMPT, logits_processor=[lambda ids, logits: logits[:, :3]])


def test_a_stream_of_beams_is_an_error(model):
    with pytest.raises(LlamaError, match="num_beams: beam search can't be streamed; expected 1 for a stream, found 3"):
        model.stream(PROMPT, num_beams=3)


def test_renormalized_scores_are_log_probabilities(model):
    chosen = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, "max_new_tokens": 2}
    output = model.generate(PROMPT, renormalize_logits=True, **chosen)
    np.testing.assert_array_equal(output.scores[0], log_softmax(output.logits[0]))


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


def test_a_config_that_asks_for_tuples_changes_nothing(model, make_model):
    tuples = make_model("float64", return_dict=False, output_hidden_states=True)
    for how in ({}, {"num_beams": 2}):
        expected = model.generate(PROMPT, max_new_tokens=4, **how)
        np.testing.assert_array_equal(tuples.generate(PROMPT, max_new_tokens=4, **how), expected)
