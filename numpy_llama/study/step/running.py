"""Run a model and keep every value; run it again with some of them changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numpy_llama.model.caches import DynamicCache
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.precision import widen
from numpy_llama.study.step.changes import Change, as_patches
from numpy_llama.study.step.source_lines import SourceLine, recorded_lines
from numpy_llama.study.subject import Asked, calls_of
from numpy_llama.study.trace.patching import patch
from numpy_llama.study.trace.recording import trace
from numpy_llama.study.trace.trace import Trace


@dataclass(frozen=True)
class Run:
    """What a model was asked, and all that it computed.

    asked  each call, to be made again
    trace  the values
    lines  where in the code each was made
    """

    model: LlamaForCausalLM
    asked: Sequence[Asked]
    trace: Trace
    lines: dict[str, SourceLine]

    def again(self, changes: Sequence[Change]) -> Trace:
        """Make the same calls, with values changed on their way.

        The calls are fed the same tokens as before, so that each value can be held to what it was.
        """
        if not changes:
            return self.trace
        with patch(as_patches(changes)), trace() as changed:
            _ask(self.model, self.asked)
        return changed


def first_run(model: LlamaForCausalLM, prompt_ids: Sequence[int], steps: int = 0) -> Run:
    """A prefill of the prompt, then decode steps, each fed the likeliest token.

    prompt_ids  of one text
    steps       decode steps; fewer where the model ends the text
    """
    end = model.config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    ids, cache = np.array([prompt_ids], dtype=np.int64), DynamicCache(model.config)
    with recorded_lines() as lines, trace() as recorded, np.errstate(all="ignore"):
        for _ in range(steps + 1):
            logits = model(ids, past_key_values=cache).logits
            ids = widen(logits[:, -1:]).argmax(axis=-1)  # (1, 1)
            if int(ids[0, 0]) in ends:
                break
    return Run(model, calls_of(recorded), recorded, lines)


def _ask(model: LlamaForCausalLM, asked: Sequence[Asked]) -> None:
    cache = None
    with np.errstate(all="ignore"):  # a change may divide by zero
        for call in asked:
            if call.past == 0:
                cache = DynamicCache(model.config)
            model(call.input_ids, call.attention_mask, call.position_ids, cache)
