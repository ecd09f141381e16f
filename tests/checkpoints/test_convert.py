"""Conversion: the same model comes out, tokenizer included, and nothing that was there is lost."""

import json
import shutil
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numpy_llama import (
    AutoTokenizer,
    LlamaError,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaModel,
    LlamaTokenizer,
    LlamaWarning,
    embedded_model_folder,
)
from numpy_llama.checkpoints.convert import convert_checkpoint
from numpy_llama.checkpoints.reader import open_checkpoint

ITS = {"rms_norm_eps": 1e-5, "attention_bias": False, "mlp_bias": False, "head_dim": None}
IDS = [[1, 5, 17, 3, 42]]
TEXT = "Once upon a time, in Zürich 😀"


def convert(*arguments, **options):
    """convert_checkpoint of a model without a tokenizer, which is worth a warning and no more."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(tokenizer|beside).*", category=LlamaWarning)
        return convert_checkpoint(*arguments, **options)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_there_and_back_every_bit_is_the_same(tmp_path, make_model, tied, dtype):
    """Folder → llama2.c → shards: float32 has room for every number of the two-byte dtypes."""
    model = make_model(dtype, **ITS, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path / "first")
    convert(tmp_path / "first", tmp_path / "second.bin", "llama2.c")
    convert(tmp_path / "second.bin", tmp_path / "third", max_shard_size="20KB")
    assert len(list((tmp_path / "third").glob("model-*.safetensors"))) > 2
    third = LlamaForCausalLM.from_pretrained(tmp_path / "third", dtype)
    for name, tensor in model.tensors.items():
        assert third.tensors[name].tobytes() == tensor.tobytes(), name
    np.testing.assert_array_equal(third(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("model_class", [LlamaModel, LlamaForSequenceClassification, LlamaForQuestionAnswering])
def test_a_folder_of_any_class_is_written_as_that_class(tmp_path, make_model, model_class):
    model = make_model("float16", model_class=model_class)
    model.save_pretrained(tmp_path / "first")
    convert(tmp_path / "first", tmp_path / "second", max_shard_size="10KB")
    again = model_class.from_pretrained(tmp_path / "second", dtype="auto")
    assert again.tensors.keys() == model.tensors.keys()
    for name, tensor in model.tensors.items():
        assert again.tensors[name].tobytes() == tensor.tobytes()
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("first", "second")]
    assert configs[0] == configs[1]


def test_numbers_stay_in_the_dtype_that_each_is_stored_in(tmp_path, make_model):
    make_model().save_pretrained(tmp_path / "first")
    path = tmp_path / "first" / "model.safetensors"
    tensors = load_file(path)
    mixed = {name: t if t.ndim == 1 else t.astype(np.float16) for name, t in tensors.items()}
    save_file(mixed, path)
    convert(tmp_path / "first", tmp_path / "second")
    again = load_file(tmp_path / "second" / "model.safetensors")
    assert {name: (t.dtype, t.tobytes()) for name, t in again.items()} == {
        name: (t.dtype, t.tobytes()) for name, t in mixed.items()
    }


def test_quantized_weights_become_float32_numbers(tmp_path, make_model):
    model = make_model(**ITS, hidden_size=64, num_attention_heads=8, intermediate_size=64)
    model.save_pretrained(tmp_path / "first")
    quantized = LlamaForCausalLM.from_pretrained(tmp_path / "first", quantization="int8", group_size=32)
    quantized.save_pretrained(tmp_path / "second")
    convert(tmp_path / "second", tmp_path / "third")
    convert(tmp_path / "second", tmp_path / "fourth.bin", "llama2.c")
    expected = quantized(IDS).logits
    assert not np.array_equal(expected, model(IDS).logits)
    for name in ("third", "fourth.bin"):
        np.testing.assert_array_equal(LlamaForCausalLM.from_pretrained(tmp_path / name)(IDS).logits, expected)


def test_the_tokenizer_goes_along(tmp_path):
    source = embedded_model_folder()
    convert_checkpoint(source, tmp_path / "folder", max_shard_size="1MB")
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "folder" / name).read_bytes() == (source / name).read_bytes()
    convert_checkpoint(tmp_path / "folder", tmp_path / "new.bin", "llama2.c")
    convert_checkpoint(tmp_path / "new.bin", tmp_path / "back")
    expected = LlamaTokenizer.from_pretrained(source, legacy=True).encode(TEXT)
    assert AutoTokenizer.from_pretrained(tmp_path / "new.bin").encode(TEXT) == expected
    assert LlamaTokenizer.from_pretrained(tmp_path / "back").encode(TEXT) == expected


def test_special_tokens_of_another_kind_are_worth_a_warning(tmp_path, make_model):
    make_model(**ITS, bos_token_id=7).save_pretrained(tmp_path / "first")
    with pytest.warns(LlamaWarning, match="llama2.c begins a text with token 1"):
        convert(tmp_path / "first", tmp_path / "second.bin", "llama2.c")


def test_without_a_tokenizer_a_warning_says_so(tmp_path, make_model):
    make_model(**ITS).save_pretrained(tmp_path / "first")
    with pytest.warns(LlamaWarning, match="no tokenizer"):
        convert_checkpoint(tmp_path / "first", tmp_path / "second")
    with pytest.warns(LlamaWarning, match=r"no tokenizer\.bin is written"):
        convert_checkpoint(tmp_path / "first", tmp_path / "second.bin", "llama2.c")
    assert not (tmp_path / "tokenizer.bin").exists()


# What is there stays there


@pytest.fixture
def source(tmp_path, make_model):
    make_model(**ITS).save_pretrained(tmp_path / "source")
    return tmp_path / "source"


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("to", ["hf", "llama2.c"])
def test_nothing_that_is_there_is_replaced(tmp_path, source, to):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "mine.bin").write_text("dear")
    before = files(tmp_path)
    for destination in (tmp_path / "mine", tmp_path / "mine.bin", source):
        with pytest.raises(LlamaError, match="is there already"):
            convert(source, destination, to)
    assert files(tmp_path) == before


def test_another_vocabulary_is_not_replaced(tmp_path):
    (tmp_path / "tokenizer.bin").write_bytes(b"mine")
    with pytest.raises(LlamaError, match=r"tokenizer\.bin: another vocabulary is there already"):
        convert_checkpoint(embedded_model_folder(), tmp_path / "new.bin", "llama2.c")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.bin"]
    assert (tmp_path / "tokenizer.bin").read_bytes() == b"mine"


def not_a_number(tensors):
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan


def no_head(tensors):
    del tensors["lm_head.weight"]


def no_norm(tensors):
    del tensors["model.norm.weight"]


@pytest.mark.parametrize("to", ["hf", "llama2.c"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (not_a_number, r"up_proj\.weight\[3, 5\]: weight is not a number"),
        (no_head, r"lm_head\.weight: missing tensor"),
        (no_norm, r"model\.norm\.weight: missing tensor"),
    ],
)
def test_what_could_not_be_loaded_is_not_converted(tmp_path, source, to, change, message):
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, source / "model.safetensors")
    destination = tmp_path / ("new" if to == "hf" else "new.bin")
    with pytest.raises(LlamaError, match=message):
        convert(source, destination, to)
    assert not destination.exists() or not list(destination.iterdir())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("destination", "to", "message"),
    [
        ("new", "gguf", "no such format; expected hf or llama2.c, found 'gguf'"),
        ("new", "llama2.c", "expected a name that ends in .bin"),
        ("tokenizer.bin", "llama2.c", "the name of the vocabulary"),
    ],
)
def test_a_destination_that_cannot_be_is_refused(tmp_path, source, destination, to, message):
    with pytest.raises(LlamaError, match=message):
        convert(source, tmp_path / destination, to)


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path, source):
    (tmp_path / "letter.txt").write_text("dear")
    for path, message in [
        ("letter.txt", "no checkpoint that is read here"),
        ("nowhere", "no such checkpoint folder"),
        ("source/config.json", "no checkpoint that is read here"),
    ]:
        with pytest.raises(LlamaError, match=message):
            open_checkpoint(tmp_path / path)


def test_changes_of_the_config_reach_every_format(tmp_path, source):
    convert(source, tmp_path / "new.bin", "llama2.c")
    shutil.copytree(source, tmp_path / "copy")
    for path in (tmp_path / "new.bin", tmp_path / "copy"):
        assert LlamaForCausalLM.from_pretrained(path, rms_norm_eps=0.5).config.rms_norm_eps == 0.5
        with pytest.raises(LlamaError, match="norm_eps: no such argument"):
            LlamaForCausalLM.from_pretrained(path, norm_eps=0.5)
