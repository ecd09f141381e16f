"""Mistakes of weights and token ids, planted in the torch port."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import NotHere, one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort


def edit_weights(port: TorchPort, endings: tuple[str, ...], change: Callable[[Tensor], Tensor]) -> str:
    """Change every weight, of all layers, whose name ends so."""
    names = [name for name in port.weights if name.endswith(endings)]
    if not names:
        raise NotHere("no such weights")
    for name in names:
        port.weights[name] = change(port.weights[name]).contiguous()
    return ""


# -- ids and embedding -------------------------------------------------------------------------------------------------


@planted("embedding-scaled")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.embed
    return put(port, embed=lambda ids: plain(ids) * torch.tensor(port.width**0.5, dtype=port.dtype))


@planted("ids-off-by-one")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    by, plain = one_of(draw, (1, -1)), port.embed
    put(port, embed=lambda ids: plain((ids + by) % port.config.vocab_size))
    return f"{by:+d}"


def _with_begin(port: TorchPort, change: Callable[[Tensor, int], Tensor]) -> str:
    """Give the model texts that begin otherwise: `change` is given what stands in a row, and where the row's text
    begins; it is applied to each row of the ids and of the masks alike. Later calls go on after texts of that length.
    """
    bos, plain = port.config.bos_token_id, port.call
    begins: dict[str, list[int] | None] = {}

    def changed(rows: Tensor, places: list[int]) -> Tensor:
        return torch.stack([change(row, place) for row, place in zip(rows, places, strict=True)])

    def call(ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        T = ids.shape[1]
        if not port.seen:
            first = torch.zeros(len(ids), dtype=torch.long) if mask is None else mask.argmax(dim=1)
            begin = bool((ids.gather(1, first[:, None]) == bos).all())
            begins["places"] = first.tolist() if begin else None
        places = begins["places"]
        if places is None:
            return plain(ids, mask, positions)
        if not port.seen:
            ids = changed(ids, places)
        mask = None if mask is None else changed(mask, places)
        if positions is not None and mask is not None:
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return plain(ids, mask, positions)[:, -T:]

    return put(port, call=call)


@planted("bos-missing")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """The texts are cut before the model sees them, so there is a row of logits for every token but the first."""
    return _with_begin(port, lambda row, place: torch.cat((row[:place], row[place + 1 :])))


@planted("bos-doubled")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return _with_begin(port, lambda row, place: torch.cat((row[: place + 1], row[place:])))


@planted("head-tied")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if port.config.tie_word_embeddings:
        raise NotHere("it is tied")
    return put(port, head=lambda: port.weights["model.embed_tokens.weight"])


@planted("tied-head-ignored")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if not port.config.tie_word_embeddings:
        raise NotHere("it isn't tied")
    if "lm_head.weight" in port.weights:
        return put(port, head=lambda: port.weights["lm_head.weight"])
    put(port, head=lambda: torch.zeros_like(port.weights["model.embed_tokens.weight"]))
    return "zeros"


# -- biases ------------------------------------------------------------------------------------------------------------


def _bias(key: str, modules: tuple[str, ...]) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        return edit_weights(port, tuple(f"{module}.bias" for module in modules), torch.zeros_like)


_bias("attention-bias-dropped", ("q_proj", "k_proj", "v_proj", "o_proj"))
_bias("o-bias-dropped", ("o_proj",))
_bias("mlp-bias-dropped", ("gate_proj", "up_proj", "down_proj"))


@planted("qkv-bias-dropped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """All three, or one of them."""
    ways = (("q_proj", "k_proj", "v_proj"), ("q_proj",), ("k_proj",), ("v_proj",))
    modules = one_of(draw, ways)
    edit_weights(port, tuple(f"{module}.bias" for module in modules), torch.zeros_like)
    return " ".join(modules)


# -- rounding ----------------------------------------------------------------------------------------------------------


def _rounded(key: str, change: Callable[[Tensor], Tensor]) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        if port.dtype != torch.float32:
            raise NotHere("written for float32 weights")
        return edit_weights(port, ("weight", "bias"), change)


def _cut_off(w: Tensor) -> Tensor:
    return (w.view(torch.int32) & -0x10000).view(torch.float32)


_rounded("weights-in-bfloat16", lambda w: w.bfloat16().float())
_rounded("weights-in-float16", lambda w: w.half().float())
_rounded("weights-bfloat16-truncated", _cut_off)


@planted("weights-quantized")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """Every matrix, by the gguf package, there and back."""
    import gguf

    way = one_of(draw, ("Q8_0", "Q4_0", "Q4_1"))
    kind = gguf.GGMLQuantizationType[way]

    def there_and_back(w: Tensor) -> Tensor:
        if w.ndim != 2 or w.shape[1] % 32:
            return w
        packed = gguf.quants.quantize(w.float().numpy(), kind)
        return torch.from_numpy(gguf.quants.dequantize(packed, kind)).to(w.dtype)

    if port.width % 32:
        raise NotHere("rows aren't of 32s")
    edit_weights(port, ("weight",), there_and_back)
    return way
