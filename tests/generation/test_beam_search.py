"""Beam search: the likeliest texts, found by trying all; scores that add up; prompts that don't know each other."""

import itertools

import numpy as np
import pytest

from numpy_llama.blocks.logits_rules import log_softmax

PROMPT = [1, 5, 3]
ENDLESS = {"eos_token_id": None}


@pytest.fixture(scope="module")
def tiny(make_model):
    """Six tokens: few enough to try every text."""
    return make_model("float64", vocab_size=6, eos_token_id=None)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("float64", eos_token_id=None)


def log_probability(model, ids, prompt_length: int) -> float:
    """Of everything after the prompt, from one full pass."""
    scores = log_softmax(model([ids[:-1]]).logits[0])[prompt_length - 1 :]
    return float(scores[np.arange(len(scores)), ids[prompt_length:]].sum())


def every_text(model, length: int, eos=()):
    """(score, new ids) of all texts of up to `length` tokens that end in eos, or have that length; score is log p."""
    for new in itertools.product(range(model.config.vocab_size), repeat=length):
        ends = [i for i, token in enumerate(new) if token in eos]
        yield new[: ends[0] + 1] if ends else new


@pytest.mark.parametrize("penalty", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("eos", [(), (4,), (2, 4)])
def test_with_enough_beams_the_best_text_of_all_is_found(tiny, penalty, eos):
    """6² beams lose nothing in three steps: their order is that of all 6³ texts, by score."""
    texts = sorted(set(every_text(tiny, 3, eos)))
    scored = {new: log_probability(tiny, [*PROMPT, *new], 3) / len(new) ** penalty for new in texts}
    best = sorted(scored, key=lambda new: -scored[new])[:10]
    output = tiny.generate(
        [PROMPT], num_beams=36, num_return_sequences=10, max_new_tokens=3, length_penalty=penalty,
        early_stopping="never", eos_token_id=list(eos) or None, pad_token_id=0,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    found = [tuple(row[3:][origins >= 0]) for row, origins in zip(output.sequences, output.beam_indices, strict=True)]
    assert found == best
    np.testing.assert_allclose(output.sequences_scores, [scored[new] for new in best], rtol=1e-9)


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
def test_scores_are_log_probabilities_by_length_and_sorted(model, early_stopping):
    output = model.generate(
        [PROMPT, [1, 9, 9]], num_beams=5, num_return_sequences=5, max_new_tokens=12, length_penalty=0.7,
        early_stopping=early_stopping, eos_token_id=[3, 17, 30, 44, 50], pad_token_id=0,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    lengths = (output.beam_indices >= 0).sum(axis=1)
    for row, length, score in zip(output.sequences, lengths, output.sequences_scores, strict=True):
        assert score == pytest.approx(log_probability(model, row[: 3 + length], 3) / length**0.7, rel=1e-9)
    scores = output.sequences_scores.reshape(2, 5)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert len({row.tobytes() for row in output.sequences[:5]}) == 5


def test_scores_can_be_found_again_by_beam_indices(model):
    """scores[step][row of beam_indices, token], added up along a text, is its log-probability."""
    output = model.generate(
        [PROMPT], num_beams=4, num_return_sequences=4, max_new_tokens=7, length_penalty=0.0,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    for row, origins, score in zip(output.sequences, output.beam_indices, output.sequences_scores, strict=True):
        parts = [output.scores[step][origin, row[3 + step]] for step, origin in enumerate(origins)]
        assert sum(parts) == pytest.approx(score, rel=1e-12)


def test_a_prompt_in_a_padded_batch_has_the_beams_that_it_has_alone(model):
    chosen = {"num_beams": 4, "num_return_sequences": 2, "max_new_tokens": 9, "repetition_penalty": 1.4}
    batch, mask = [[1, 5, 9, 14], [0, 0, 7, 3]], [[1, 1, 1, 1], [0, 0, 1, 1]]
    together = model.generate(batch, mask, **chosen)
    for row, prompt in enumerate([[1, 5, 9, 14], [7, 3]]):
        alone = model.generate([prompt], **chosen)
        np.testing.assert_array_equal(together[2 * row : 2 * row + 2, 4:], alone[:, len(prompt) :])


def test_more_beams_find_a_text_at_least_as_likely_as_greedy(model):
    """Not true of every model and prompt; of these it is, and beams that were dropped too early would fail here."""
    for prompt in ([1, 5, 3], [1, 9, 9], [1, 20, 40], [1, 33]):
        greedy = model.generate([prompt], max_new_tokens=10)[0]
        beams = model.generate([prompt], max_new_tokens=10, num_beams=6)[0]
        assert log_probability(model, beams, len(prompt)) >= log_probability(model, greedy, len(prompt)) - 1e-9


def test_early_stopping_ends_sooner_and_never_better(model):
    chosen = {"num_beams": 3, "max_new_tokens": 30, "eos_token_id": [3, 17, 30, 44, 50], "pad_token_id": 0}
    wanted = {"return_dict_in_generate": True, "output_scores": True}
    runs = {
        early: model.generate([PROMPT], early_stopping=early, **chosen, **wanted) for early in (True, False, "never")
    }
    assert len(runs[True].scores) <= len(runs[False].scores) <= len(runs["never"].scores) <= 30
    assert runs[True].sequences_scores[0] <= runs[False].sequences_scores[0] <= runs["never"].sequences_scores[0]


def test_drawn_beams_are_the_same_for_the_same_seed_alone(model):
    chosen = {"num_beams": 3, "do_sample": True, "max_new_tokens": 8, "temperature": 2.0}
    texts = [model.generate([PROMPT], seed=seed, **chosen).tobytes() for seed in (1, 1, 2, 3, 4)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


def test_beams_keep_room_to_go_on_where_all_could_end(model):
    """A top_k of 1 would leave an end token alone; so many more are kept that a beam can run on."""
    likeliest = int(model([PROMPT]).logits[0, -1].argmax())
    settings = {"num_beams": 2, "do_sample": True, "top_k": 1, "eos_token_id": likeliest, "pad_token_id": 0}
    output = model.generate([PROMPT], max_new_tokens=2, seed=0, num_return_sequences=2, **settings)
    assert output.shape == (2, 5)
