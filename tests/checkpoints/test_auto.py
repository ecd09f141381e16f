"""The Auto classes: each gives the Llama class of its name, and refuses what is no Llama by the name of its type."""

import json
import shutil

import numpy as np
import pytest

import numpy_llama
from numpy_llama import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaError,
    LlamaForCausalLM,
    LlamaTokenizer,
    embedded_model_folder,
)

MODELS = {
    "AutoModel": "LlamaModel",
    "AutoModelForCausalLM": "LlamaForCausalLM",
    "AutoModelForSequenceClassification": "LlamaForSequenceClassification",
    "AutoModelForTokenClassification": "LlamaForTokenClassification",
    "AutoModelForQuestionAnswering": "LlamaForQuestionAnswering",
}


def test_config_and_tokenizer_are_the_llama_ones():
    folder = embedded_model_folder()
    assert AutoConfig.from_pretrained(folder) == LlamaConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, add_bos_token=False)
    assert type(tokenizer) is LlamaTokenizer
    assert tokenizer.encode("One day") == LlamaTokenizer.from_pretrained(folder).encode("One day")[1:]


@pytest.mark.parametrize(("auto", "llama"), MODELS.items())
@pytest.mark.filterwarnings("ignore::numpy_llama.LlamaWarning")  # fresh weights of a head
def test_a_model_is_the_llama_one_with_the_same_weights(auto, llama):
    auto, llama = getattr(numpy_llama, auto), getattr(numpy_llama, llama)
    model = auto.from_pretrained(embedded_model_folder(), dtype="float64")
    expected = llama.from_pretrained(embedded_model_folder(), dtype="float64")
    assert type(model) is llama
    assert model.tensors.keys() == expected.tensors.keys()
    assert all(np.array_equal(model.tensors[name], expected.tensors[name]) for name in expected.tensors)


@pytest.mark.parametrize(("auto", "llama"), MODELS.items())
def test_a_model_of_a_config_has_fresh_weights_of_a_seed(auto, llama):
    config = AutoConfig.for_model("llama", **SMALL)
    auto, llama = getattr(numpy_llama, auto), getattr(numpy_llama, llama)
    model = auto.from_config(config, seed=3, dtype="bfloat16")
    expected = llama(config, seed=3, dtype="bfloat16")
    assert type(model) is llama and model.dtype == "bfloat16"
    assert all(np.array_equal(model.tensors[name], expected.tensors[name]) for name in expected.tensors)


SMALL = {
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def test_fields_of_the_config_may_be_changed_on_loading():
    with pytest.warns(numpy_llama.LlamaWarning, match=r"score\.weight"):
        model = AutoModelForSequenceClassification.from_pretrained(embedded_model_folder(), num_labels=5)
    assert model([[1, 2, 3]]).logits.shape == (1, 5)
    assert AutoConfig.from_pretrained(embedded_model_folder(), num_labels=5).num_labels == 5


def test_the_model_on_board_has_a_name():
    assert AutoConfig.from_pretrained("storyteller") == AutoConfig.from_pretrained(embedded_model_folder())
    assert type(AutoModelForCausalLM.from_pretrained("storyteller")) is LlamaForCausalLM
    assert AutoTokenizer.from_pretrained("storyteller").vocab_size == 1536


@pytest.fixture
def mistral(tmp_path):
    """The embedded model, said to be of another type."""
    for name in ("config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"):
        shutil.copy(embedded_model_folder() / name, tmp_path / name)
    change(tmp_path / "config.json", model_type="mistral")
    return tmp_path


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("auto", ["AutoConfig", *MODELS])
def test_another_type_is_refused_by_its_name(mistral, auto):
    with pytest.raises(LlamaError, match=r"config\.json: model_type: not a Llama; expected 'llama', found 'mistral'"):
        getattr(numpy_llama, auto).from_pretrained(mistral)


def test_a_tokenizer_of_another_type_is_refused_unless_it_is_said_to_be_llamas(mistral):
    assert AutoTokenizer.from_pretrained(mistral).vocab_size == 1536  # tokenizer_class says LlamaTokenizer
    change(mistral / "tokenizer_config.json", tokenizer_class="MistralTokenizer")
    with pytest.raises(LlamaError, match=r"model_type: not a Llama; expected 'llama', found 'mistral'"):
        AutoTokenizer.from_pretrained(mistral)
    change(mistral / "config.json", model_type="llama")
    with pytest.warns(numpy_llama.LlamaWarning, match="MistralTokenizer"):
        AutoTokenizer.from_pretrained(mistral)


@pytest.mark.parametrize("auto", ["AutoConfig", "AutoTokenizer", *MODELS])
def test_what_is_no_folder_is_named(auto):
    with pytest.raises(
        LlamaError, match=r"meta-llama/Llama-2-7b: no such checkpoint folder; expected a folder on this disk"
    ):
        getattr(numpy_llama, auto).from_pretrained("meta-llama/Llama-2-7b")
    with pytest.raises(LlamaError, match="wrong type"):
        getattr(numpy_llama, auto).from_pretrained(None)


@pytest.mark.parametrize("auto", ["AutoConfig", "AutoTokenizer", *MODELS])
def test_an_auto_class_has_no_objects(auto):
    with pytest.raises(LlamaError, match=rf"{auto}.from_pretrained\(folder\)"):
        getattr(numpy_llama, auto)()


def test_from_config_wants_a_config():
    with pytest.raises(LlamaError, match="config: wrong type; expected a LlamaConfig, found dict"):
        AutoModelForCausalLM.from_config(SMALL)
    with pytest.raises(LlamaError, match="found 'gpt2'"):
        AutoConfig.for_model("gpt2")
