"""A port of Llama to torch, as somebody would write it over a weekend: plain, small, and right.

It stands for the stranger whose logits don't agree. Each of its steps is a method, so that one mistake is one method
replaced (torch_mistakes.py). It is written apart from our blocks and from Transformers' modules; of Transformers it
takes the rope types' frequencies and the activations.

    port = TorchPort(config, weights, "float32")
    logits = port.run(calls)                       # of each call, (B, T, V)
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from numpy_llama.reference.record import to_numpy, to_torch
from numpy_llama.study.subject import Asked


class TorchPort:
    """A Llama in torch.

    config   fields of config.json
    weights  name → array, the tensors of LlamaForCausalLM; they are cast to `dtype`
    dtype    "float32", "bfloat16" or "float16": what is computed in

    order    which layer runs when; one may come twice, or not at all. A layer's cache belongs to its place in the order
    eps      of the norms
    scaling  of the scores
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], dtype: str = "float32"):
        self.config = LlamaConfig.from_dict(deepcopy(dict(config)))  # its dictionaries may be changed
        self.dtype = getattr(torch, dtype)
        self.weights = {name: to_torch(array).to(self.dtype) for name, array in weights.items()}
        self.heads, self.kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        self.head_dim, self.width = self.config.head_dim, self.config.hidden_size
        self.order = list(range(self.config.num_hidden_layers))
        self.eps = self.config.rms_norm_eps
        self.scaling = 1 / math.sqrt(self.head_dim)
        self.activation = ACT2FN[self.config.hidden_act]
        self.begin()

    def run(self, calls: Sequence[Asked]) -> list[np.ndarray]:
        """The logits of each call, (B, T, V); a call without a past begins a new text."""
        logits = []
        with torch.no_grad():
            for asked in calls:
                if asked.past == 0:
                    self.begin()
                given = (asked.input_ids, asked.attention_mask, asked.position_ids)
                tensors = [None if array is None else torch.from_numpy(np.asarray(array)) for array in given]
                logits.append(to_numpy(self.call(*tensors)).copy())
        return logits

    def begin(self) -> None:
        """Forget what is cached: place in the order → keys and values, (B, K, S, D) each."""
        self.cache: dict[int, tuple[Tensor, Tensor]] = {}
        self.seen = 0

    def call(self, ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        """(B, T) ids, (B, S) mask, (B or 1, T) positions → (B, T, V) logits."""
        T = ids.shape[1]
        positions = self.positions(positions, self.seen, T)  # (B or 1, T)
        hidden = self.embed(ids)  # (B, T, E)
        tables = self.tables(positions)  # (B or 1, T, D) twice
        bias = self.mask(mask, T, self.seen + T)  # (B or 1, 1, T, S)
        for place, layer in enumerate(self.order):
            hidden = self.layer(place, f"model.layers.{layer}", hidden, tables, bias)  # (B, T, E)
        self.seen += T
        return self.logits(self.final_norm(hidden))  # (B, T, V)

    # -- around the layers ---------------------------------------------------------------------------------------------

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) → (B, T, E)."""
        return F.embedding(ids, self.weights["model.embed_tokens.weight"])

    def final_norm(self, hidden: Tensor) -> Tensor:
        """(B, T, E) → the same: the norm after the last layer."""
        return self.norm(hidden, "model.norm")

    def head(self) -> Tensor:
        """(V, E): the matrix to logits."""
        return self.weights["model.embed_tokens.weight" if self.config.tie_word_embeddings else "lm_head.weight"]

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, E) → (B, T, V)."""
        return F.linear(hidden, self.head())

    def positions(self, given: Tensor | None, past: int, T: int) -> Tensor:
        """(B or 1, T): as given, or those that follow the cache."""
        return torch.arange(past, past + T)[None] if given is None else given

    def mask(self, padding: Tensor | None, T: int, S: int) -> Tensor:
        """What is added to the scores: 0 where a token may look, the lowest number where not."""
        return torch.where(self.visible(padding, T, S), 0.0, torch.finfo(self.dtype).min).to(self.dtype)

    def visible(self, padding: Tensor | None, T: int, S: int) -> Tensor:
        """(B or 1, 1, T, S): whether a token may look."""
        seen = self.causal(T, S)[None, None]
        return seen if padding is None else seen & padding.bool()[:, None, None, :]

    def causal(self, T: int, S: int) -> Tensor:
        """(T, S): whether a token is at or after the key."""
        return torch.ones(T, S, dtype=torch.bool).tril(S - T)

    # -- RoPE -------------------------------------------------------------------------------------------------

    def frequencies(self, tokens: int) -> tuple[Tensor, float]:
        """(D/2,) radians a token, and the factor on cos and sin, in a text of so many tokens."""
        rope = self.config.rope_parameters
        if rope["rope_type"] == "default":
            return rope["rope_theta"] ** (-torch.arange(0, self.head_dim, 2).float() / self.head_dim), 1.0
        return ROPE_INIT_FUNCTIONS[rope["rope_type"]](self.config, torch.device("cpu"), seq_len=tokens)

    def angles(self, positions: Tensor, frequencies: Tensor) -> Tensor:
        """(B or 1, T, D/2) radians, float32."""
        return positions[..., None].float() * frequencies  # (B or 1, T, D/2)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of each channel's angle, (B or 1, T, D) each."""
        frequencies, factor = self.frequencies(int(positions.max()) + 1)
        angles = self.angles(positions, frequencies)
        angles = torch.cat((angles, angles), dim=-1)  # (B or 1, T, D)
        return (angles.cos() * factor).to(self.dtype), (angles.sin() * factor).to(self.dtype)

    def rotate(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        """(B, heads, T, D): each head's channel i with channel i + D/2."""
        cos, sin = (table[:, None] for table in tables)  # (B or 1, 1, T, D)
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    # -- a layer -------------------------------------------------------------------------------------------------

    def norm(self, x: Tensor, name: str) -> Tensor:
        """(..., E): mean and root in float32, rounded, times the weight."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weights[f"{name}.weight"] * wide.to(x.dtype)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """x Wᵀ + b of a module, by its name."""
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def layer(self, place: int, name: str, hidden: Tensor, tables: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """(B, T, E) → (B, T, E): attention, then the MLP, each of the normed residual stream."""
        normed = self.norm(hidden, f"{name}.input_layernorm")
        hidden = hidden + self.attention(place, f"{name}.self_attn", normed, tables, bias)
        normed = self.norm(hidden, f"{name}.post_attention_layernorm")
        return hidden + self.mlp(f"{name}.mlp", normed)

    def split(self, x: Tensor, heads: int) -> Tensor:
        """(B, T, heads·D) → (B, heads, T, D)."""
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)  # (B, heads, T, D)

    def join(self, context: Tensor) -> Tensor:
        """(B, H, T, D) → (B, T, H·D)."""
        return context.transpose(1, 2).flatten(2)  # (B, T, H·D)

    def attention(self, place: int, name: str, x: Tensor, tables: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """(B, T, E) normed → (B, T, E), what attention adds."""
        query = self.split(self.linear(x, f"{name}.q_proj"), self.heads)
        key = self.split(self.linear(x, f"{name}.k_proj"), self.kv_heads)
        value = self.split(self.linear(x, f"{name}.v_proj"), self.kv_heads)
        query, key, value = self.turned(query, key, value, tables)
        keys, values = self.remember(place, key, value, tables)
        return self.linear(self.join(self.mix(query, keys, values, bias)), f"{name}.o_proj")

    def turned(
        self, query: Tensor, key: Tensor, value: Tensor, tables: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value as attention takes them."""
        return self.rotate(query, tables), self.rotate(key, tables), value

    def remember(self, place: int, key: Tensor, value: Tensor, tables: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Put the new keys and values behind the cached ones: (B, K, S, D) each."""
        if place in self.cache:
            keys, values = self.cache[place]
            key, value = torch.cat((keys, key), dim=2), torch.cat((values, value), dim=2)
        self.cache[place] = key, value
        return key, value

    def spread(self, x: Tensor) -> Tensor:
        """(B, H, S, D): each key/value head for every query head of its group."""
        return x.repeat_interleave(self.heads // self.kv_heads, dim=1)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """(B, H, T, S), before the mask."""
        return query @ self.spread(keys).mT * self.scaling  # (B, H, T, S)

    def softmax(self, scores: Tensor) -> Tensor:
        """Over the keys, in float32, rounded once."""
        return torch.softmax(scores.float(), dim=-1).to(scores.dtype)

    def weigh(self, scores: Tensor, bias: Tensor) -> Tensor:
        """(B, H, T, S): the weights of masked scores."""
        return self.softmax(scores + bias)

    def mix(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """(B, H, T, D): values mixed by the weights."""
        return self.weigh(self.scores(query, keys), bias) @ self.spread(values)  # (B, H, T, D)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        """(B, T, E) normed → (B, T, E), what the MLP adds."""
        gated = self.gated(self.linear(x, f"{name}.gate_proj"), self.linear(x, f"{name}.up_proj"))
        return self.linear(gated, f"{name}.down_proj")

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """(B, T, F): the activated gate times up."""
        return self.activation(gate) * up
