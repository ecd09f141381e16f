"""Transformers' losses in true float64.

The losses of LlamaForCausalLM and LlamaForTokenClassification turn their logits into float32 first, in any dtype. This
puts the same formula in float64 in their place; the other losses stay in the logits' dtype anyway.

source  the definition of cross entropy: −log softmax(logits)[label], averaged over the labels that count
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

IGNORED = -100


@contextmanager
def lifted_losses(model: torch.nn.Module) -> Iterator[None]:
    """While this lasts, every loss of a float64 `model` is in float64."""
    lifts = {"LlamaForCausalLM": _of_next_tokens, "LlamaForTokenClassification": _of_each_token}
    lift = lifts.get(type(model).__name__)
    if lift is not None:
        model.loss_function = lift
    try:
        yield
    finally:
        if lift is not None:
            del model._loss_function  # Transformers' own shows again


def _of_next_tokens(logits: Tensor, labels: Tensor, **_: Any) -> Tensor:
    """logits (B, T, V), labels (B, T): what stands at t is predicted by the logits at t − 1."""
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def _of_each_token(logits: Tensor, labels: Tensor, _: Any) -> Tensor:
    """logits (B, T, C), labels (B, T)."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten())


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of −log p(label).

    logits   (N, C), float64
    labels   (N,); −100 doesn't count
    returns  (), float64
    """
    counted = labels != IGNORED
    rows, chosen = logits[counted], labels[counted]
    return (torch.logsumexp(rows, dim=-1) - rows.gather(1, chosen[:, None])[:, 0]).mean()
