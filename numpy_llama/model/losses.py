"""Losses: how far logits are from the labels that they should have given. One number for a batch, the lower the better.

All but regression are −log p of the right answer, averaged over the answers that count. A label of −100 says that its
place doesn't count; where none counts the loss is NaN, the mean of nothing.

causal_lm_loss and token_classification_loss compute in float32 whatever two-byte dtype the model has; the other two
stay in it, and round at each of torch's operations. In float64 everything is float64.

source  transformers.loss.loss_utils
"""

from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.arguments import as_array, as_integers, is_real
from numpy_llama.precision import DTYPES, widen

IGNORED = -100


def causal_lm_loss(logits: np.ndarray, labels: Any) -> np.ndarray:
    """How well every token was foreseen at the one before it.

        loss = mean over t of −log softmax(logits[t])[labels[t + 1]]

    logits   (B, T, V)
    labels   (B, T) token ids, usually the input_ids themselves: the shift by one happens here. −100 where none counts
    returns  (), float32 (float64 for float64)
    raises   LlamaError for labels of another shape, or out of range
    """
    vocab_size = logits.shape[-1]
    labels = label_numbers(labels, logits.shape[:2], vocab_size)
    return _cross_entropy(widen(logits)[:, :-1].reshape(-1, vocab_size), labels[:, 1:].reshape(-1))


def token_classification_loss(logits: np.ndarray, labels: Any) -> np.ndarray:
    """How well the label of each token was told.

    logits   (B, T, N)
    labels   (B, T) label numbers, −100 where none counts
    returns  (), float32 (float64 for float64)
    raises   LlamaError for labels of another shape, or out of range
    """
    num_labels = logits.shape[-1]
    labels = label_numbers(labels, logits.shape[:2], num_labels)
    return _cross_entropy(widen(logits).reshape(-1, num_labels), labels.reshape(-1))


def question_answering_loss(
    start_logits: np.ndarray, end_logits: np.ndarray, start_positions: Any, end_positions: Any
) -> np.ndarray:
    """How well beginning and end of the answer were found: the mean of two losses.

    start_logits, end_logits        (B, T)
    start_positions, end_positions  (B,) or (B, 1) integers; a negative one counts as 0, one past the text (the answer
                                    was cut off) doesn't count
    returns                         (), dtype of the logits
    raises                          LlamaError for positions of another shape, or that aren't integers
    """
    starts = _positions(start_positions, "start_positions", *start_logits.shape)
    ends = _positions(end_positions, "end_positions", *start_logits.shape)
    start_loss, end_loss = _cross_entropy(start_logits, starts), _cross_entropy(end_logits, ends)
    return np.asarray((start_loss + end_loss) / start_loss.dtype.type(2))


def sequence_classification_loss(pooled_logits: np.ndarray, labels: Any, problem_type: str | None = None) -> np.ndarray:
    """How well the labels of each text were told. What kind of labels there are, problem_type says:

        regression                  mean of (logits − labels)²
        single_label_classification mean of −log softmax(logits)[label]
        multi_label_classification  mean of −log of the probability of each label's being there, or not

    pooled_logits  (B, N), from the last real token of each text
    labels         (B, N) numbers for regression, (B,) or (B, 1) where N is 1; (B,) or (B, 1) label numbers, −100 where
                   none counts; (B, N) probabilities (zeros and ones) where a text may have several labels
    problem_type   unless given: regression where N is 1, single label where the labels are integers, multi label else
    returns        (), dtype of the logits; the wider of the two dtypes where the labels are floats
    raises         LlamaError for labels of another shape or dtype, or out of range; for an unknown problem_type
    """
    batch, num_labels = pooled_logits.shape
    kind = problem_type or _kind_of_problem(labels, num_labels)
    if kind == "single_label_classification":
        return _cross_entropy(pooled_logits, label_numbers(labels, (batch,), num_labels))
    if kind == "regression":
        return _mean_square(pooled_logits, _label_values(labels, (batch, num_labels), pooled_logits.dtype))
    if kind == "multi_label_classification":
        probabilities = _label_values(labels, (batch, num_labels), pooled_logits.dtype)
        _check_range(probabilities, (probabilities >= 0) & (probabilities <= 1), "labels", "0 … 1")
        return _binary_cross_entropy(pooled_logits, probabilities)
    expected = "regression, single_label_classification or multi_label_classification"
    raise LlamaError("unknown problem type", where="problem_type", expected=expected, found=repr(problem_type))


def last_real_token(input_ids: np.ndarray, pad_token_id: int) -> np.ndarray:
    """Where each text ends, padded on the left or on the right: the last token that isn't padding.

    input_ids  (B, T)
    returns    (B,), 0 … T − 1; 0 for a row that is nothing but padding
    """
    is_real = input_ids != pad_token_id  # (B, T)
    return (is_real * np.arange(input_ids.shape[1])).argmax(axis=1)


# -- formulas ----------------------------------------------------------------------------------------------------------


