"""One case in ours and in Transformers: what every call gives, by name.

    for ours, theirs in zip(run_ours(case, "float32"), run_theirs(case, "float32")):
        ours["logits"], theirs["logits"]

Both are given the same weights, rounded to `rounded_to` first, and the same arguments. Both must return the fields that
a reader of Transformers' documentation expects, in its order: `field_names` says which, and an output that has others,
or a plain tuple of another length, is an AssertionError.
"""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import numpy_llama
from numpy_llama.errors import LlamaWarning
from numpy_llama.precision import DTYPES, float_dtype
from numpy_llama.reference.case import Call, Case
from numpy_llama.reference.case_drawn import has_boolean_mask, tokens_of
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.lifted import lifted
from numpy_llama.reference.lifted_losses import lifted_losses
from numpy_llama.reference.publish_cases import load_class
from numpy_llama.reference.record import to_numpy, to_torch

Named = dict[str, np.ndarray]
RETURNS_CACHE = ("LlamaModel", "LlamaForCausalLM", "LlamaForSequenceClassification")


def run_ours(case: Case, dtype: str, rounded_to: str | None = None) -> Iterator[Named]:
    """What each call gives in ours: its outputs by name, and "cache_length" where it returned a cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)  # positions past the trained context, among others
        config = numpy_llama.LlamaConfig.from_dict(case.config)
        weights = {
            name: array.astype(float_dtype(dtype)) for name, array in _weights(case, rounded_to or dtype).items()
        }
        model = getattr(numpy_llama, case.class_name)(config, weights)
        cache = None if case.capacity is None else numpy_llama.StaticCache(config, max_cache_len=case.capacity)
        if cache is None and _chunked(case) and case.class_name not in RETURNS_CACHE:
            cache = numpy_llama.DynamicCache(config)
        for call in case.calls:
            inputs = {name: _cast(array, dtype, rounded_to or dtype) for name, array in call.inputs.items()}
            output = model(**inputs, **call.arguments, past_key_values=cache)
            named = _named(output, field_names(case, call, cache is not None))
            cache = named.pop("past_key_values", cache)
            yield _arrays(named, cache)


def run_theirs(case: Case, dtype: str, rounded_to: str | None = None) -> Iterator[Named]:
    """What each call gives in Transformers, loaded by from_pretrained; in float64 with its islands lifted.

    Attention is eager. A boolean mask is for fused attention (sdpa) alone; in float64, which lifts
    eager attention, that is given the numbers which the booleans stand for.
    """
    weights = _weights(case, rounded_to or dtype)
    attention = "sdpa" if has_boolean_mask(case) and dtype != "float64" else "eager"
    model = load_class(case.class_name, case.config, weights, dtype, attention)
    cache = None
    if case.capacity is not None:
        cache = transformers.StaticCache(config=model.config, max_cache_len=case.capacity)
    elif _chunked(case) and case.class_name not in RETURNS_CACHE:
        cache = transformers.DynamicCache(config=model.config)
    seen = 0
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if dtype == "float64":
            stack.enter_context(lifted(model))
            stack.enter_context(lifted_losses(model))
        for call in case.calls:
            seen += tokens_of(call)
            inputs = {name: _cast(array, dtype, rounded_to or dtype) for name, array in call.inputs.items()}
            if inputs.get("attention_mask", np.zeros(1)).ndim == 4:
                inputs["attention_mask"] = _as_theirs(inputs["attention_mask"], attention, dtype, case.capacity)
            _forget_longer_texts(model)
            tensors = {name: to_torch(array) for name, array in inputs.items()}
            output = model(**tensors, **call.arguments, past_key_values=cache)
            named = _named(output, field_names(case, call, cache is not None))
            cache = named.pop("past_key_values", cache)
            yield _arrays(named, cache, seen)


def field_names(case: Case, call: Call, cache_given: bool) -> list[str]:
    """The fields that the output of a call has, in order."""

    def asked_for(name: str) -> bool:
        return call.arguments.get(name, case.config.get(name, name == "use_cache"))

    own = {"LlamaModel": ["last_hidden_state"], "LlamaForQuestionAnswering": ["start_logits", "end_logits"]}
    return [
        *["loss"] * bool({"labels", "start_positions"} & call.inputs.keys()),
        *own.get(case.class_name, ["logits"]),
        *["past_key_values"] * (case.class_name in RETURNS_CACHE and (cache_given or asked_for("use_cache"))),
        *[name for name in ("hidden_states", "attentions") if asked_for(f"output_{name}")],
    ]


def _chunked(case: Case) -> bool:
    return len(case.calls) > 1


def _weights(case: Case, rounded_to: str) -> dict[str, np.ndarray]:
    """The weights of a case, float32, as they are in another dtype."""
    weights = draw_weights(case.class_name, case.config, Draws(case.name))
    return {name: array.astype(DTYPES[rounded_to]).astype(np.float32) for name, array in weights.items()}


def _cast(array: np.ndarray, dtype: str, rounded_to: str) -> np.ndarray:
    return array.astype(DTYPES[rounded_to]).astype(DTYPES[dtype]) if array.dtype == np.float32 else array


def _as_theirs(mask: np.ndarray, attention: str, dtype: str, capacity: int | None) -> np.ndarray:
    """A 4-D mask as Transformers wants it: a column for every place of a static cache, and no booleans if eager."""
    if mask.dtype == bool and attention == "eager":
        mask = np.where(mask, DTYPES[dtype].type(0), DTYPES[dtype].type(torch.finfo(getattr(torch, dtype)).min))
    if capacity in (None, mask.shape[3]):
        return mask
    hidden = False if mask.dtype == bool else mask.dtype.type(torch.finfo(getattr(torch, dtype)).min)
    wider = np.full((*mask.shape[:3], capacity), hidden, mask.dtype)
    wider[..., : mask.shape[3]] = mask
    return wider


def _forget_longer_texts(model: torch.nn.Module) -> None:
    """As a fresh model: dynamic rope remembers the longest text it has seen."""
    for module in model.modules():
        if isinstance(module, LlamaRotaryEmbedding):
            module.inv_freq = module.original_inv_freq.clone()
            module.max_seq_len_cached = module.original_max_seq_len


def _named(output: Any, names: list[str]) -> dict[str, Any]:
    """The fields of an output, which must be these; all of them by position, too."""
    if not isinstance(output, tuple):
        assert list(output.keys()) == names, (list(output.keys()), names)
        for index, name in enumerate(names):
            assert output[index] is output[name] is getattr(output, name)
        output = output.to_tuple()
    assert len(output) == len(names), (len(output), names)
    return dict(zip(names, output, strict=True))


def _arrays(named: dict[str, Any], cache: Any, seen: int | None = None) -> Named:
    """Arrays of fields, tuples stacked.

    seen  tokens so far: the attentions of a static cache go on behind them, with zeros (but at padding)
    """
    arrays = {}
    for name, value in named.items():
        layers = [_array(layer) for layer in value] if isinstance(value, tuple) else None
        arrays[name] = _array(value) if layers is None else np.stack(layers)
    if seen is not None and "attentions" in arrays:
        arrays["attentions"] = arrays["attentions"][..., :seen]
    if cache is not None:
        arrays["cache_length"] = np.array(int(cache.get_seq_length()))
    return arrays


def _array(value: Any) -> np.ndarray:
    return to_numpy(value) if isinstance(value, torch.Tensor) else np.asarray(value)


def selected(array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The numbers of an output at some places, which broadcast to it: (N,), float64."""
    return array[np.broadcast_to(places, array.shape)].astype(np.float64)
