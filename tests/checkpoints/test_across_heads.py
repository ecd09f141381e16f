"""A checkpoint of one class loads in each of the others: the body is found, a missing head is drawn and named."""

import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numpy_llama import (
    LlamaError,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    LlamaWarning,
)

ALL = [
    LlamaModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaForQuestionAnswering,
]
IDS = [[5, 17, 3, 42]]


def body(model):
    prefix = model.base_model_prefix
    return {name.removeprefix(prefix): t for name, t in model.tensors.items() if name.startswith(prefix)}


@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("source", ALL)
def test_the_body_is_found_in_every_kind_of_checkpoint(tmp_path, make_model, source, target):
    model = make_model(model_class=source)
    model.save_pretrained(tmp_path)
    needed = set(target.head_shapes(model.config))
    missing = needed - set(model.tensors)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = target.from_pretrained(tmp_path, seed=3)
    messages = [str(w.message) for w in caught if issubclass(w.category, LlamaWarning)]
    assert bool(messages) == bool(missing)
    for name in missing:
        assert name in messages[0]
    inside = body(model)
    for name, tensor in body(loaded).items():
        if name in inside:
            np.testing.assert_array_equal(tensor, inside[name])
    again = None
    if missing:
        with pytest.warns(LlamaWarning, match="seed 3"):
            again = target.from_pretrained(tmp_path, seed=3)
        for name in missing:
            np.testing.assert_array_equal(again.tensors[name], loaded.tensors[name])
            assert name.endswith("bias") or loaded.tensors[name].std() > 0


@pytest.mark.parametrize("model_class", ALL)
def test_the_file_has_the_names_that_transformers_gives(tmp_path, make_model, model_class):
    make_model(model_class=model_class).save_pretrained(tmp_path)
    first = {"LlamaModel": "embed_tokens", "LlamaForQuestionAnswering": "transformer.embed_tokens"}
    expected = first.get(model_class.__name__, "model.embed_tokens") + ".weight"
    assert expected in load_file(tmp_path / "model.safetensors")
    assert f'"{model_class.__name__}"' in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("target", ALL)
def test_a_missing_body_weight_is_an_error_in_every_class(tmp_path, make_model, target):
    make_model(model_class=LlamaForTokenClassification).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path)
    with pytest.raises(LlamaError, match=r"layers.1.mlp.up_proj.weight: missing tensor"):
        target.from_pretrained(tmp_path)


def test_a_head_of_another_number_of_labels_is_an_error(tmp_path, make_model):
    make_model(model_class=LlamaForSequenceClassification, num_labels=3).save_pretrained(tmp_path)
    assert LlamaForSequenceClassification.from_pretrained(tmp_path).score.shape == (3, 32)
    with pytest.raises(LlamaError, match=r"score.weight: wrong shape; expected \(4, 32\), found \(3, 32\)"):
        LlamaForSequenceClassification.from_pretrained(tmp_path, num_labels=4)


def test_fields_of_the_config_can_be_changed_on_the_way(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    with pytest.warns(LlamaWarning, match="score.weight"):
        model = LlamaForSequenceClassification.from_pretrained(tmp_path, num_labels=7, pad_token_id=0)
    assert model([[1, 2], [3, 0]]).logits.shape == (2, 7)
    with pytest.raises(LlamaError, match="numlabels: no such argument"):
        LlamaForSequenceClassification.from_pretrained(tmp_path, numlabels=7)


def test_a_tied_model_needs_no_head_in_the_file(tmp_path, make_model):
    model = make_model(model_class=LlamaModel, tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        causal = LlamaForCausalLM.from_pretrained(tmp_path)
    np.testing.assert_array_equal(causal.lm_head, model.embed_tokens)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_auto_is_the_dtype_of_the_file(tmp_path, make_model, dtype):
    model = make_model(dtype)
    model.save_pretrained(tmp_path)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded(IDS).logits, model(IDS).logits)


def test_a_setting_made_by_hand_leaves_the_configs_special_tokens_in_force(tmp_path, make_model):
    """Without generation_config.json the config speaks; one setting more must not silence it."""
    make_model(eos_token_id=7, pad_token_id=3).save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    assert model.generation_config["eos_token_id"] == 7
    model.generation_config["repetition_penalty"] = 1.3
    settings = model.stream(IDS).settings
    assert (settings.eos_token_ids, settings.pad_token_id, settings.repetition_penalty) == ((7,), 3, 1.3)
    model.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path).stream(IDS).settings
    assert (again.eos_token_ids, again.repetition_penalty) == ((7,), 1.3)
