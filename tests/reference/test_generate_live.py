"""generate beside Transformers' generate: the same ids, the same scores, the same distribution of draws."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import AutoTokenizer, DynamicCache
from transformers.generation import logits_process, stopping_criteria

from numpy_llama import LlamaConfig, LlamaForCausalLM, embedded_model_folder
from numpy_llama.blocks import logits_rules, sampling_rules
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.generation.stopping import StopStrings
from numpy_llama.reference.lifted import lifted
from numpy_llama.reference.record import load
from numpy_llama.tokenizer import LlamaTokenizer

V = 40
# Logits of these models differ from torch's by some 1e-6; scores are sums of up to 14 of them.
ATOL = 1e-4


def small_config(vocab_size: int = V, **changes) -> LlamaConfig:
    return LlamaConfig(
        **{
            "vocab_size": vocab_size,
            "hidden_size": 32,
            "intermediate_size": 44,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "bos_token_id": 1,
            "eos_token_id": None,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def pairs(make_pair):
    return [make_pair(small_config(), "float32", seed) for seed in range(4)]


def both(pair, ids, mask=None, **chosen):
    """(ours, theirs): outputs of the same call."""
    ours, theirs = pair
    ids = np.asarray(ids)
    mask = np.ones_like(ids) if mask is None else np.asarray(mask)
    chosen = {"return_dict_in_generate": True, "output_scores": True, **chosen}
    expected = theirs.generate(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **chosen)
    return ours.generate(ids, mask, **chosen), expected


def assert_same(output, expected) -> None:
    np.testing.assert_array_equal(output.sequences, expected.sequences.numpy())
    assert len(output.scores) == len(expected.scores)
    for scores, theirs in zip(output.scores, expected.scores, strict=True):
        np.testing.assert_allclose(scores, theirs.numpy(), atol=ATOL)
    if "sequences_scores" in expected:
        np.testing.assert_array_equal(output.beam_indices, expected.beam_indices.numpy())
        # A score is divided by up to 14^−1, which multiplies its error.
        np.testing.assert_allclose(output.sequences_scores, expected.sequences_scores.numpy(), rtol=1e-4, atol=ATOL)


def padded_batch(generator, rows: int, length: int):
    """(ids, mask), some rows padded on the left with token 0."""
    ids = generator.integers(3, V, (rows, length))
    starts = generator.integers(0, length, (rows, 1)) * generator.integers(0, 2, (rows, 1))
    mask = (np.arange(length) >= starts).astype(np.int64)
    return ids * mask, mask


END_TOKENS = [None, 7, [9], [11, 23, 30], [3, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("num_beams", [2, 3, 4, 5])
def test_beam_search(pairs, num_beams, early_stopping):
    """Every pair of length penalty and end tokens, on padded batches."""
    for case, (penalty, eos) in enumerate((p, e) for p in (1.0, 0.0, 2.0, -1.0, 0.3) for e in END_TOKENS):
        generator = np.random.default_rng(case)
        ids, mask = padded_batch(generator, 1 + case % 3, 1 + case % 5)
        output, expected = both(
            pairs[case % 4],
            ids,
            mask,
            num_beams=num_beams,
            early_stopping=early_stopping,
            length_penalty=penalty,
            eos_token_id=eos,
            pad_token_id=[None, 0, 5][case % 3] if eos is not None else None,
            num_return_sequences=1 + case % num_beams,
            max_new_tokens=1 + case % 11,
        )
        assert_same(output, expected)


def random_settings(generator) -> dict:
    chosen = {"max_new_tokens": int(generator.integers(2, 14))}
    maybe = {
        "eos_token_id": END_TOKENS[int(generator.integers(1, 5))],
        "pad_token_id": int(generator.choice([0, 5])),
        "repetition_penalty": float(generator.choice([1.3, 0.7])),
        "encoder_repetition_penalty": 1.4,
        "no_repeat_ngram_size": int(generator.integers(1, 4)),
        "encoder_no_repeat_ngram_size": 2,
        "min_new_tokens": int(generator.integers(0, chosen["max_new_tokens"] + 1)),
        "min_length": int(generator.integers(0, 5)),
        "bad_words_ids": [[int(i)] for i in generator.integers(3, V, 5)] + generator.integers(3, V, (30, 2)).tolist(),
        "suppress_tokens": generator.integers(3, V, 6).tolist(),
        "begin_suppress_tokens": generator.integers(3, V, 6).tolist(),
        "sequence_bias": [[[int(generator.integers(3, V))], 2.5], [generator.integers(3, V, 2).tolist(), -3.0]],
        "exponential_decay_length_penalty": (2, 1.3),
        "renormalize_logits": True,
        "remove_invalid_values": True,
    }
    chosen |= {name: value for name, value in maybe.items() if generator.random() < 0.3}
    if chosen.get("eos_token_id") is None:
        chosen.pop("exponential_decay_length_penalty", None)  # Transformers crashes without an end token
        chosen.pop("pad_token_id", None)
    return chosen


@pytest.mark.parametrize("beams", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_rules_together(pairs, seed, beams):
    """Random sets of rules, with every kind of cache."""
    generator = np.random.default_rng(seed)
    ids, mask = padded_batch(generator, int(generator.integers(1, 4)), int(generator.integers(1, 8)))
    chosen = random_settings(generator)
    if beams:
        chosen["num_beams"] = int(generator.integers(2, 6))
        chosen["early_stopping"] = [True, False, "never"][seed % 3]
        chosen["num_return_sequences"] = int(generator.integers(1, chosen["num_beams"] + 1))
    cache = [{}, {"use_cache": False}, {"cache_implementation": "static"}, {"cache_implementation": "dynamic"}]
    assert_same(*both(pairs[seed % 4], ids, mask, **chosen, **cache[seed % 4]))


@pytest.mark.parametrize(
    "forced", [{"forced_bos_token_id": 8}, {"forced_eos_token_id": [6, 9]}, {"forced_eos_token_id": 6}]
)
def test_forced_tokens(pairs, forced):
    assert_same(*both(pairs[0], [[5]], max_new_tokens=6, **forced))


def test_hidden_states_and_attentions_of_every_step(pairs):
    wanted = {"output_logits": True, "output_hidden_states": True, "output_attentions": True}
    for beams in (1, 3):
        output, expected = both(pairs[1], [[5, 6, 7], [8, 9, 4]], num_beams=beams, max_new_tokens=4, **wanted)
        assert_same(output, expected)
        for name in ("logits", "hidden_states", "attentions"):
            assert len(getattr(output, name)) == len(getattr(expected, name)) == 4
        for step in range(4):
            np.testing.assert_allclose(output.logits[step], expected.logits[step].numpy(), atol=ATOL)
            for name in ("hidden_states", "attentions"):
                for ours, theirs in zip(getattr(output, name)[step], getattr(expected, name)[step], strict=True):
                    np.testing.assert_allclose(ours, theirs.numpy(), atol=ATOL)


@pytest.mark.parametrize("with_ids", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("length", [{"max_new_tokens": 5}, {"max_length": 9, "min_length": 8}, {}])
def test_embeddings_in_place_of_a_prompt(pairs, with_ids, beams, length):
    ours, theirs = pairs[2]
    ids = np.array([[5, 6, 7], [8, 9, 4]])
    embeds = ours.model.embed_tokens[ids]
    settings = {"num_beams": beams, "eos_token_id": [7, 9], "pad_token_id": 3, **length}
    expected = theirs.generate(
        torch.from_numpy(ids) if with_ids else None, inputs_embeds=torch.from_numpy(embeds), **settings
    )
    output = ours.generate(ids if with_ids else None, inputs_embeds=embeds, **settings)
    np.testing.assert_array_equal(output, expected.numpy())


def test_a_cache_that_has_seen_the_beginning(pairs):
    ours, theirs = pairs[3]
    ids = np.array([[5, 6, 7, 8, 9]])
    cache, their_cache = KVCache(2), DynamicCache()
    ours(ids[:, :3], past_key_values=cache)
    theirs(torch.from_numpy(ids[:, :3]), past_key_values=their_cache)
    output = ours.generate(ids, past_key_values=cache, max_new_tokens=6)
    expected = theirs.generate(torch.from_numpy(ids), past_key_values=their_cache, max_new_tokens=6)
    np.testing.assert_array_equal(output, expected.numpy())
    assert len(cache) == their_cache.get_seq_length() == 10


def test_float64_scores_are_those_of_the_lifted_model(make_pair):
    """The score of a beam is the sum of the log-probabilities of its tokens, to eleven digits."""
    ours, theirs = make_pair(small_config(), "float64", 3)
    chosen = {"num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.7, "max_new_tokens": 9}
    output = ours.generate([[5, 6, 7]], return_dict_in_generate=True, output_scores=True, **chosen)
    assert output.scores[0].dtype == output.sequences_scores.dtype == np.float64
    ids = torch.from_numpy(output.sequences)
    with lifted(theirs), torch.no_grad():
        log_probabilities = torch.log_softmax(theirs(ids).logits[:, 2:-1], dim=-1)  # (4, N, V)
    expected = log_probabilities.gather(2, ids[:, 3:, None]).sum(dim=(1, 2)) / 9**0.7
    np.testing.assert_allclose(output.sequences_scores, expected.numpy(), rtol=1e-11)


# -- files -----------------------------------------------------------------------------------------------------------

E = [20, 4]  # any tokens


@pytest.mark.parametrize(
    ("config", "generation_config"),
    [
        ({"eos_token_id": E}, None),
        ({"eos_token_id": E}, {"temperature": 0.5}),  # a file without an end token: there is none
        ({"eos_token_id": 2}, {"eos_token_id": E, "max_length": 9}),
        ({"eos_token_id": 2}, {"eos_token_id": E, "max_new_tokens": 4, "max_length": 30}),
        ({"eos_token_id": E, "max_length": 9, "num_beams": 2, "use_cache": False}, None),
        ({"eos_token_id": E, "max_length": 9, "repetition_penalty": 1.5}, {"bos_token_id": 1}),
        ({"eos_token_id": E}, {"num_beams": 3, "early_stopping": True, "num_return_sequences": 2, "min_length": 7}),
        ({"eos_token_id": -1}, None),
        ({"eos_token_id": E}, {"min_new_tokens": 30}),
        ({"eos_token_id": E}, {"cache_implementation": "static", "no_repeat_ngram_size": 1, "eos_token_id": None}),
        ({"max_position_embeddings": 12}, {"bos_token_id": 1}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_the_files_of_a_checkpoint_say(make_pair, tmp_path, config, generation_config):
    ours, _ = make_pair(small_config(), "float32", 1)
    ours.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    (tmp_path / "generation_config.json").unlink(missing_ok=True)
    if generation_config is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation_config))
    ours, theirs = LlamaForCausalLM.from_pretrained(tmp_path), load(tmp_path, "float32")
    for said in ({}, {"max_new_tokens": 11}, {"eos_token_id": None}, {"num_beams": 2, "num_return_sequences": 1}):
        expected = theirs.generate(torch.tensor([[1, 5, 9]]), **said)
        np.testing.assert_array_equal(ours.generate([[1, 5, 9]], **said), expected.numpy())


# -- rules, one by one -----------------------------------------------------------------------------------------------

many = settings(max_examples=60)
keep_counts = st.integers(1, 4)


@st.composite
def logits(draw):
    """(B, V), some rows with many equal numbers, some with tokens ruled out already."""
    dtype, shape = draw(st.sampled_from([np.float32, np.float64])), (draw(st.integers(1, 3)), draw(st.integers(4, 40)))
    anything = st.floats(-30, 30, width=32)
    few = st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0])
    rows = draw(arrays(dtype, shape, elements=draw(st.sampled_from([anything, few]))))
    gone = draw(arrays(bool, shape))
    gone[:, draw(st.integers(0, shape[1] - 1))] = False
    return np.where(gone & draw(st.booleans()), -np.inf, rows).astype(dtype)


def processed(processor, rows: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray:
    ids = np.zeros((len(rows), 0), np.int64) if ids is None else ids
    return processor(torch.from_numpy(ids), torch.from_numpy(rows.copy())).numpy()


def assert_equal(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@given(rows=logits(), p=st.sampled_from([0.1, 0.2, 0.5, 0.9, 0.95]), keep=keep_counts)
@many
def test_typical(rows, p, keep):
    """Where all tokens are equally untypical, which of them are first is a matter of sorting: values are compared."""
    theirs = processed(logits_process.TypicalLogitsWarper(p, min_tokens_to_keep=keep), rows)
    result = logits_rules.keep_typical(rows, p, keep)
    # A token may lie on the border between kept and removed by the last bit of its surprise, or of the running sum.
    distance, sums = typicality(rows)
    clear = np.abs(sums - p).min() > 1e-5 and np.abs(np.diff(np.sort(distance), axis=1)).min(initial=1) > 1e-5
    if clear:
        assert_equal(result, theirs)
    kept = result > -np.inf
    assert np.array_equal(result[kept], rows[kept])


def typicality(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|surprise − entropy| of each token, and the probabilities added up in that order, in float64."""
    rows = rows.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.exp(rows - rows.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        surprise = -np.log(p)
        distance = np.abs(surprise - np.nansum(p * surprise, axis=-1, keepdims=True))
    distance = np.where(np.isfinite(distance), distance, 1e9 + np.arange(rows.shape[1]))
    return distance, np.take_along_axis(p, distance.argsort(axis=-1, kind="stable"), axis=-1).cumsum(axis=-1)


@given(rows=logits(), cutoff=st.sampled_from([0.001, 0.01, 0.1, 0.3, 0.9]), keep=keep_counts)
@many
def test_epsilon(rows, cutoff, keep):
    theirs = processed(logits_process.EpsilonLogitsWarper(cutoff, min_tokens_to_keep=keep), rows)
    assert_equal(logits_rules.keep_probable(rows, cutoff, keep), theirs)


@given(rows=logits(), cutoff=st.sampled_from([0.001, 0.01, 0.1, 0.3, 0.9]), keep=keep_counts)
@many
def test_eta(rows, cutoff, keep):
    theirs = processed(logits_process.EtaLogitsWarper(cutoff, min_tokens_to_keep=keep), rows)
    assert_equal(logits_rules.keep_eta(rows, cutoff, keep), theirs)


@given(rows=logits(), keep=st.integers(2, 4))
@many
def test_beams_keep_more_than_one(rows, keep):
    for ours, theirs, value in (
        (sampling_rules.keep_top_k, logits_process.TopKLogitsWarper, 1),
        (sampling_rules.keep_top_p, logits_process.TopPLogitsWarper, 0.1),
        (sampling_rules.keep_min_p, logits_process.MinPLogitsWarper, 0.9),
    ):
        expected = processed(theirs(value, min_tokens_to_keep=keep), rows)
        # Of equal tokens at the border either may be kept: the values are the same.
        assert_equal(np.sort(ours(rows, value, keep)), np.sort(expected))


@given(rows=logits(), size=st.integers(1, 4), seed=st.integers(0, 1000), length=st.integers(1, 12))
@many
def test_repeated_ngrams(rows, size, seed, length):
    ids = np.random.default_rng(seed).integers(0, 4, (len(rows), length))
    theirs = processed(logits_process.NoRepeatNGramLogitsProcessor(size), rows, ids)
    assert_equal(logits_rules.forbid_repeated_ngrams(rows, ids, size), theirs)


# -- stop strings ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizers():
    return LlamaTokenizer.from_pretrained(embedded_model_folder()), AutoTokenizer.from_pretrained(
        embedded_model_folder()
    )


@pytest.mark.parametrize(
    "strings", [["the"], [". "], ["a"], ["\n"], ["ü"], ["😀", "end"], ["</s>"], [" upon a"], ["ed to"]]
)
def test_where_a_stop_string_is_found(tokenizers, strings):
    """Stories, bytes of emoji and random ids, cut after each token."""
    ours, theirs = tokenizers
    stop, expected = StopStrings(strings, ours), stopping_criteria.StopStringCriteria(theirs, strings)
    generator = np.random.default_rng(0)
    texts = [ours.encode("Once upon a time there was the end. 😀 She wanted to go über the hill.\nThe end."),
             *generator.integers(0, len(ours), (5, 60)).tolist(), [5, 2, 5]]  # fmt: skip
    found = 0
    for ids in texts:
        for end in range(1, len(ids) + 1):
            row = np.array([ids[:end]])
            assert stop(row)[0] == bool(expected(torch.from_numpy(row), None)[0]), ours.decode(ids[:end])
            found += int(stop(row)[0])
    assert found


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"eos_token_id": None}])
def test_texts_that_end_at_stop_strings(storytellers, tokenizers, beams, settings):
    """Without an end token nothing is filled: in greedy search a row that has ended goes on until all have."""
    (ours, theirs), (our_tokenizer, their_tokenizer) = storytellers("float32"), tokenizers
    ids = np.array([our_tokenizer.encode("Once upon a time")] * 2)
    ids[1, -1] = our_tokenizer.encode("One day")[-1]
    for strings in ("girl", [". ", "was"], ["ed to"]):
        chosen = {"num_beams": beams, "do_sample": False, "max_new_tokens": 40, "stop_strings": strings, **settings}
        output = ours.generate(ids, tokenizer=our_tokenizer, **chosen)
        expected = theirs.generate(
            torch.from_numpy(ids), attention_mask=torch.ones(ids.shape), tokenizer=their_tokenizer, **chosen
        )
        np.testing.assert_array_equal(output, expected.numpy())


