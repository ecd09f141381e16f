"""Hostile input: what is plausible and wrong is refused as a LlamaError, and nothing is wrong in silence."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numpy_llama import Blocks, LlamaConfig, LlamaError, LlamaForCausalLM
from numpy_llama.blocks import rms_norm

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("penalty", [0.5, 1.7])
def test_padding_is_not_penalized_as_repetition(make_model, penalty):
    settings = {"max_new_tokens": 12, "eos_token_id": None, "repetition_penalty": penalty}
    alone = make_model().generate([[9, 33]], **settings)
    for pad in range(61):
        np.testing.assert_array_equal(make_model().generate([[pad, 9, 33]], [[0, 1, 1]], **settings)[:, 1:], alone)


def test_a_cache_survives_an_interrupted_step(make_model):
    model, calls = make_model(), []

    def interrupted(*arguments):
        calls.append(0)
        if len(calls) == 8:  # the second layer of the second call
            raise KeyboardInterrupt
        return rms_norm(*arguments)

    stopping = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(rms_norm=interrupted))
    cache = stopping([[1, 2, 3]]).past_key_values
    with pytest.raises(KeyboardInterrupt):
        stopping([[4]], past_key_values=cache)
    np.testing.assert_allclose(
        stopping([[4]], past_key_values=cache).logits, model([[1, 2, 3, 4]]).logits[:, -1:], 1e-3
    )


def test_a_head_that_differs_from_the_embedding_is_not_tied_in_silence(tmp_path, make_model):
    make_model(tie_word_embeddings=True).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] + 1}, tmp_path / "model.safetensors")
    with pytest.raises(LlamaError, match=r"lm_head\.weight"):
        LlamaForCausalLM.from_pretrained(tmp_path)


def test_an_outer_original_context_counts_first_as_in_transformers():
    inner = {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 16}}
    config = LlamaConfig.from_dict({**inner, "original_max_position_embeddings": 32})
    assert config.rope_parameters["original_max_position_embeddings"] == 32


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, np.longdouble, object, ">f4"], ids=str)
def test_weights_of_another_dtype_are_refused(make_model, dtype):
    model = make_model()
    with pytest.raises(LlamaError, match=r"model\.embed_tokens\.weight"):
        LlamaForCausalLM(model.config, {name: tensor.astype(dtype) for name, tensor in model.tensors.items()})


@pytest.mark.parametrize(
    "ids", [[[1, 2], [3]], np.zeros((0, 3), int), [[], []]], ids=["ragged", "no rows", "two empty"]
)
def test_prompts_that_are_no_rectangle_are_refused(make_model, ids):
    with pytest.raises(LlamaError):
        make_model().generate(ids, max_new_tokens=2)


@pytest.mark.parametrize("bad", [{"seed": -1}, {"attention_mask": [[1], [1, 1]]}, {"temperature": 1e-300}], ids=str)
def test_impossible_settings_are_refused(make_model, bad):
    with pytest.raises(LlamaError):
        make_model().generate([[1], [2]], max_new_tokens=2, do_sample=True, **bad)


def test_what_json_cannot_hold_shows_before_a_file_is_replaced(tmp_path, make_model):
    make_model(seed=1).save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model = make_model(seed=2)
    model.generation_config = {"top_k": np.int64(5)}
    with pytest.raises(LlamaError, match=r"generation_config\.json: can't be written as JSON"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("dtype", [None, 5, "float8", np.int32])
def test_a_dtype_that_is_none_of_ours_is_refused(tmp_path, make_model, dtype):
    make_model().save_pretrained(tmp_path)
    with pytest.raises(LlamaError, match="unknown dtype"):
        LlamaForCausalLM.from_pretrained(tmp_path, dtype=dtype)
