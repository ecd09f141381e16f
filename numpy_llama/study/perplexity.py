"""Perplexity: among how many equally likely tokens a model hesitates, on average, at each token of a text.

    perplexity = exp(mean over t of −log p(token t + 1 | tokens up to t))

It is e to the loss. A model that knows nothing has the size of its vocabulary, one that is always sure and right has 1.

A text longer than the window is read in steps of `stride`: each window begins so much further on than the one before,
and only tokens that no window has scored count. So every token counts once, and all but those of the first window have
at least `window − stride` tokens before them to be told from.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.losses import IGNORED

WINDOW = 512  # tokens; the logits of so many are what takes memory


@dataclass(frozen=True)
class Perplexity:
    """A perplexity, and of how many predicted tokens."""

    value: float
    tokens: int


def perplexity(
    model: LlamaForCausalLM,
    texts: Iterable[Sequence[int]],
    window: int | None = None,
    stride: int | None = None,
) -> Perplexity:
    """How well a model foresees texts.

    texts    token ids of each, with the special tokens that it begins with; the first token isn't foreseen by anything
             and doesn't count. All tokens of all texts weigh the same
    window   tokens read at once; 512 unless given, or what the model was trained on, where that is less
    stride   from 1 to window − 1; half the window unless given
    returns  where the texts have at most `window` tokens, exp of the model's own loss
    raises   LlamaError where there is nothing to foresee, or a window or stride can't be
    source   https://huggingface.co/docs/transformers/perplexity
    """
    window = min(WINDOW, model.config.max_position_embeddings) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not isinstance(window, int) or window < 2:
        raise LlamaError("impossible value", where="window", expected="an integer, 2 or more", found=repr(window))
    if not isinstance(stride, int) or not 1 <= stride < window:
        expected = f"an integer from 1 to {window - 1}, below the window"
        raise LlamaError("impossible value", where="stride", expected=expected, found=repr(stride))
    total, count = 0.0, 0
    for text in texts:
        for ids, labels in _windows(np.asarray(text), window, stride):
            scored = int(np.count_nonzero(labels[1:] != IGNORED))
            loss = model(ids[None], labels=labels[None], use_cache=False).loss
            assert loss is not None  # there are labels
            total += float(loss) * scored
            count += scored
    if count == 0:
        raise LlamaError("nothing to foresee", where="texts", expected="a text of at least two tokens")
    return Perplexity(math.exp(total / count), count)


def _windows(ids: np.ndarray, window: int, stride: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token ids and labels of each window: labels are the ids, but for those that an earlier window has scored."""
    begin, scored = 0, 1  # the first token can't be foreseen
    while scored < len(ids):
        end = min(begin + window, len(ids))
        labels = ids[begin:end].copy()
        labels[: scored - begin] = IGNORED
        yield ids[begin:end], labels
        begin, scored = begin + stride, end