# -- sampling --------------------------------------------------------------------------------------------------------

DRAWS = 100_000
SAMPLING = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.5, "top_k": 5},
    {"top_p": 0.8},
    {"min_p": 0.15},
    {"typical_p": 0.7},
    {"typical_p": 0.3, "temperature": 2.0},
    {"epsilon_cutoff": 0.05},
    {"eta_cutoff": 0.1},
    {"repetition_penalty": 1.5, "top_k": 8, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.95, "temperature": 1.3},
    {"suppress_tokens": [3, 4], "bad_words_ids": [[7, 5], [6]], "temperature": 1.2},
]


def assert_drawn_from(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """χ² test of counts against exact probabilities: what can't be is never drawn, the rest as often as it should."""
    assert counts[probabilities == 0].sum() == 0
    expected = probabilities * counts.sum()
    often = expected >= 10  # χ² is a good approximation from about ten expected draws in each cell
    cells, expected = (np.append(x[often], x[~often].sum()) for x in (counts, expected))
    cells, expected = cells[expected > 0], expected[expected > 0]
    degrees = len(cells) - 1
    if degrees:
        statistic = float(((cells - expected) ** 2 / expected).sum())
        # Wilson and Hilferty 1931: the cube root of χ²/k is nearly normal, and 3.1 deviations are passed once in 1,000.
        spread = 2 / (9 * degrees)
        assert statistic <= degrees * (1 - spread + 3.1 * spread**0.5) ** 3


@pytest.mark.parametrize("chosen", SAMPLING, ids=lambda chosen: ", ".join(chosen) or "plain")
def test_draws_have_the_distribution_that_transformers_computes(make_pair, chosen):
    ours, theirs = make_pair(small_config(12), "float32", 5)
    chosen = {"top_k": 0, **chosen, "do_sample": True, "max_new_tokens": 1}
    result = theirs.generate(torch.tensor([[1, 7]]), return_dict_in_generate=True, output_scores=True, **chosen)
    probabilities = torch.softmax(result.scores[0][0].double(), dim=-1).numpy()
    draws = ours.generate([[1, 7]], num_return_sequences=DRAWS, seed=3, **chosen)
    assert draws.shape == (DRAWS, 3)
    assert_drawn_from(np.bincount(draws[:, 2], minlength=12), probabilities)


def test_two_tokens_have_their_joint_distribution(make_pair):
    """p(first) · p(second | first), the second from Transformers' scores after each of the first tokens."""
    size = 8
    ours, theirs = make_pair(small_config(size), "float32", 6)
    chosen = {"do_sample": True, "top_k": 6, "temperature": 1.4, "repetition_penalty": 1.3, "typical_p": 0.95}

    def probabilities(prompt: list[list[int]]) -> np.ndarray:
        ids = torch.tensor(prompt)
        wanted = {"return_dict_in_generate": True, "output_scores": True, "max_new_tokens": 1}
        result = theirs.generate(ids, attention_mask=torch.ones_like(ids), **wanted, **chosen)
        return torch.softmax(result.scores[0].double(), dim=-1).numpy()

    first = probabilities([[1, 5]])[0]  # (V,)
    second = probabilities([[1, 5, token] for token in range(size)])  # (V, V)
    draws = ours.generate([[1, 5]], num_return_sequences=DRAWS, max_new_tokens=2, seed=4, **chosen)
    counts = np.bincount(draws[:, 2] * size + draws[:, 3], minlength=size * size)
    assert_drawn_from(counts, (first[:, None] * second).ravel())


def test_beam_sampling_has_transformers_distribution(make_pair):
    """The best of three drawn beams, two tokens long: two samples, and a χ² test of their being alike."""
    size, count = 6, 20_000
    ours, theirs = make_pair(small_config(size), "float32", 7)
    chosen = {"do_sample": True, "num_beams": 3, "max_new_tokens": 2, "temperature": 1.5, "eos_token_id": 4}
    ids = np.repeat([[1, 5]], count, axis=0)
    torch.manual_seed(1)
    their_draws = theirs.generate(torch.from_numpy(ids), attention_mask=torch.ones(ids.shape), **chosen).numpy()
    our_draws = ours.generate(ids, seed=1, **chosen)
    tables = [
        np.bincount(draws[:, 2] * size + draws[:, 3], minlength=size * size) for draws in (our_draws, their_draws)
    ]
    both_counts = np.stack(tables)
    often = both_counts.sum(axis=0) >= 20
    cells = np.column_stack([both_counts[:, often], both_counts[:, ~often].sum(axis=1)])
    cells = cells[:, cells.sum(axis=0) > 0]
    expected = cells.sum(axis=0) / 2
    statistic, degrees = float(((cells - expected) ** 2 / expected).sum()), cells.shape[1] - 1
    assert degrees >= 5
    spread = 2 / (9 * degrees)
    assert statistic <= degrees * (1 - spread + 3.1 * spread**0.5) ** 3
