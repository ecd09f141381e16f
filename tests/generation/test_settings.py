"""Settings: who goes before whom, what can't be, and what is said about it."""

import warnings

import numpy as np
import pytest

from numpy_llama import LlamaError, LlamaWarning
from numpy_llama.generation import GenerationSettings

PROMPT = [[1, 5, 9, 14]]


@pytest.fixture
def model(make_model):
    return make_model("float32", eos_token_id=3, pad_token_id=4)


def gathered(model, stored=None, **said) -> GenerationSettings:
    return GenerationSettings.gather(model.config, stored or {}, said)


def test_the_caller_goes_before_the_file(model):
    settings = gathered(model, {"eos_token_id": [5], "temperature": 0.5, "top_k": 7, "wings": 2}, temperature=2)
    assert (settings.eos_token_ids, settings.temperature, settings.top_k) == ((5,), 2, 7)


def test_without_a_file_the_config_names_the_special_tokens(model):
    assert (gathered(model).eos_token_ids, gathered(model).pad_token_id) == ((3,), 4)


def test_a_file_that_names_no_end_token_means_none(model):
    settings = gathered(model, {"temperature": 0.5})
    assert (settings.eos_token_ids, settings.pad_token_id) == ((), None)


def test_settings_in_config_json_count_where_there_is_no_file(make_model):
    """Older checkpoints have them there."""
    model = make_model("float32", extra={"max_length": 9, "repetition_penalty": 1.5, "architectures": ["x"]})
    assert (gathered(model).max_length, gathered(model).repetition_penalty) == (9, 1.5)
    assert gathered(model, {"eos_token_id": 2}).max_length is None
    derived = {"_from_model_config": True, "temperature": 0.5}  # as Transformers marks what it made of a config
    assert (gathered(model, derived).max_length, gathered(model, derived).temperature) == (9, 0.5)


def test_none_switches_a_rule_off_and_null_in_a_file_is_the_default(model):
    settings = gathered(
        model, {"top_k": 7, "temperature": None, "do_sample": True}, top_k=None, do_sample=None, eos_token_id=None
    )
    assert (settings.top_k, settings.temperature, settings.do_sample, settings.eos_token_ids) == (None, 1.0, False, ())
    assert settings.rules() == []


def test_lengths(model):
    settings = gathered(model, max_new_tokens=5, eos_token_id=None)
    assert settings.new_tokens(100) == 5
    assert gathered(model, max_length=10).new_tokens(4) == 6
    assert gathered(model).new_tokens(4) == 20
    assert gathered(model).new_tokens(60, trained_length=64) == 4  # the default ends where the trained context does
    with pytest.raises(LlamaError, match="max_length: no room for new tokens; expected more than the prompt's 10"):
        gathered(model, max_length=10).new_tokens(10)
    with pytest.raises(LlamaError, match="max_position_embeddings: no room for new tokens"):
        model.generate([[5] * 64])


