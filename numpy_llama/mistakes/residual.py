"""Mistakes of the residual stream: what attention and MLP read, and what they are added to."""

from collections.abc import Callable
from contextvars import Context

import numpy as np

from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import with_observer
from numpy_llama.model.values import layer_of
from numpy_llama.probe import Call, Observer
from numpy_llama.study.subject import Subject

Array = np.ndarray
Seen = dict[str, Array]
Change = Callable[[Array, Seen, int], Array]

LAYER = "model.layers.{i}"


def with_stream(subject: Subject, changes: dict[str, Change]) -> Subject:
    """The subject with other arrays in the place of values, made of earlier ones of the same layer.

    changes  last part of a name within a layer ("" for the layer's own) → change(value, seen, layer): the new array of
             the old one and of those before it in this layer, by the last parts of their names; "residual" is the
             stream that entered the layer
    """

    def make() -> Observer:
        stream: list[Array] = []  # as it entered this layer
        seen: Seen = {}
        current = [-1]

        def observer(name: str, value: Array, call: Call) -> Array | None:
            layer = layer_of(name)
            if layer is None:
                if name == "model.embed_tokens":
                    stream[:], current[0] = [value], -1
                return None
            if layer != current[0]:
                seen.clear()
                seen["residual"], current[0] = stream[0], layer
            last = name.removeprefix(f"model.layers.{layer}").removeprefix(".")
            changed = changes[last](value, seen, layer) if last in changes else None
            seen[last] = value if changed is None else changed
            if last == "":
                stream[:] = [seen[last]]
            return changed

        return observer

    return with_observer(subject, make)


def other_stream(changes: dict[str, Change]) -> Callable[[Subject], Variants]:
    """Plants one other way of the residual stream."""
    return lambda subject: [("", with_stream(subject, changes))]


def parallel(subject: Subject) -> Variants:
    """Attention and MLP both read the layer's input."""
    one = {"post_attention_layernorm": lambda value, seen, layer: seen["input_layernorm"]}
    yield "both read one norm", with_stream(subject, one)
    # The MLP's norm reads what it finds in after_attention's place; attention's part is added at the end.
    two = {
        "after_attention": lambda value, seen, layer: seen["residual"],
        "": lambda value, seen, layer: value + seen["self_attn"],
    }
    yield "each has its norm", with_stream(subject, two)


def norms_after(subject: Subject) -> Variants:
    """Norms stand behind attention and MLP: on their sum with the stream (2017), or on what they add (OLMo 2)."""

    def normed_by(which: str) -> Change:
        def change(value: Array, seen: Seen, layer: int) -> Array:
            weight = subject.weights[f"model.layers.{layer}.{which}.weight"]
            norm = subject.blocks.rms_norm  # in a context of its own, nobody observes it
            return Context().run(norm, value, weight, subject.config.rms_norm_eps)

        return change

    raw: dict[str, Change] = {
        "input_layernorm": lambda value, seen, layer: seen["residual"],
        "post_attention_layernorm": lambda value, seen, layer: seen["after_attention"],
    }
    first, second = normed_by("input_layernorm"), normed_by("post_attention_layernorm")
    yield "of the sum", with_stream(subject, {**raw, "after_attention": first, "": second})
    yield "of what is added", with_stream(subject, {**raw, "self_attn": first, "mlp": second})


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="residual-missing-attention",
        says="whose attention is not added to the residual stream but takes its place",
        looks_like="nonsense",
        mend="h = h + attention(norm(h))",
        wild=(f"{GITHUB}/kyegomez/BitNet/issues/32 (the stream's own name overwritten, then added to itself)",),
        first=f"{LAYER}.after_attention",
        plant=other_stream({"after_attention": lambda value, seen, layer: seen["self_attn"]}),
    ),
    Mistake(
        key="residual-missing-mlp",
        says="whose MLP is not added to the residual stream but takes its place",
        looks_like="nonsense",
        mend="h = h + mlp(norm(h))",
        wild=(),
        first=LAYER,
        plant=other_stream({"": lambda value, seen, layer: seen["mlp"]}),
    ),
    Mistake(
        key="residual-from-normed-attention",
        says="whose attention is added to its normed input instead of the residual stream",
        looks_like="nonsense that gets worse with depth",
        mend="keep the stream before the norm: normed = norm(h); h = h + attention(normed)",
        wild=(
            f"{GITHUB}/Howuhh/faster-trajectory-transformer/issues/3",
            f"{GITHUB}/lbcb-sci/RiNALMo/issues/9 (trained so, and kept)",
        ),
        first=f"{LAYER}.after_attention",
        plant=other_stream({"after_attention": lambda value, seen, layer: seen["input_layernorm"] + seen["self_attn"]}),
    ),
    Mistake(
        key="residual-from-normed-mlp",
        says="whose MLP is added to its normed input instead of the residual stream",
        looks_like="nonsense that gets worse with depth",
        mend="keep the stream before the norm: normed = norm(h); h = h + mlp(normed)",
        wild=(
            f"{GITHUB}/naklecha/llama3-from-scratch/issues/28 (in a drawing)",
            f"{GITHUB}/SHI-Labs/Compact-Transformers/issues/25 (after a bad merge)",
        ),
        first=LAYER,
        plant=other_stream({"": lambda value, seen, layer: seen["post_attention_layernorm"] + seen["mlp"]}),
    ),
    Mistake(
        key="residual-from-layer-input",
        says="whose MLP is added to the layer's input, so that what attention added is lost",
        looks_like="text that hardly knows what came before",
        mend="the MLP is added to the stream after attention",
        wild=(
            f"{GITHUB}/strutive07/transformer-tensorflow2.0/issues/14",
            f"{GITHUB}/JanSchm/CapMarket/issues/8",
        ),
        first=LAYER,
        plant=other_stream({"": lambda value, seen, layer: seen["residual"] + seen["mlp"]}),
    ),
    Mistake(
        key="parallel-layer",
        says="whose MLP reads the layer's input and not what attention made of it, as in GPT-J",
        looks_like="nonsense",
        mend="one after the other: h = h + attention(norm(h)); h = h + mlp(norm(h))",
        wild=(f"{GITHUB}/huggingface/transformers/pull/18695 (GPT-NeoX has both kinds, and a flag)",),
        first=f"{LAYER}.post_attention_layernorm",
        plant=parallel,
    ),
    Mistake(
        key="norm-after-block",
        says="whose norms stand behind attention and MLP instead of before them",
        looks_like="nonsense",
        mend="h = h + attention(norm(h)): the norm is on what a block reads",
        wild=(
            f"{GITHUB}/karpathy/minGPT/pull/52 (proposed for a pre-norm model)",
            f"{GITHUB}/keras-team/keras-io/pull/2144 (the same)",
        ),
        first=f"{LAYER}.input_layernorm",
        plant=norms_after,
    ),
)
