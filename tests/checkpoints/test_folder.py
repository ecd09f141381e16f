"""Checkpoint folders: what is written is read back, what is damaged is named, and no crash leaves half a file."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from numpy_llama import LlamaConfig, LlamaError, LlamaForCausalLM, embedded_model_folder
from numpy_llama.checkpoints import write_folder as writer


@pytest.fixture
def saved(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_saving_and_loading_gives_every_bit_back(tmp_path, make_model, dtype):
    model = make_model(dtype)
    model.generation_config = {"temperature": 0.5}
    model.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert again.generation_config == {"temperature": 0.5}
    assert {k: v for k, v in again.config.to_dict().items() if k in model.config.to_dict()} == model.config.to_dict()
    assert again.tensors.keys() == model.tensors.keys()
    for name, tensor in model.tensors.items():
        assert again.tensors[name].dtype == tensor.dtype
        assert again.tensors[name].tobytes() == tensor.tobytes()


def test_weights_are_converted_to_the_dtype_asked_for(saved):
    double = LlamaForCausalLM.from_pretrained(saved, dtype="float64")
    half = LlamaForCausalLM.from_pretrained(saved, dtype="float16")
    for name, tensor in LlamaForCausalLM.from_pretrained(saved).tensors.items():
        np.testing.assert_array_equal(double.tensors[name], tensor)
        np.testing.assert_array_equal(half.tensors[name], tensor.astype(np.float16))


def test_a_tied_head_is_not_stored_and_not_missed(tmp_path, make_model):
    make_model(tie_word_embeddings=True).save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    LlamaForCausalLM.from_pretrained(tmp_path)


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def drop(name):
    return lambda tensors: tensors.pop(name)


def put(name, value):
    return lambda tensors: tensors.update({name: value})


NAN = np.ones((44, 32), np.float32)
NAN[3, 5] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("model.norm.weight"), r"model.safetensors: model.norm.weight: missing tensor; expected \(32,\)"),
        (drop("model.layers.1.mlp.up_proj.bias"), r"model.layers.1.mlp.up_proj.bias: missing tensor"),
        (put("model.wings", np.ones(3, np.float32)), r"model.wings: surplus tensor; .*found \(3,\)"),
        (
            put("model.norm.weight", np.ones(31, np.float32)),
            r"norm.weight: wrong shape; expected \(32,\), found \(31,\)",
        ),
        (put("model.norm.weight", np.ones(32, np.int32)), r"model.norm.weight: wrong dtype; expected .*F32.*found I32"),
        (put("model.layers.0.mlp.up_proj.weight", NAN), r"up_proj.weight\[3, 5\]: weight is not a number; .*1 of 1408"),
        (put("model.norm.weight", np.full(32, np.inf, np.float32)), r"model.norm.weight\[0\]: weight is infinite"),
        (put("model.layers.2.mlp.up_proj.weight", NAN), "wrong number of layers; expected 2 .*found 3"),
    ],
)
def test_a_wrong_tensor_is_named_with_its_file(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(LlamaError, match=message):
        LlamaForCausalLM.from_pretrained(saved)


def test_a_weight_too_large_for_the_dtype_is_named(saved):
    rewrite(saved, put("model.norm.weight", np.full(32, 1e6, np.float32)))
    LlamaForCausalLM.from_pretrained(saved, dtype="bfloat16")
    with pytest.raises(LlamaError, match=r"model.norm.weight\[0\]: weight is infinite"):
        LlamaForCausalLM.from_pretrained(saved, dtype="float16")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(LlamaError, match=f"{name}: no such file"):
        LlamaForCausalLM.from_pretrained(saved)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(LlamaError, match="nowhere: no such checkpoint folder"):
        LlamaForCausalLM.from_pretrained(tmp_path / "nowhere")


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_weights_file_is_an_error_wherever_it_ends(tmp_path_factory, make_model, share):
    folder = tmp_path_factory.mktemp("truncated")
    make_model().save_pretrained(folder)
    path = folder / "model.safetensors"
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(LlamaError, match="model.safetensors: not a readable safetensors file"):
        LlamaForCausalLM.from_pretrained(folder)


@given(noise=st.binary(max_size=200))
def test_bytes_that_are_no_safetensors_are_an_error(tmp_path_factory, make_model, noise):
    folder = tmp_path_factory.mktemp("noise")
    make_model().save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(noise)
    with pytest.raises(LlamaError, match=r"model\.safetensors"):
        LlamaForCausalLM.from_pretrained(folder)


def test_a_config_of_another_size_is_an_error_before_anything_is_allocated(saved):
    settings = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 10**4}))
    with pytest.raises(LlamaError, match="wrong number of layers; expected 10000"):
        LlamaForCausalLM.from_pretrained(saved)
    (saved / "config.json").write_text(json.dumps({**settings, "vocab_size": 10**12}))
    with pytest.raises(LlamaError, match=r"embed_tokens.weight: wrong shape; expected \(1000000000000, 32\)"):
        LlamaForCausalLM.from_pretrained(saved)


def test_a_crash_while_saving_leaves_the_old_checkpoint_whole(saved, make_model, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def half_then_crash(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "save_file", half_then_crash)
    with pytest.raises(KeyboardInterrupt):
        make_model(seed=1).save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_saving_onto_a_file_is_an_error(tmp_path, make_model):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LlamaError, match="file: not a folder"):
        make_model().save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_saved_files_are_as_readable_as_any_other(saved):
    os.umask(mask := os.umask(0))
    for path in saved.iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_weights_given_by_hand_are_checked_too():
    config = LlamaConfig(vocab_size=5, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=2)
    fresh = LlamaForCausalLM(config, seed=3)
    np.testing.assert_array_equal(fresh.lm_head, LlamaForCausalLM(config, seed=3).lm_head)
    assert not np.array_equal(fresh.lm_head, LlamaForCausalLM(config, seed=4).lm_head)
    with pytest.raises(LlamaError, match=r"weights: lm_head.weight\[0, 0\]: weight is not a number"):
        LlamaForCausalLM(config, {**fresh.tensors, "lm_head.weight": np.full((5, 4), np.nan, np.float32)})
    with pytest.raises(LlamaError, match="weights of several dtypes; expected one, found float16, float32"):
        LlamaForCausalLM(config, {**fresh.tensors, "lm_head.weight": np.ones((5, 4), np.float16)})


def test_fresh_weights_follow_the_initializer_range():
    sizes = {"vocab_size": 500, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    config = LlamaConfig(**sizes, num_attention_heads=2, initializer_range=0.05)
    table = LlamaForCausalLM(config).model.embed_tokens
    assert np.abs(table).max() <= 3 * 0.05 * (1 + 1e-6)
    # A normal cut at three deviations has 0.9866 of the deviation; 32,000 draws know theirs to 0.4 %.
    assert table.std() == pytest.approx(0.9866 * 0.05, rel=0.02)


def test_the_embedded_model_is_what_it_promises(storyteller):
    c = storyteller.config
    stored = load_file(embedded_model_folder() / "model.safetensors")
    assert sum(tensor.size for tensor in stored.values()) <= 2_000_000
    assert {tensor.dtype.name for tensor in stored.values()} <= {"float16", "bfloat16"}
    assert (embedded_model_folder() / "model.safetensors").stat().st_size <= 4_000_000
    assert c.num_key_value_groups >= 2
    assert c.max_position_embeddings == 512
    assert 1024 <= c.vocab_size <= 2048