def test_a_max_length_without_effect_is_worth_a_warning(model):
    with pytest.warns(LlamaWarning, match="max_length=30 has no effect beside max_new_tokens=2"):
        model.generate(PROMPT, max_length=30, max_new_tokens=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gathered(model, {"max_length": 30}, max_new_tokens=2)  # a file's default, as it should be


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1}, r"generate\(temprature=…\): no such setting; expected one of .*temperature"),
        ({"guidance_scale": 2}, r"generate\(guidance_scale=…\): setting that isn't implemented"),
        ({"temperature": 0}, "temperature: impossible value; expected a positive number, 1e-30 … 1e30, found 0"),
        ({"temperature": float("nan")}, "temperature: impossible value"),
        ({"temperature": True}, "temperature: impossible value"),
        ({"top_p": 1.5}, "top_p: impossible value; expected a number in 0 … 1, found 1.5"),
        ({"top_k": -1}, "top_k: impossible value"),
        ({"typical_p": 0}, "typical_p: impossible value"),
        ({"do_sample": "yes"}, "do_sample: impossible value; expected true or false, found 'yes'"),
        ({"max_new_tokens": 0}, "max_new_tokens: impossible value; expected a positive integer, found 0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens: impossible value"),
        ({"eos_token_id": "x"}, "eos_token_id: impossible value"),
        ({"eos_token_id": 61}, "eos_token_id: token id out of range; expected 0 … 60, found 61"),
        ({"eos_token_id": [3, -1]}, "eos_token_id: token id out of range; expected 0 … 60, found -1"),
        ({"suppress_tokens": [70]}, "suppress_tokens: token id out of range"),
        ({"bad_words_ids": [[5, 70]]}, "bad_words_ids: token id out of range"),
        ({"bad_words_ids": [5]}, "bad_words_ids: impossible value; expected a list of lists of token ids"),
        ({"sequence_bias": {5: 1.0}}, "sequence_bias: impossible value"),
        ({"num_beams": 0}, "num_beams: impossible value; expected a positive integer, found 0"),
        ({"num_beams": 2.0}, "num_beams: impossible value"),
        ({"num_beams": 2, "num_return_sequences": 3}, r"num_return_sequences: more texts than beams; .*\(2\), found 3"),
        ({"num_return_sequences": 2}, "num_return_sequences: impossible value; expected 1, since greedy has one"),
        ({"early_stopping": "always"}, "early_stopping: impossible value; expected true, false or 'never'"),
        ({"length_penalty": "long"}, "length_penalty: impossible value"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens: longer than a row may be; .* at most 4, found 5"),
        ({"min_length": 9, "max_length": 8}, "min_length: longer than a row may be; expected at most 8, found 9"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size: impossible value"),
        ({"stop_strings": []}, "stop_strings: impossible value; expected a string that isn't empty, or a list of such"),
        ({"stop_strings": ["a", ""]}, "stop_strings: impossible value"),
        ({"cache_implementation": "offloaded"}, "cache_implementation: impossible value; expected 'dynamic'"),
        ({"forced_eos_token_id": 5, "suppress_tokens": [5]}, "forced_eos_token_id: also among suppress_tokens"),
        ({"seed": -1}, "seed: impossible value"),
        ({"past_key_values": 3}, "past_key_values: wrong type; expected a KVCache, found int"),
        ({"logits_processor": 3}, "logits_processor: wrong type; expected a list of functions, found 3"),
        ({"generation_config": 3}, "generation_config: wrong type; expected a dict of settings, found int"),
        ({"inputs_embeds": np.zeros((1, 3, 32), np.float32)}, "input_ids: doesn't fit inputs_embeds"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_an_error_before_the_first_token(model, settings, message):
    with pytest.raises(LlamaError, match=message):
        model.stream(PROMPT, **settings)


def test_an_error_in_a_file_names_the_file(model):
    model.generation_config = {"temperature": "hot", "eos_token_id": 2}
    with pytest.raises(LlamaError, match=r"^generation_config\.json: temperature: impossible value"):
        model.generate(PROMPT)
    assert model.generate(PROMPT, temperature=0.5, max_new_tokens=2).shape == (1, 6)  # the caller knows better


def test_a_stored_end_token_past_the_vocabulary_ends_nothing(make_model):
    model = make_model("float32", eos_token_id=1000, pad_token_id=None)
    assert model.generate(PROMPT * 2, max_new_tokens=5).shape == (2, 9)


def test_a_stored_minimum_beyond_the_maximum_is_worth_a_warning(model):
    model.generation_config = {"min_new_tokens": 30, "eos_token_id": 2}
    with pytest.warns(LlamaWarning, match="min_new_tokens: longer than a row may be; expected at most 5, found 30"):
        assert model.generate(PROMPT, max_new_tokens=5).shape == (1, 9)


def test_settings_for_one_call_as_a_dict(model):
    output = model.generate(PROMPT, generation_config={"max_new_tokens": 3, "repetition_penalty": 1.5})
    np.testing.assert_array_equal(output, model.generate(PROMPT, max_new_tokens=3, repetition_penalty=1.5))


def test_where_every_token_is_ruled_out_there_is_no_choice(model):
    for settings in ({}, {"do_sample": True}, {"num_beams": 2}):
        with pytest.raises(LlamaError, match="no token can be chosen"):
            model.generate(PROMPT, suppress_tokens=list(range(61)), **settings)


def test_a_misspelt_setting_in_a_callers_generation_config_is_an_error(make_model):
    with pytest.raises(LlamaError, match="generation_config: max_new_tokenz: no such setting"):
        make_model().generate([[1]], generation_config={"max_new_tokenz": 3})


def test_special_tokens_are_those_the_config_had_when_the_model_was_made(make_model):
    """As in Transformers: the generation config is made with the model, whatever becomes of its config."""
    model = make_model(eos_token_id=7, pad_token_id=None)
    model.config.pad_token_id, model.config.eos_token_id = 0, 9
    settings = model.stream([[0, 5]]).settings
    assert (settings.eos_token_ids, settings.pad_token_id) == ((7,), None)
