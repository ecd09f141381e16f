"""A Llama and what it is asked, held apart from any one run: what a mistake is planted in, and what is run again.

    subject = Subject(config, weights, calls_of(trace))
    logits = subject.run()                                   # of each call
    planted = replace(subject, blocks=subject.blocks.swap(rms_norm=wrong))

Everything that a port can get wrong stands in one of its fields.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.errors import LlamaError
from numpy_llama.model.caches import DynamicCache
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.precision import float_dtype
from numpy_llama.probe import Observer, observe
from numpy_llama.study.trace.trace import Trace


@dataclass(frozen=True)
class Asked:
    """What one call of the model is given.

    input_ids       (B, T)
    attention_mask  (B, S) over past and new tokens, or a 4-D mask, or None
    position_ids    (B or 1, T), or None for those that follow the cache
    past            tokens in the cache before: 0 begins a new text, otherwise the call goes on with the one before
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray | None = None
    position_ids: np.ndarray | None = None
    past: int = 0


@dataclass(frozen=True)
class Subject:
    """A Llama and what it is asked.

    config     as the model's
    weights    name → array, the tensors of LlamaForCausalLM, all of one dtype: the one that it computes in
    calls      what it is asked, in order
    blocks     the functions that it computes through
    observers  makers of observers, one of each for a run; they may replace values (see probe.observe)
    cache      makes the KV cache of a text
    """

    config: LlamaConfig
    weights: Mapping[str, np.ndarray]
    calls: Sequence[Asked]
    blocks: Blocks = field(default_factory=Blocks)
    observers: tuple[Callable[[], Observer], ...] = ()
    cache: Callable[[LlamaConfig], KVCache] = DynamicCache

    def run(self) -> list[np.ndarray]:
        """Make the calls, with a fresh cache for each text.

        returns  the logits of each call, (B, T, V)
        raises   LlamaError where a call goes on after more or fewer tokens than there were
        """
        model = LlamaForCausalLM(self.config, self.weights, blocks=self.blocks, source=None)
        logits, cache = [], None
        with ExitStack() as stack, np.errstate(all="ignore"):  # a mistake may divide by zero
            for make in self.observers:
                stack.enter_context(observe(make()))
            for index, asked in enumerate(self.calls):
                if asked.past == 0:
                    cache = self.cache(self.config)
                held = 0 if cache is None else len(cache)
                if cache is None or held != asked.past:
                    raise LlamaError(
                        "calls that don't follow each other",
                        where=f"call {index}",
                        expected=f"{held} tokens before it",
                        found=asked.past,
                    )
                try:
                    output = model(asked.input_ids, asked.attention_mask, asked.position_ids, cache)
                except LlamaError as error:
                    raise error.inside(f"call {index}") from None
                logits.append(output.logits)
        return logits

    def in_dtype(self, dtype: str) -> "Subject":
        """The same with its weights in another dtype, in which it then computes."""
        wanted = float_dtype(dtype)
        return replace(self, weights={name: array.astype(wanted, copy=False) for name, array in self.weights.items()})


def calls_of(trace: Trace) -> tuple[Asked, ...]:
    """What the calls of a trace were given, to ask it again.

    raises  LlamaError naming the call that has no input_ids
    """
    calls = []
    for call in trace.calls:
        if call.input_ids is None:
            raise LlamaError("no input_ids", where=f"{trace.source}: {call.name}", expected="the token ids of the call")
        calls.append(Asked(call.input_ids, call.attention_mask, call.position_ids, call.past or 0))
    return tuple(calls)
