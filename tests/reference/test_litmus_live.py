"""The litmus model and its script in Transformers."""

import numpy as np
import pytest
import torch
import transformers

from numpy_llama import LlamaForCausalLM
from numpy_llama.checkpoints import data_folder
from numpy_llama.study.subject import Subject, calls_of
from numpy_llama.study.trace import load_trace

FOLDER = data_folder() / "litmus"


@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "plain"], ids=["litmus", "plain"])
def test_transformers_computes_the_same_logits(folder):
    """Both round some hundred times on the way, and each is measured within 1e-6 of the largest from a float64 run."""
    judge = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = LlamaForCausalLM.from_pretrained(folder)
    calls, cache = calls_of(load_trace(folder / "script.safetensors")), None
    for asked, ours in zip(calls, Subject(model.config, model.tensors, calls).run(), strict=True):
        cache = transformers.DynamicCache(config=judge.config) if asked.past == 0 else cache
        mask, positions = (None if a is None else torch.tensor(a) for a in (asked.attention_mask, asked.position_ids))
        with torch.no_grad():
            theirs = judge(torch.tensor(asked.input_ids), mask, positions, cache).logits.numpy()
        T = asked.input_ids.shape[1]
        real = np.ones(ours.shape[:2], bool) if asked.attention_mask is None else asked.attention_mask[:, -T:] == 1
        np.testing.assert_allclose(ours[real], theirs[real], rtol=0, atol=2e-6 * np.abs(theirs).max())
