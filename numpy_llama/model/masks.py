"""Which mask a call needs: none, the causal one, one with padding, one for packed texts, or the caller's own."""

from dataclasses import replace

import numpy as np

from numpy_llama.blocks.attention import attention
from numpy_llama.blocks.fused_attention import fused_attention
from numpy_llama.blocks.record import Block, Blocks
from numpy_llama.model.arguments import Call
from numpy_llama.precision import lowest


def scores_mask(call: Call, causal_mask: Block, dtype: np.dtype) -> np.ndarray | None:
    """What is added to the scores of this call.

    causal_mask  the block
    returns      (B or 1, 1, T, S) (H in place of 1 where the caller's own mask has one for each head), dtype `dtype`;
                 None where every token may be seen: one new token without padding
    source       create_causal_mask of Transformers
    """
    if call.scores_mask is not None:
        return call.scores_mask
    if call.new == 1 and call.attention_mask is None:
        return None
    mask = causal_mask(call.new, call.past + call.new, dtype, call.attention_mask)  # (B or 1, 1, T, S)
    if call.sequence_ids is not None:
        same = call.sequence_ids[:, None, :, None] == call.sequence_ids[:, None, None, :]  # (B, 1, T, T)
        mask = np.where(same, mask, lowest(dtype))
    return mask


def blocks_for(call: Call, blocks: Blocks, dtype: np.dtype) -> Blocks:
    """The blocks for this call. Transformers' eager attention can't take a boolean 4-D mask, the fused kernel can: with
    one, attention rounds as that does in two-byte dtypes. An attention that somebody has put in stays.
    """
    if call.boolean and dtype.itemsize == 2 and blocks.attention is attention:
        return replace(blocks, attention=fused_attention)
    return blocks
