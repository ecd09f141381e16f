"""The generation cases: a model, prompts, and settings of `generate`. No torch; publish_generation.py runs them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from numpy_llama.reference.case import Call, Case, Settings, small_config
from numpy_llama.reference.case_draws import Draws

MASK = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])  # prompts are padded on the left
ENDS = [3, 5, 8]  # several end tokens, so that some rows end early


def generation_cases() -> Iterator[Case]:
    """All of them, in a fixed order. Each call starts with an empty cache."""
    long = {"max_new_tokens": 12}
    ending = {**long, "eos_token_id": ENDS}
    yield _case("greedy", "the likeliest token at each step", [
        long,
        {"max_length": 12},
        ending,
        {**ending, "min_new_tokens": 6},
        {**long, "cache_implementation": "static"},
        {**long, "use_cache": False},
    ])  # fmt: skip
    yield _case("rules", "greedy under rules, alone and together", [
        {**long, "repetition_penalty": 1.5},
        {**long, "repetition_penalty": 0.7},
        {**long, "no_repeat_ngram_size": 2},
        {**long, "bad_words_ids": [[4], [6, 7]]},
        {**long, "suppress_tokens": [9, 10]},
        {**ending, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 5, "suppress_tokens": [11]},
    ])  # fmt: skip
    beams = {**ending, "num_beams": 3}
    yield _case("beams", "beam search", [
        {**long, "num_beams": 3},
        beams,
        {**beams, "length_penalty": 3.0},
        {**beams, "length_penalty": -1.0},
        {**beams, "early_stopping": True},
        {**beams, "early_stopping": "never"},
        {**beams, "num_beams": 4, "num_return_sequences": 3},
        {**beams, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
    ])  # fmt: skip


def _case(name: str, about: str, settings: list[Settings]) -> Case:
    ids = Draws(f"generation {name} ids").integers(MASK.shape, 1, 20) * MASK
    common: dict[str, Any] = {"do_sample": False, "pad_token_id": 0}
    inputs = {"input_ids": ids, "attention_mask": MASK}
    return Case(
        name,
        f"generate: {about}",
        "LlamaForCausalLM",
        small_config(pad_token_id=0, eos_token_id=None, bos_token_id=None),
        tuple(Call(inputs, {**common, **chosen}) for chosen in settings),
    )
