"""Shards and conversions, both ways: what Transformers writes is read here bit for bit, and the other way round."""

import json
from itertools import product

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from huggingface_hub import split_torch_state_dict_into_shards

from numpy_llama import LlamaConfig, LlamaForCausalLM, embedded_model_folder
from numpy_llama.checkpoints.convert import convert_checkpoint
from numpy_llama.checkpoints.shards import INDEX, bytes_from, shared_out
from numpy_llama.reference.case import small_config
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.record import to_numpy

CASES = list(product(["float32", "float16", "bfloat16"], [False, True], [1_300, "2KB", "50GB"]))
IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
FLOAT32 = 1e-5
ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def config_of(tied, **changes):
    return small_config("LlamaForCausalLM", tie_word_embeddings=tied, **changes)


def theirs_of(folder, dtype):
    model, report = transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    return model.eval()


def logits(model):
    if isinstance(model, LlamaForCausalLM):
        return model(IDS).logits
    with torch.no_grad():
        return to_numpy(model(torch.from_numpy(IDS)).logits)


def assert_same_bits(ours, theirs):
    state = theirs.state_dict()
    assert set(ours.tensors) == set(state) - ({"lm_head.weight"} if ours.config.tie_word_embeddings else set())
    for name, tensor in ours.tensors.items():
        np.testing.assert_array_equal(tensor, to_numpy(state[name]), err_msg=name)


def metadata(folder):
    return json.loads((folder / INDEX).read_text())["metadata"] if (folder / INDEX).exists() else None


@pytest.mark.parametrize(("dtype", "tied", "size"), CASES)
def test_shards_of_transformers_in_ours_and_back(tmp_path, dtype, tied, size):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**config_of(tied, attention_bias=True), attn_implementation="eager")
    theirs = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype)).eval()
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=size)
    ours = LlamaForCausalLM.from_pretrained(tmp_path / "theirs", dtype="auto")
    assert ours.dtype == dtype
    assert_same_bits(ours, theirs)
    if dtype == "float32":
        expected = logits(theirs)
        np.testing.assert_allclose(logits(ours), expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
    ours.save_pretrained(tmp_path / "ours", max_shard_size=size)
    assert metadata(tmp_path / "ours") == metadata(tmp_path / "theirs")
    assert (metadata(tmp_path / "ours") is None) == (size == "50GB")
    assert_same_bits(ours, theirs_of(tmp_path / "ours", dtype))


@pytest.mark.parametrize(("dtype", "tied", "size"), CASES)
def test_shards_of_ours_in_transformers_and_back(tmp_path, dtype, tied, size):
    config = config_of(tied)
    weights = {name: tensor.astype(np.float32) for name, tensor in draw_weights(
        "LlamaForCausalLM", config, Draws("shards")).items()}  # fmt: skip
    LlamaForCausalLM(LlamaConfig.from_dict(config), weights).save_pretrained(tmp_path / "float32")
    ours = LlamaForCausalLM.from_pretrained(tmp_path / "float32", dtype)
    ours.save_pretrained(tmp_path / "ours", max_shard_size=size)
    theirs = theirs_of(tmp_path / "ours", dtype)
    assert_same_bits(ours, theirs)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=size)
    again = LlamaForCausalLM.from_pretrained(tmp_path / "theirs", dtype="auto")
    assert_same_bits(again, theirs)
    np.testing.assert_array_equal(logits(again), logits(ours))


@pytest.mark.parametrize("size", [1000, 8_000, "20KB", "1MB"])
def test_tensors_are_shared_out_as_transformers_shares_them(size):
    generator = np.random.default_rng(0)
    sizes = {f"t{i}": int(n) for i, n in enumerate(generator.integers(1, 900, 50))}
    state = {name: torch.zeros(n, dtype=torch.uint8) for name, n in sizes.items()}
    expected = split_torch_state_dict_into_shards(
        state, filename_pattern="model{suffix}.safetensors", max_shard_size=size
    )
    assert shared_out(sizes, bytes_from(size)) == expected.filename_to_tensors


def test_the_default_size_of_a_shard_is_that_of_transformers():
    import inspect

    theirs = inspect.signature(transformers.LlamaForCausalLM.save_pretrained).parameters["max_shard_size"].default
    assert inspect.signature(LlamaForCausalLM.save_pretrained).parameters["max_shard_size"].default == theirs


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_of_transformers_goes_through_llama2c_unchanged(tmp_path, tied):
    torch.manual_seed(1)
    settings = {"attention_bias": False, "mlp_bias": False, "rms_norm_eps": 1e-5, "rope": ROPE}
    config = config_of(tied, **settings)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config, attn_implementation="eager")).eval()
    theirs.save_pretrained(tmp_path / "first", max_shard_size="2KB")
    with pytest.warns(match=r"no tokenizer\.bin is written"):
        convert_checkpoint(tmp_path / "first", tmp_path / "second.bin", "llama2.c")
    with pytest.warns(match="isn't taken along"):
        convert_checkpoint(tmp_path / "second.bin", tmp_path / "third", max_shard_size="2KB")
    again = theirs_of(tmp_path / "third", "float32")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    np.testing.assert_array_equal(logits(again), logits(theirs))


def test_a_converted_tokenizer_is_read_by_transformers(tmp_path):
    convert_checkpoint(embedded_model_folder(), tmp_path / "s.bin", "llama2.c")
    convert_checkpoint(tmp_path / "s.bin", tmp_path / "back")
    text = "Once upon a time there was a little girl."
    ids = [transformers.AutoTokenizer.from_pretrained(path)(text)["input_ids"]
           for path in (embedded_model_folder(), tmp_path / "back")]  # fmt: skip
    assert ids[0] == ids[1]
