"""Run the published cases in Transformers, and write a file for each: data/published_logits/cases/.

The layout is described for readers in data/published_logits/README.md.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from torch import Tensor

from numpy_llama.precision import DTYPES
from numpy_llama.reference.case import Call, Case
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.case_file import CaseWriter
from numpy_llama.reference.lifted import lifted
from numpy_llama.reference.lifted_losses import lifted_losses
from numpy_llama.reference.named_values import hear_named_values
from numpy_llama.reference.record import provenance, to_numpy, to_torch

Arrays = dict[str, np.ndarray]


def publish_case(case: Case, folder: Path, command: str) -> int:
    """Run a case in every dtype, write its file; returns its size in bytes."""
    weights = draw_weights(case.class_name, case.config, Draws(case.name))
    writer = CaseWriter()
    description = {
        "name": case.name,
        "about": case.about,
        "class": case.class_name,
        "config": case.config,
        "cache": None if case.capacity is None else {"type": "static", "capacity": case.capacity},
        "attention": "sdpa" if _boolean(case) else "eager",
        "factors": dict(case.factors),
        "made_by": {"command": command, **provenance()},
    }
    writer.weights(weights)
    for call in case.calls:
        writer.call(call.inputs, call.arguments)
    results = {dtype: run_case(case, weights, dtype, dtype) for dtype in DTYPES}
    truths = {dtype: run_case(case, weights, "float64", dtype) for dtype in ("float16", "bfloat16")}
    for index in range(len(case.calls)):
        for group in ("outputs", "named"):
            for name in results["float64"][index][group]:
                writer.output(
                    index,
                    group,
                    name,
                    {dtype: results[dtype][index][group][name] for dtype in DTYPES},
                    {dtype: truths[dtype][index][group][name] for dtype in truths},
                    where_real(case, index, name),
                    farthest_position(case, index),
                )
    return writer.write(folder / f"{case.name}.safetensors", description)


def run_case(case: Case, weights: Arrays, dtype: str, rounded_to: str) -> list[dict[str, Arrays]]:
    """What each call of a case gives, in Transformers, loaded anew.

    dtype       what is computed in; float64 with every island of float32 lifted
    rounded_to  the dtype that weights and inputs are rounded to first
    returns     for each call {"outputs": …, "named": …}
    """
    weights = {name: array.astype(DTYPES[rounded_to]).astype(np.float32) for name, array in weights.items()}
    model = load_class(case.class_name, case.config, weights, dtype, "sdpa" if _boolean(case) else "eager")
    cache = None
    if case.capacity is not None:
        cache = transformers.StaticCache(config=model.config, max_cache_len=case.capacity)
    results, seen = [], 0
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        named = stack.enter_context(hear_named_values(model)) if case.named else {}
        if dtype == "float64":
            stack.enter_context(lifted(model))
            stack.enter_context(lifted_losses(model))
        for index, call in enumerate(case.calls):
            inputs = {name: _as_input(array, dtype, rounded_to) for name, array in call.inputs.items()}
            output = model(**inputs, **call.arguments, past_key_values=cache)
            cache = output.get("past_key_values")
            seen += new_tokens(call)
            last = index == len(case.calls) - 1
            results.append(
                {
                    "outputs": _outputs(output, seen if last and publishes_cache(case) else None),
                    "named": {name: to_numpy(value.clone()) for name, value in sorted(named.items())},
                }
            )
    return results


def load_class(class_name: str, config: Mapping[str, Any], weights: Arrays, dtype: str, attention: str) -> Any:
    """A model of Transformers' class, by from_pretrained, from a checkpoint of float32 weights."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(weights, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        model, report = getattr(transformers, class_name).from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation=attention, output_loading_info=True
        )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval()


def publishes_cache(case: Case) -> bool:
    """Whether keys and values are published after the last call: where a cache is used, and in every third pair."""
    if not case.calls[-1].arguments.get("use_cache", False):
        return False
    return not case.factors or int(case.name.removeprefix("pair_")) % 3 == 0


def new_tokens(call: Call) -> int:
    """T of a call."""
    return (call.inputs["input_ids"] if "input_ids" in call.inputs else call.inputs["inputs_embeds"]).shape[1]


