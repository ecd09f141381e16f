"""The record that is judged: the blocks that a model computes through, and the two that stand around it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from numpy_llama.blocks import sampler, sampling_rules
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Block, Blocks

if TYPE_CHECKING:
    from numpy_llama.study.subject import Subject


@dataclass(frozen=True)
class Port(Blocks):
    """Everything that a port of Llama has to have, ours unless another is given.

    Port().swap(rms_norm=my_rms_norm)      # our port with one function of yours

    Cache and sampler aren't computed *through* by a model, so they are no fields of Blocks; here they stand beside
    them.
    """

    kv_cache: Callable[[int], KVCache] = KVCache
    greedy: Block = sampler.greedy
    sample: Block = sampler.sample
    scale_temperature: Block = sampling_rules.scale_temperature
    keep_top_k: Block = sampling_rules.keep_top_k
    keep_top_p: Block = sampling_rules.keep_top_p
    keep_min_p: Block = sampling_rules.keep_min_p
    penalize_repetition: Block = sampling_rules.penalize_repetition

    def run(self, subject: "Subject") -> list[np.ndarray]:
        """A whole Llama through these blocks and this cache: the logits of each call of a subject, (B, T, V)."""
        return replace(subject, blocks=self, cache=lambda config: self.kv_cache(config.num_hidden_layers)).run()
