"""Run each building block alone in Transformers, and write a file for each: data/published_logits/blocks/.

The files have the layout of the cases (see case_file.py), with `block` in the place of `class` and no weights: what a
block is given are its inputs, all of them.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel
from transformers.activations import ACT2FN
from transformers.models.llama import modeling_llama

from numpy_llama.precision import DTYPES
from numpy_llama.reference import lifted as lifting
from numpy_llama.reference.case_blocks import BlockCase, block_cases
from numpy_llama.reference.case_file import CaseWriter
from numpy_llama.reference.record import provenance, to_numpy, to_torch

Inputs = Mapping[str, Tensor]


def _model(dtype: torch.dtype, **fields: Any) -> LlamaModel:
    """The smallest model that has the block in it."""
    ours = {"vocab_size": 2, "hidden_size": 16, "intermediate_size": 4, "num_hidden_layers": 1, **fields}
    config = LlamaConfig(**ours, attn_implementation="eager")
    model = LlamaModel(config).eval()
    for parameter in model.parameters():  # not the frequencies of RoPE, which stay float32
        parameter.data = parameter.data.to(dtype)
    return model


def _rope_tables(dtype: torch.dtype, inputs: Inputs, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    model = _model(dtype, num_attention_heads=1, **arguments)
    with _true_to(dtype, model):
        cos, sin = model.rotary_emb(torch.zeros(1, dtype=dtype), position_ids=inputs["position_ids"])
    return {"cos": cos, "sin": sin}


def _apply_rope(dtype: torch.dtype, inputs: Inputs, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    query, key = modeling_llama.apply_rotary_pos_emb(*(inputs[name] for name in ("query", "key", "cos", "sin")))
    return {"query_rotated": query, "key_rotated": key}


def _rms_norm(dtype: torch.dtype, inputs: Inputs, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    model = _model(dtype, num_attention_heads=1, rms_norm_eps=arguments["eps"])
    model.norm.weight.data = inputs["weight"]
    with _true_to(dtype, model):
        return {"y": model.norm(inputs["x"])}


def _attention(dtype: torch.dtype, inputs: Inputs, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    heads, key_value_heads = inputs["query"].shape[1], inputs["key"].shape[1]
    model = _model(dtype, num_attention_heads=heads, num_key_value_heads=key_value_heads)
    forward = modeling_llama.eager_attention_forward if dtype != torch.float64 else lifting.attention_in_float64
    given = (inputs["query"], inputs["key"], inputs["value"], inputs.get("attention_mask"), arguments["scaling"])
    context, weights = forward(model.layers[0].self_attn, *given)
    return {"context": context.transpose(1, 2), "weights": weights}  # (B, H, T, D), (B, H, T, S)


def _mlp(dtype: torch.dtype, inputs: Inputs, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    F, E = inputs["gate_proj"].shape
    biased = "gate_proj_bias" in inputs
    shape = {"hidden_size": E, "intermediate_size": F, "num_attention_heads": 1}
    block: nn.Module = _model(dtype, mlp_bias=biased, hidden_act=arguments["hidden_act"], **shape).layers[0].mlp
    for name in ("gate_proj", "up_proj", "down_proj"):
        getattr(block, name).weight.data = inputs[name]
        if biased:
            getattr(block, name).bias.data = inputs[f"{name}_bias"]
    return {"act_fn": ACT2FN[arguments["hidden_act"]](block.gate_proj(inputs["x"])), "y": block(inputs["x"])}


_BLOCKS: dict[str, Callable[..., dict[str, Tensor]]] = {
    "rope_tables": _rope_tables,
    "apply_rope": _apply_rope,
    "rms_norm": _rms_norm,
    "attention": _attention,
    "mlp": _mlp,
}


def _true_to(dtype: torch.dtype, model: LlamaModel) -> ExitStack:
    stack = ExitStack()
    if dtype == torch.float64:
        stack.enter_context(lifting.lifted(model))
    return stack


def run_block(case: BlockCase, index: int, dtype: str, rounded_to: str) -> dict[str, np.ndarray]:
    """One call of a block in Transformers; dtype and rounded_to as for run_case."""
    call = case.calls[index]
    inputs = {}
    for name, array in call.inputs.items():
        floating = array.dtype == np.float32
        inputs[name] = to_torch(array.astype(DTYPES[rounded_to]).astype(DTYPES[dtype]) if floating else array)
    with torch.no_grad():
        outputs = _BLOCKS[case.block](getattr(torch, dtype), inputs, call.arguments)
    return {name: to_numpy(value) for name, value in outputs.items()}


def publish_blocks(folder: Path, command: str) -> list[int]:
    """Write every block's file; returns the sizes."""
    cases = list(block_cases())
    folder.mkdir(parents=True, exist_ok=True)
    for stale in set(folder.glob("*.safetensors")) - {folder / f"{case.name}.safetensors" for case in cases}:
        stale.unlink()
    return [_publish(case, folder, command) for case in cases]


def _publish(case: BlockCase, folder: Path, command: str) -> int:
    writer = CaseWriter()
    for index, call in enumerate(case.calls):
        writer.call(call.inputs, call.arguments)
        results = {dtype: run_block(case, index, dtype, dtype) for dtype in DTYPES}
        truths = {dtype: run_block(case, index, "float64", dtype) for dtype in ("float16", "bfloat16")}
        position = int(call.inputs["position_ids"].max()) if "position_ids" in call.inputs else 0
        for name in results["float64"]:
            writer.output(
                index,
                "outputs",
                name,
                {dtype: result[name] for dtype, result in results.items()},
                {dtype: truth[name] for dtype, truth in truths.items()},
                None,
                position,
            )
    origin = {"command": command, **provenance()}
    description = {"name": case.name, "about": case.about, "block": case.block, "made_by": origin}
    return writer.write(folder / f"{case.name}.safetensors", description)
