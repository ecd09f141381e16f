"""Run Transformers' Llama and take down what comes out, as NumPy arrays."""

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import LlamaForCausalLM

from numpy_llama.reference.lifted import lifted


@dataclass(frozen=True)
class Forward:
    """What one forward pass gave.

    logits         (B, T, V)
    hidden_states  (L + 1, B, T, E): the embedding, then the output of each layer; the last one is after the final norm
    """

    logits: np.ndarray
    hidden_states: np.ndarray


@dataclass(frozen=True)
class Continuation:
    """A greedy continuation of N tokens, as `generate` made it.

    tokens      (N,), int32
    runners_up  (N,), int32: the second likeliest token of each step
    top_two     (N, 2): the logits of both
    """

    tokens: np.ndarray
    runners_up: np.ndarray
    top_two: np.ndarray


def load(folder: str | Path, dtype: str) -> LlamaForCausalLM:
    """The checkpoint in Transformers, eager, in one of the four dtypes.

    dtype is given to from_pretrained, which leaves the RoPE frequencies in float32; `.half()` and `.to()` would round
    them as well. Eager attention is the one whose roundings ours follows; the fused kernels round elsewhere.
    """
    model = LlamaForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="eager")
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    return model.eval()


def true_to_dtype(model: LlamaForCausalLM) -> AbstractContextManager[Any]:
    """In float64, lift the islands of float32; in any other dtype, Transformers is the judge as it is."""
    return lifted(model) if model.dtype == torch.float64 else nullcontext()


def forward(model: LlamaForCausalLM, input_ids: Any, **arguments: Any) -> Forward:
    """One forward pass over (B, T) ids.

    arguments  as Transformers takes them: attention_mask, position_ids, past_key_values
    """
    arguments = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in arguments.items()
    }
    with torch.no_grad(), true_to_dtype(model):
        output = model(torch.as_tensor(np.asarray(input_ids)), output_hidden_states=True, **arguments)
    return Forward(to_numpy(output.logits), np.stack([to_numpy(hidden) for hidden in output.hidden_states]))


def continue_greedily(model: LlamaForCausalLM, prompt: list[int], count: int) -> Continuation:
    """`count` tokens, the likeliest at each step, past any end-of-text token.

    By Transformers' own generate, but in float64: generate rounds logits to float32 before it chooses, so there the
    same loop is written out.
    """
    choose = _loop_by_hand if model.dtype == torch.float64 else _loop_of_generate
    with torch.no_grad(), true_to_dtype(model):
        tokens, logits = choose(model, torch.tensor([prompt]), count)  # (N,), (N, V)
    top = logits.topk(2)
    # Where two logits are the same number, topk may name either first.
    runners_up = torch.where(top.indices[:, 0] == tokens, top.indices[:, 1], top.indices[:, 0])
    return Continuation(tokens.int().numpy(), runners_up.int().numpy(), to_numpy(top.values))


def _loop_of_generate(model: LlamaForCausalLM, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    model.generation_config.eos_token_id = None
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        temperature=None,  # a checkpoint's own settings for sampling would only make it warn
        top_k=None,
        top_p=None,
        max_length=None,
        max_new_tokens=count,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return output.sequences[0, ids.shape[1] :], torch.stack(output.logits)[:, 0]


def _loop_by_hand(model: LlamaForCausalLM, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    tokens, rows, cache = [], [], None
    for _ in range(count):
        output = model(ids, past_key_values=cache, use_cache=True)
        rows.append(output.logits[0, -1])
        ids, cache = rows[-1].argmax().view(1, 1), output.past_key_values
        tokens.append(ids[0, 0])
    return torch.stack(tokens), torch.stack(rows)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """The same numbers, bit by bit; torch's own .numpy() doesn't know bfloat16."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def to_torch(array: np.ndarray) -> Tensor:
    """The same numbers, bit by bit."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.ascontiguousarray(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(array))


def provenance() -> dict[str, Any]:
    """What the last digits of a result depend on: versions, threads, and the kind of processor."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    }
