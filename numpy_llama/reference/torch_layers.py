"""Mistakes of the MLP, of the order of layers and of the logits, planted in the torch port."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from numpy_llama.reference.torch_mistake import NotHere, one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort

Tables = tuple[Tensor, Tensor]

# -- MLP ---------------------------------------------------------------------------------------------------------------


def _gated(key: str, gated: Callable[[TorchPort, Tensor, Tensor], Tensor]) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        return put(port, gated=lambda gate, up: gated(port, gate, up))


_gated("gate-up-swapped", lambda port, gate, up: port.activation(up) * gate)
_gated("activation-on-up", lambda port, gate, up: gate * port.activation(up))
_gated("activation-on-both", lambda port, gate, up: port.activation(gate) * port.activation(up))
_gated("activation-missing", lambda port, gate, up: gate * up)
_gated("activation-after-product", lambda port, gate, up: port.activation(gate * up))
_gated("gate-up-added", lambda port, gate, up: port.activation(gate) + up)
_gated("up-left-out", lambda port, gate, up: port.activation(gate))


def _activation(key: str, activation: Callable[[Tensor], Tensor], meant: tuple[str, ...]) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        if meant and port.config.hidden_act not in meant:
            raise NotHere(f"the activation is {port.config.hidden_act}")
        port.activation = activation
        return ""


_SILU, _GELU = ("silu", "swish"), ("gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu")
_activation("gelu-for-silu", F.gelu, _SILU)
_activation("tanh-gelu-for-silu", lambda x: F.gelu(x, approximate="tanh"), _SILU)
_activation("quick-gelu-for-silu", lambda x: x * torch.sigmoid(1.702 * x), _SILU)
_activation("relu-for-silu", F.relu, _SILU)
_activation("sigmoid-for-silu", torch.sigmoid, _SILU)
_activation("silu-for-gelu", F.silu, _GELU)
_activation("tanh-gelu-for-gelu", lambda x: F.gelu(x, approximate="tanh"), ("gelu",))
_activation("gelu-for-tanh-gelu", F.gelu, ("gelu_new", "gelu_pytorch_tanh"))

# -- order of layers ---------------------------------------------------------------------------------------------------


def _several(port: TorchPort) -> int:
    if len(port.order) < 2:
        raise NotHere("one layer")
    return len(port.order)


@planted("layer-skipped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    skipped = int(draw.integers(_several(port)))
    del port.order[skipped]
    return f"layer {skipped}"


@planted("layer-doubled")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    doubled = int(draw.integers(len(port.order)))
    port.order.insert(doubled, doubled)
    return f"layer {doubled}"


@planted("layers-swapped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    first = int(draw.integers(_several(port) - 1))
    port.order[first : first + 2] = first + 1, first
    return f"layers {first} and {first + 1}"


@planted("layers-sorted-as-text")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if len(port.order) < 11:
        raise NotHere("at most ten layers")
    port.order.sort(key=str)
    return ""


@planted("layers-reversed")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    _several(port)
    port.order.reverse()
    return ""


# -- residual stream ---------------------------------------------------------------------------------------------------

Half = Callable[[Tensor], Tensor]
Flow = Callable[[Tensor, Half, Half, Half, Half], Tensor]


def _flow(key: str, flow: Flow) -> None:
    """A layer that joins its two norms and its two halves otherwise."""

    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        def layer(place: int, name: str, hidden: Tensor, tables: Tables, bias: Tensor) -> Tensor:
            return flow(
                hidden,
                lambda x: port.norm(x, f"{name}.input_layernorm"),
                lambda x: port.attention(place, f"{name}.self_attn", x, tables, bias),
                lambda x: port.norm(x, f"{name}.post_attention_layernorm"),
                lambda x: port.mlp(f"{name}.mlp", x),
            )

        return put(port, layer=layer)


def _without_attention(h: Tensor, norm: Half, attention: Half, norm_again: Half, mlp: Half) -> Tensor:
    h = attention(norm(h))
    return h + mlp(norm_again(h))


def _without_mlp(h: Tensor, norm: Half, attention: Half, norm_again: Half, mlp: Half) -> Tensor:
    return mlp(norm_again(h + attention(norm(h))))


def _normed_attention(h: Tensor, norm: Half, attention: Half, norm_again: Half, mlp: Half) -> Tensor:
    h = norm(h)
    h = h + attention(h)
    return h + mlp(norm_again(h))


def _normed_mlp(h: Tensor, norm: Half, attention: Half, norm_again: Half, mlp: Half) -> Tensor:
    h = norm_again(h + attention(norm(h)))
    return h + mlp(h)


def _from_input(h: Tensor, norm: Half, attention: Half, norm_again: Half, mlp: Half) -> Tensor:
    return h + mlp(norm_again(h + attention(norm(h))))


_flow("residual-missing-attention", _without_attention)
_flow("residual-missing-mlp", _without_mlp)
_flow("residual-from-normed-attention", _normed_attention)
_flow("residual-from-normed-mlp", _normed_mlp)
_flow("residual-from-layer-input", _from_input)


@planted("parallel-layer")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """The MLP reads the layer's input: as attention's norm has it, or as its own has."""
    way = one_of(draw, ("input_layernorm", "post_attention_layernorm"))

    def layer(place: int, name: str, hidden: Tensor, tables: Tables, bias: Tensor) -> Tensor:
        attended = port.attention(
            place, f"{name}.self_attn", port.norm(hidden, f"{name}.input_layernorm"), tables, bias
        )
        return hidden + attended + port.mlp(f"{name}.mlp", port.norm(hidden, f"{name}.{way}"))

    put(port, layer=layer)
    return way


# -- logits ------------------------------------------------------------------------------------------------------------


def _logits(key: str, wrong: Callable[[TorchPort, Tensor], Tensor]) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        plain = port.logits
        return put(port, logits=lambda hidden: wrong(port, plain(hidden)))


_logits("log-softmax-returned", lambda port, logits: torch.log_softmax(logits.float(), dim=-1).to(logits.dtype))
_logits("probabilities-returned", lambda port, logits: torch.softmax(logits.float(), dim=-1).to(logits.dtype))
_logits("logits-divided-by-root-of-width", lambda port, logits: logits / port.width**0.5)


@planted("logits-soft-capped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    cap, plain = one_of(draw, (30.0, 50.0)), port.logits
    put(port, logits=lambda hidden: cap * torch.tanh(plain(hidden) / cap))
    return f"{cap:g}"


@planted("logits-shifted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """Each position holds the logits of the one before or after; at the end the row begins again."""
    by, plain = one_of(draw, (1, -1)), port.logits
    put(port, logits=lambda hidden: plain(hidden).roll(by, 1))
    return f"{by:+d}"


@planted("logits-in-bfloat16")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if port.dtype == torch.bfloat16:
        raise NotHere("they are bfloat16")
    ways = [dtype for dtype in (torch.bfloat16, torch.float16) if dtype != port.dtype]
    half, plain = one_of(draw, ways), port.logits
    put(port, logits=lambda hidden: plain(hidden).to(half).to(port.dtype))
    return str(half)
