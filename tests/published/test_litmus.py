"""The litmus model: the same in every format, small, and as its generator makes it."""

import json

import numpy as np
import pytest

from numpy_llama import LlamaForCausalLM
from numpy_llama.checkpoints import data_folder
from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.reference.publish_litmus import LITMUS, PLAIN, litmus_calls, litmus_weights
from numpy_llama.study.subject import Subject, calls_of
from numpy_llama.study.trace import load_trace

FOLDER = data_folder() / "litmus"
MODELS = {"litmus": (FOLDER, LITMUS), "plain litmus": (FOLDER / "plain", PLAIN)}


def subject(checkpoint, script):
    model = LlamaForCausalLM.from_pretrained(checkpoint)
    return Subject(model.config, model.tensors, calls_of(load_trace(script / "script.safetensors")))


def test_it_goes_by_its_name():
    assert checkpoint_path("litmus") == FOLDER


@pytest.mark.parametrize("name", MODELS)
def test_the_files_are_what_their_generator_makes(name):
    folder, config = MODELS[name]
    stored = subject(folder, folder)
    for tensor, expected in litmus_weights(name, config).items():
        np.testing.assert_array_equal(stored.weights[tensor], expected)
    for asked, expected in zip(stored.calls, litmus_calls(config), strict=True):
        assert asked.past == expected.past
        for given in ("input_ids", "attention_mask", "position_ids"):
            np.testing.assert_array_equal(getattr(asked, given), getattr(expected, given))


@pytest.mark.parametrize("name", MODELS)
def test_the_script_is_the_same_in_json(name):
    folder, _ = MODELS[name]
    calls = calls_of(load_trace(folder / "script.safetensors"))
    said = json.loads((folder / "script.json").read_text(encoding="utf-8"))["calls"]
    assert len(said) == len(calls)
    for asked, call in zip(calls, said, strict=True):
        assert asked.past == call.pop("past")
        for given, value in call.items():
            found = getattr(asked, given)
            assert (None if found is None else found.tolist()) == value


@pytest.mark.parametrize(("name", "file"), [("litmus", "litmus.gguf"), ("plain litmus", "litmus.bin")])
def test_every_format_holds_the_same_model(name, file):
    """float32 logits of some units: the frequencies differ by one rounding in GGUF, which stores their divisors."""
    folder, _ = MODELS[name]
    for ours, other in zip(subject(folder, folder).run(), subject(folder / file, folder).run(), strict=True):
        np.testing.assert_allclose(other, ours, rtol=0, atol=2e-5)
