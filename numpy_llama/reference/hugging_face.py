"""Record a trace of a Llama in Hugging Face Transformers: the other side of a comparison.

    pip install numpy-llama[huggingface]

    from numpy_llama.reference.hugging_face import record_hugging_face
    from numpy_llama.study.trace import save_trace

    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with record_hugging_face(model) as theirs:
        model.generate(input_ids, max_new_tokens=8, do_sample=False)
    theirs["call.0000/model.layers.0.self_attn.scores"]
    save_trace(theirs, "theirs.safetensors")

It is the same class that `trace` gives for our own model, with the same names: `numpy-llama compare ours.safetensors
theirs.safetensors` shows the first value that disagrees.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaModel, LlamaPreTrainedModel

from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.reference.hearing import hear_values
from numpy_llama.study.trace.trace import Trace, TracedCall

NEEDED = ("apply_rotary_pos_emb", "eager_attention_forward")


@contextmanager
def record_hugging_face(model: nn.Module, only: str = "*") -> Iterator[Trace]:
    """While this lasts, everything that a Llama of Transformers computes is recorded: each call of it, by `generate`,
    too, with its ids, mask, positions and the length of its cache.

    Attention is computed the eager way meanwhile, whatever the model is set to: the fused kernels (sdpa, flash) never
    hold scores and weights. In float32 that changes the last digits; in two-byte dtypes it rounds elsewhere than the
    fused kernels do. The trace's `source` says so. Afterwards the model is as it was, after an exception, too.

    model   a LlamaForCausalLM, one of the other heads, or a LlamaModel; on any device, in any float dtype
    only    a pattern: of the values, those whose full name fits it are kept ("*/model.layers.3.*")
    yields  a Trace that grows; the values are copies, as NumPy arrays of the model's dtype (bfloat16: ml_dtypes).
            A lone LlamaModel's names have no "model." before them, as its weights haven't
    raises  LlamaError where the model is no Llama of Transformers, or Transformers is a version that keeps its
            attention elsewhere
    """
    body = _body_of(model)
    recorded = Trace(source="Transformers", config=_config_of(model), dtype=str(body.dtype).removeprefix("torch."))
    names = {id(body): name for name, module in model.named_modules() if module is body}
    inside = f"{names[id(body)]}." if names[id(body)] else ""

    def begin(_: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        recorded.calls.append(_begun(len(recorded.calls), _given(body, inputs, keywords)))

    def positions(_: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        told = keywords.get("position_ids", inputs[-1] if inputs else None)
        if recorded.calls and isinstance(told, Tensor):
            recorded.calls[-1].position_ids = _integers(told)

    def tell(name: str, value: Tensor) -> None:
        if not recorded.calls:
            return  # a part of the model, called by itself
        call = recorded.calls[-1]
        if name in call.values or not fnmatchcase(f"{call.name}/{name}", only):
            return
        if name == f"{inside}causal_mask" and call.attention_mask is None:
            if call.new == 1 and not value.any():
                return  # one new token that may look everywhere: ours has no mask, either
            value = value[:1] if bool((value == value[:1]).all()) else value  # ours has one for all rows
        call.values[name] = _array(value)  # type: ignore[index]  # a dict here

    handles = [
        body.register_forward_pre_hook(begin, with_kwargs=True),
        body.rotary_emb.register_forward_pre_hook(positions, with_kwargs=True),
    ]
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    before = {key: getattr(config, "_attn_implementation", "eager") for key, config in configs.items()}
    if set(before.values()) != {"eager"}:
        recorded.source += f" (attention eager, where the model has {before[id(body.config)]})"
    try:
        for config in configs.values():
            config._attn_implementation = "eager"
        with hear_values(model, tell):
            yield recorded
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
        for handle in handles:
            handle.remove()


def _body_of(model: Any) -> LlamaModel:
    bodies = [part for part in model.modules() if isinstance(part, LlamaModel)] if isinstance(model, nn.Module) else []
    if not isinstance(model, LlamaPreTrainedModel) or len(bodies) != 1:
        raise LlamaError(
            "not a Llama of Transformers",
            where="model",
            expected="a LlamaForCausalLM or a LlamaModel, not wrapped in anything",
            found=type(model).__name__,
        )
    missing = [name for name in NEEDED if not hasattr(modeling_llama, name)]
    if missing:
        import transformers

        raise LlamaError(
            f"this version of Transformers has no {' and no '.join(missing)} to listen at",
            where="transformers",
            expected="5 or newer",
            found=transformers.__version__,
        )
    return bodies[0]


def _config_of(model: LlamaPreTrainedModel) -> dict[str, Any]:
    """As our own model of the same folder has it, so that two traces can be seen to be of the same model."""
    settings = {name: value for name, value in model.config.to_diff_dict().items() if not name.startswith("_")}
    return LlamaConfig.from_dict(settings).to_dict()


def _given(body: LlamaModel, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call by name, however they were passed."""
    return inspect.signature(body.forward).bind_partial(*inputs, **keywords).arguments | dict(keywords)


def _begun(index: int, given: Mapping[str, Any]) -> TracedCall:
    cache, mask = given.get("past_key_values"), given.get("attention_mask")
    past = 0 if cache is None else int(cache.get_seq_length())
    if isinstance(mask, Tensor):
        mask = _integers(mask) if mask.ndim == 2 else _array(mask)
        mask = None if mask.ndim == 2 and mask.all() else mask
    else:
        mask = None
    ids = given.get("input_ids")
    return TracedCall(index, past, None if ids is None else _integers(ids), mask, None, {})


def _integers(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.int64)


def _array(tensor: Tensor) -> np.ndarray:
    """A copy of the same numbers, bit by bit, from any device; torch's own .numpy() doesn't know bfloat16."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().copy().view(ml_dtypes.bfloat16)
    return tensor.numpy().copy()
