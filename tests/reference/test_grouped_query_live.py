"""A converted checkpoint, read by Transformers."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from numpy_llama import LlamaConfig, LlamaForCausalLM
from numpy_llama.reference.record import load, to_numpy, true_to_dtype

IDS = np.array([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])
# Two layers of sums of some tens of terms; see test_live.py.
RELATIVE = {"float32": 1e-5, "float64": 1e-11}

MULTI_HEAD = LlamaConfig(
    vocab_size=40,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=8,
    head_dim=6,
    max_position_embeddings=64,
    attention_bias=True,
)


@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize("heads", [4, 2, 1])
def test_transformers_computes_what_we_do(make_pair, tmp_path, dtype, heads):
    before, _ = make_pair(MULTI_HEAD, dtype)
    before.to_grouped_query(heads).save_pretrained(tmp_path)
    ours, theirs = LlamaForCausalLM.from_pretrained(tmp_path, dtype), load(tmp_path, dtype)
    assert theirs.config.num_key_value_heads == ours.config.num_key_value_heads == heads
    with torch.no_grad(), true_to_dtype(theirs):
        expected = to_numpy(theirs(torch.from_numpy(IDS)).logits)
    logits = ours(IDS).logits
    assert np.abs(logits - expected).max() <= RELATIVE[dtype] * np.abs(expected).max()
    assert np.abs(logits - before(IDS).logits).max() > 0.01 * np.abs(expected).max()  # it is another model


def test_the_pooled_weights_are_torch_s_mean(make_pair):
    """By another way: torch's mean over an axis of heads, in float64."""
    before, theirs = make_pair(MULTI_HEAD, "float32")
    after = before.to_grouped_query(2)
    for name, tensor in theirs.state_dict().items():
        if "k_proj" in name or "v_proj" in name:
            heads = tensor.double().unflatten(0, (2, 4, 6))  # (N, K/N, D, …)
            np.testing.assert_array_equal(after.tensors[name], heads.mean(1).flatten(0, 1).float().numpy())
