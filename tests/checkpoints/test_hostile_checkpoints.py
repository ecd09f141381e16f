"""Checkpoints that contradict themselves, and folders that can't be: named, and nothing half-written."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numpy_llama import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaError,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaModel,
)

LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    ("source", "target", "prefix"),
    [
        (LlamaForCausalLM, LlamaForQuestionAnswering, "transformer."),
        (LlamaForCausalLM, LlamaModel, ""),
        (LlamaForQuestionAnswering, LlamaForQuestionAnswering, "model."),
        (LlamaModel, LlamaModel, "model."),
    ],
)
@pytest.mark.parametrize("count", [1, None], ids=["one tensor", "every tensor"])
def test_two_tensors_for_one_place_are_an_error(tmp_path, make_model, source, target, prefix, count):
    """With both `model.` and `transformer.` in a file, which one counted hung on the order of names."""
    make_model(model_class=source).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    body = list(LlamaModel.tensor_shapes(LlamaConfig.from_pretrained(tmp_path)))
    again = {prefix + name: 2 * tensors[source.base_model_prefix + name] for name in body[:count]}
    save_file({**tensors, **again}, tmp_path / "model.safetensors")
    with pytest.raises(LlamaError, match="two tensors in one place|surplus tensor"):
        target.from_pretrained(tmp_path)


def test_a_seed_that_is_none_is_refused_before_anything_is_drawn(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    for seed in (None, "1", 1.5, -1):
        with pytest.raises(LlamaError, match="seed: impossible value"):
            LlamaForSequenceClassification.from_pretrained(tmp_path, seed=seed)


def test_changed_rope_parameters_go_before_the_older_spelling_in_the_file(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert text.count('"rope_parameters"') == 1
    (tmp_path / "config.json").write_text(text.replace('"rope_parameters"', '"rope_scaling"'))
    assert LlamaForCausalLM.from_pretrained(tmp_path).config.rope_parameters["rope_type"] == "default"
    changed = LlamaForCausalLM.from_pretrained(tmp_path, rope_parameters=LINEAR)
    assert changed.config.rope_parameters["rope_type"] == "linear"


def test_changed_names_of_labels_take_their_numbers_along(tmp_path, make_model):
    make_model(id2label={0: "no", 1: "yes"}).save_pretrained(tmp_path)
    config = LlamaConfig.from_pretrained(tmp_path, id2label={0: "a", 1: "b", 2: "c"})
    assert (config.num_labels, config.label2id) == (3, {"a": 0, "b": 1, "c": 2})


@pytest.mark.parametrize(
    "folder", [None, 3, "", b"folder", ["folder"], "x" * 5000, "zero\0byte"], ids=lambda folder: repr(folder)[:9]
)
def test_a_folder_that_cannot_be_is_refused(make_model, folder):
    model = make_model()
    calls = (
        LlamaForCausalLM.from_pretrained,
        LlamaConfig.from_pretrained,
        AutoModelForCausalLM.from_pretrained,
        AutoConfig.from_pretrained,
        model.save_pretrained,
        model.config.save_pretrained,
    )
    for call in calls:
        with pytest.raises(LlamaError, match="folder: wrong type|no possible path"):
            call(folder)


def changed_tensor(model):
    model.tensors["lm_head.weight"] = model.tensors["lm_head.weight"][:5]


def not_a_number(model):
    model.tensors["lm_head.weight"] = model.tensors["lm_head.weight"] * np.nan


def no_tensor(model):
    model.tensors.clear()


def whole_numbers(model):
    model.tensors = {name: tensor.astype(np.int32) for name, tensor in model.tensors.items()}


def other_config(model):
    model.config.vocab_size += 1


def other_settings(model):
    model.generation_config = 3


@pytest.mark.parametrize(
    "change", [changed_tensor, not_a_number, no_tensor, whole_numbers, other_config, other_settings]
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, make_model, change):
    model = make_model()
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    change(model)
    with pytest.raises(LlamaError):
        model.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path, make_model):
    os.mkdir(tmp_path / "model.safetensors")
    with pytest.raises(LlamaError, match="model.safetensors: can't be written"):
        make_model().save_pretrained(tmp_path)
    assert os.listdir(tmp_path) == ["model.safetensors"]