def farthest_position(case: Case, index: int) -> int:
    """The largest position that any call so far has seen."""
    seen = sum(new_tokens(call) for call in case.calls[: index + 1]) - 1
    given = [
        int(call.inputs["position_ids"].max()) for call in case.calls[: index + 1] if "position_ids" in call.inputs
    ]
    return max([seen, *given])


def where_real(case: Case, index: int, name: str) -> np.ndarray | None:
    """Where an output is to be compared: at real tokens, and for scores where the mask lets a token look.

    returns  booleans that broadcast to the output, or None for everywhere
    """
    call = case.calls[index]
    mask = call.inputs.get("attention_mask")
    end = sum(new_tokens(call) for call in case.calls[: index + 1])
    start = end - new_tokens(call)
    whole = mask.astype(bool) if mask is not None and mask.ndim == 2 else None  # (B, S)
    if name.endswith(".scores"):
        return _visible(call, whole)
    if whole is None or whole.all():
        return None
    pooled = name == "logits" and case.class_name == "LlamaForSequenceClassification"
    if pooled or name in ("loss", "model.causal_mask"):
        return None
    new = whole[:, start:end]  # (B, T)
    if name == "logits" and "logits_to_keep" in call.arguments:
        new = new[:, -call.arguments["logits_to_keep"] :]
    held = whole[None, :, None, :, None]
    shaped = {
        "start_logits": new,
        "end_logits": new,
        "hidden_states": new[None, :, :, None],
        "attentions": new[None, :, None, :, None],
        "past_key_values.keys": held,
        "past_key_values.values": held,
    }
    last = name.rpartition(".")[2]
    if name in shaped:
        return shaped[name]
    if last in ("keys", "values"):
        return whole[:, None, :, None]
    if last in ("query_rotated", "key_rotated", "weights", "context"):
        return new[:, None, :, None]
    return new[:, :, None]


def _visible(call: Call, whole: np.ndarray | None) -> np.ndarray:
    """(B or 1, 1, T, S): true where a real token may look, of a named case."""
    T = new_tokens(call)
    if "position_ids" in call.inputs and whole is None:  # packed
        positions = call.inputs["position_ids"]
        sequence = np.cumsum(np.diff(positions, axis=1, prepend=positions[:, :1] - 1) != 1, axis=1)
        return (np.tril(np.ones((T, T), bool)) & (sequence[:, :, None] == sequence[:, None]))[:, None]
    S = T if whole is None else whole.shape[1]
    sees = np.tril(np.ones((T, S), bool), S - T)
    if whole is None:
        return sees[None, None]
    return (sees & whole[:, None, :] & whole[:, S - T :, None])[:, None]


def _boolean(case: Case) -> bool:
    return any(call.inputs.get("attention_mask", np.zeros(1)).dtype == bool for call in case.calls)


def _as_input(array: np.ndarray, dtype: str, rounded_to: str) -> Tensor:
    """An argument as the model takes it. Lifted attention adds a mask: there, a boolean one is turned into numbers."""
    if array.dtype == np.float32:
        return to_torch(array.astype(DTYPES[rounded_to]).astype(DTYPES[dtype]))
    if array.dtype == bool and dtype == "float64":
        hidden = torch.tensor(torch.finfo(torch.float64).min, dtype=torch.float64)
        return torch.where(torch.from_numpy(array), torch.zeros_like(hidden), hidden)
    return to_torch(array)


def _outputs(output: Any, cached: int | None) -> Arrays:
    """The fields of an output object; tuples of layers stacked, keys and values of the cache where they are wanted."""
    arrays: Arrays = {}
    for name, value in output.items():
        if name == "past_key_values":
            if cached is not None:
                for part in ("keys", "values"):
                    held = [getattr(layer, part)[:, :, :cached] for layer in value.layers]
                    arrays[f"past_key_values.{part}"] = to_numpy(torch.stack(held))  # (L, B, K, S, D)
        elif isinstance(value, tuple):
            arrays[name] = to_numpy(torch.stack(value))
        else:
            arrays[name] = to_numpy(value)
    return arrays


def publish_cases(cases: Iterable[Case], folder: Path, command: str) -> list[int]:
    """Write every case; what else lies in the folder is taken away. Returns the sizes."""
    cases = list(cases)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in set(folder.glob("*.safetensors")) - {folder / f"{case.name}.safetensors" for case in cases}:
        stale.unlink()
    return [publish_case(case, folder, command) for case in cases]