@np.errstate(over="ignore")  # two-byte losses may be infinite, as in torch
def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of log Σ exp(logits) − logits[label] over the rows that count; (N, C) and (N,) → ()."""
    dtype = logits.dtype
    order = np.roll(np.arange(len(labels)), -1)  # torch adds the first row last, which a two-byte sum shows
    rows = order[labels[order] != IGNORED]
    wide = widen(logits[rows])  # a copy, large for a large vocabulary: what follows happens in place
    wide -= wide.max(axis=-1, keepdims=True)  # so that exp can't overflow
    right = np.take_along_axis(wide, labels[rows, None], axis=-1)[:, 0]
    sums = np.exp(wide, out=wide).sum(axis=-1)
    log_sums = _rounded(np.log(_rounded(sums, dtype)), dtype)
    return _mean_of_rows((log_sums - right).astype(dtype))


@np.errstate(over="ignore")
def _mean_square(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    dtype = np.result_type(logits, labels)
    difference = logits.astype(dtype) - labels.astype(dtype)
    return _mean(difference * difference)


@np.errstate(over="ignore")
def _binary_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of −y log σ(x) − (1 − y) log σ(−x) = (1 − y) x − log σ(x)."""
    dtype = np.result_type(logits, labels)
    wide = widen(logits)
    log_sigmoid = (np.minimum(wide, 0) - np.log1p(np.exp(-np.abs(wide)))).astype(logits.dtype)
    absent = (1 - widen(labels)).astype(dtype)
    return _mean(absent * logits.astype(dtype) - log_sigmoid.astype(dtype))


def _mean(values: np.ndarray) -> np.ndarray:
    """Of all values: added up in float32 (float64 for float64), rounded once."""
    return np.asarray(widen(values).mean().astype(values.dtype))


def _mean_of_rows(losses: np.ndarray) -> np.ndarray:
    """Of (N,) losses; in two bytes each addition and the division round, as in torch (which adds in the same order up
    to 16 rows). NaN for none.
    """
    with np.errstate(invalid="ignore"):  # 0 / 0
        if losses.dtype.itemsize > 2:
            return np.asarray(losses.sum() / losses.dtype.type(len(losses)))
        total = losses.dtype.type(0)
        for loss in losses:
            total = total + loss
        return np.asarray(total / losses.dtype.type(len(losses)))


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """What is left of wide values after a stop in `dtype`."""
    return values.astype(dtype, copy=False).astype(values.dtype, copy=False)


# -- checks ------------------------------------------------------------------------------------------------------------


def label_numbers(labels: Any, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Labels as int64 of that shape, each in 0 … count − 1 or −100. For (B,), (B, 1) will do.

    raises  LlamaError otherwise, saying which label is out of range
    """
    numbers = _of_shape(as_integers(labels, "labels").astype(np.int64), shape, "labels")
    inside = (numbers >= 0) & (numbers < count)
    _check_range(numbers, inside | (numbers == IGNORED), "labels", f"0 … {count - 1}, or {IGNORED} (doesn't count)")
    return numbers


def _positions(positions: Any, name: str, batch: int, length: int) -> np.ndarray:
    """(B,) positions held within 0 … T, of which T doesn't count and becomes −100."""
    given = _of_shape(as_integers(positions, name).astype(np.int64), (batch,), name).clip(0, length)
    return np.where(given == length, IGNORED, given)


def _kind_of_problem(labels: Any, num_labels: int) -> str:
    if num_labels == 1:
        return "regression"
    whole = as_array(labels, "labels", "a rectangle of numbers").dtype.kind in "iu"
    return "single_label_classification" if whole else "multi_label_classification"


def _label_values(labels: Any, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Finite floats of that shape. Lists and integers take the logits' dtype, arrays of floats keep theirs."""
    values = as_array(labels, "labels", f"{shape} numbers")
    if not is_real(values):
        raise LlamaError("not an array of numbers", where="labels", expected=f"{shape} numbers", found=values.dtype)
    if not isinstance(labels, np.ndarray) or values.dtype.kind in "biu":
        with np.errstate(over="ignore"):  # what overflows isn't finite, which is said below
            values = values.astype(dtype)
    if values.dtype not in DTYPES.values():
        raise LlamaError("wrong dtype", where="labels", expected=f"one of {', '.join(DTYPES)}", found=values.dtype)
    values = values[:, None] if shape[1] == 1 and values.ndim == 1 else values
    values = _of_shape(values, shape, "labels")
    _check_range(values, np.isfinite(values), "labels", "finite numbers")
    return values


def _of_shape(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if len(shape) == 1 and values.shape == (*shape, 1):
        return values[:, 0]
    if values.shape != shape:
        raise LlamaError("wrong shape", where=name, expected=shape, found=values.shape)
    return values


def _check_range(values: np.ndarray, inside: np.ndarray, name: str, expected: str) -> None:
    if not inside.all():
        index = tuple(int(i) for i in np.argwhere(~inside)[0])
        raise LlamaError("label out of range", where=f"{name}{list(index)}", expected=expected, found=values[index])
