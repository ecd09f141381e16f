"""Several texts packed in one row: the mask that keeps them apart, and positions that restart with each of them.

    ids = [[*tokenizer.encode("One day"), *tokenizer.encode("It rained")]]       # 3 and 4 tokens, in one row of 7
    model(ids, attention_mask=packed_mask([3, 4]), position_ids=packed_positions([3, 4]))

gives each text the logits that it has in a row of its own, without padding. It is how training batches are filled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpy_llama.blocks.causal_mask import causal_mask
from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES, float_dtype, lowest


def packed_mask(lengths: Sequence[int], dtype: Any = bool) -> np.ndarray:
    """The 4-D mask of a row of packed texts: causal within each text, closed between them.

        mask[0, 0, t, s] = s and t are of one text, and s ≤ t

    lengths  tokens of each text, in order; S is their sum
    dtype    bool: True where a token may look. One of the four float dtypes: what is added to the scores, 0 where it
             may look and the dtype's lowest number where it may not
    returns  (1, 1, S, S), the attention_mask of a model call
    raises   LlamaError where a length is no positive integer, or the dtype is no other
    """
    boolean = np.dtype(bool) == dtype if not isinstance(dtype, str) else dtype == "bool"
    scores_dtype = DTYPES["float32"] if boolean else float_dtype(dtype)
    ends = np.cumsum(_checked(lengths))
    mask = np.full((1, 1, ends[-1], ends[-1]), lowest(scores_dtype))  # (1, 1, S, S)
    for length, end in zip(lengths, ends, strict=True):
        one_text = slice(end - length, end)
        mask[:, :, one_text, one_text] = causal_mask(int(length), int(length), scores_dtype)
    return mask == 0 if boolean else mask


def packed_positions(lengths: Sequence[int]) -> np.ndarray:
    """Positions of packed texts, from 0 again in each of them: (1, S) for position_ids.

    raises  LlamaError where a length is no positive integer
    """
    return np.concatenate([np.arange(length) for length in _checked(lengths)])[None]  # (1, S)


def _checked(lengths: Sequence[int]) -> list[int]:
    if not isinstance(lengths, Sequence | np.ndarray):
        raise LlamaError("wrong type", where="lengths", expected="a list of lengths", found=type(lengths).__name__)
    for index, length in enumerate(lengths):
        if not isinstance(length, int | np.integer) or isinstance(length, bool) or length < 1:
            expected = "a positive integer"
            raise LlamaError("no length of a text", where=f"lengths[{index}]", expected=expected, found=repr(length))
    if not len(lengths):
        raise LlamaError("no texts", where="lengths", expected="at least one length")
    return [int(length) for length in lengths]
