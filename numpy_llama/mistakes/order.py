"""Mistakes of the order of layers: which ones, one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import with_config
from numpy_llama.model.values import layer_of
from numpy_llama.study.subject import Subject

# Another layer reads the same stream: the first of its own values is the one that its first weight has made.
NORM = "model.layers.{i}.input_layernorm"


def with_layers(subject: Subject, order: Sequence[int]) -> Subject:
    """The subject whose layers are those of these numbers, one after the other; their arrays are shared."""
    weights = {name: array for name, array in subject.weights.items() if layer_of(name) is None}
    for new, old in enumerate(order):
        prefix = f"model.layers.{old}."
        layer = {name.removeprefix(prefix): a for name, a in subject.weights.items() if name.startswith(prefix)}
        weights.update({f"model.layers.{new}.{name}": array for name, array in layer.items()})
    return with_config(replace(subject, weights=weights), num_hidden_layers=len(order))


def in_orders(orders: Callable[[list[int]], dict[str, list[int]]]) -> Callable[[Subject], Variants]:
    """Plants layers in other orders: orders(0 … L − 1) gives them by label. The right one is left out."""

    def plant(subject: Subject) -> Variants:
        right = list(range(subject.config.num_hidden_layers))
        for label, order in orders(right).items():
            if order and order != right:
                yield label, with_layers(subject, order)

    return plant


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="layer-skipped",
        says="of which one layer is left out",
        looks_like="fluent text, worse than it should be; every layer before it is right",
        mend="count the layers: range(num_hidden_layers), and no -1",
        wild=(f"{GITHUB}/LukasHedegaard/continual-inference/pull/70 (one layer fewer from three layers on)",),
        first=NORM,
        plant=in_orders(lambda n: {f"layer {i}": n[:i] + n[i + 1 :] for i in n}),
        exposed_by=("several-layers",),
    ),
    Mistake(
        key="layer-doubled",
        says="in which one layer comes twice",
        looks_like="fluent text, worse than it should be",
        mend="count the layers",
        wild=(),
        first=NORM,
        plant=in_orders(lambda n: {f"layer {i}": n[: i + 1] + n[i:] for i in n}),
    ),
    Mistake(
        key="layers-swapped",
        says="in which two neighbouring layers have changed places",
        looks_like="fluent text, worse than it should be",
        mend="sort tensors by their layer's number",
        wild=(),
        first=NORM,
        plant=in_orders(
            lambda n: {f"layers {i} and {i + 1}": [*n[:i], i + 1, i, *n[i + 2 :]] for i in n[:-1]},
        ),
        exposed_by=("several-layers",),
    ),
    Mistake(
        key="layers-sorted-as-text",
        says="whose layers are sorted as text: 0, 1, 10, 11, 2",
        looks_like="models of up to ten layers are right",
        mend="sort by the number, not by the name",
        wild=(f"{GITHUB}/ollama/ollama/pull/12015 (a converter's sorting mended)",),
        first=NORM,
        plant=in_orders(lambda n: {"": sorted(n, key=str)}),
        exposed_by=("more-than-ten-layers",),
    ),
    Mistake(
        key="layers-reversed",
        says="whose layers come in reverse order",
        looks_like="nonsense",
        mend="begin with layer 0",
        wild=(),
        first=NORM,
        plant=in_orders(lambda n: {"": n[::-1]}),
        exposed_by=("several-layers",),
    ),
)
