"""The token loop, `follow`: choose a token, feed it back, choose the next."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numpy_llama.blocks.sampler import greedy, sample
from numpy_llama.generation.beam_search import beam_search
from numpy_llama.generation.outputs import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput, Record
from numpy_llama.generation.processors import check_scores
from numpy_llama.generation.start import Start, prepare
from numpy_llama.generation.stopping import has_ended
from numpy_llama.model.outputs import CausalLMOutputWithPast
from numpy_llama.precision import widen

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM


class Step(NamedTuple):
    """One round of the loop. R is rows: prompts, each as often as num_return_sequences says."""

    tokens: np.ndarray  # (R,), what was chosen
    scores: np.ndarray  # (R, V), what it was chosen from
    logits: np.ndarray  # (R, V), the same before all rules
    output: CausalLMOutputWithPast


def follow(start: Start) -> Iterator[Step]:
    """The loop: one step after the other, until every row has ended or is as long as it may be."""
    do_sample, fill = start.settings.do_sample, start.settings.fill_token_id
    ids = start.prompt  # (R, T)
    running = np.ones(len(ids), bool)
    all_running = True
    for step in range(start.limit):
        output = start.feed(ids)
        scores = logits = widen(output.logits[:, -1])  # (R, V)
        for rule in start.rules:
            scores = rule(scores, ids)
        check_scores(scores, step)
        tokens = sample(scores, start.generator) if do_sample else greedy(scores)  # (R,)
        if not all_running and fill is not None:
            tokens = np.where(running, tokens, fill)
        yield Step(tokens, scores, logits, output)
        ids = np.concatenate((ids, tokens[:, None]), axis=1)  # (R, S + 1)
        ended = has_ended(start.stopping, ids)
        if any(ended):
            running, all_running = running & ~np.array(ended), False
            if not running.any():
                return


def generate(
    model: "LlamaForCausalLM", input_ids: Any = None, attention_mask: Any = None, **settings: Any
) -> np.ndarray | GenerateDecoderOnlyOutput | GenerateBeamDecoderOnlyOutput:
    """Continue each row of input_ids, until every row has ended or is as long as it may be.

        model.generate(ids, max_new_tokens=200)                                       # greedy
        model.generate(ids, max_new_tokens=200, do_sample=True, temperature=0.8, seed=1)
        model.generate(ids, max_new_tokens=200, num_beams=4, early_stopping=True)

    input_ids       (B, T); a single BOS where it is None
    attention_mask  (B, T), 0 for padding, which stands on the left; None where nothing is padded
    settings        max_new_tokens, do_sample, temperature, num_beams, eos_token_id, … as GenerationSettings lists them;
                    and what start.prepare describes: seed, tokenizer, inputs_embeds, past_key_values, …
    returns         (R, T + N), prompt and continuation, R = B · num_return_sequences. A row that ended early is filled
                    with pad_token_id, or the first eos; with return_dict_in_generate, an object with this and more
    raises          LlamaError for a setting that we don't have or that can't be, and for an empty prompt without a BOS
    source          GenerationMixin.generate of Transformers
    """
    start = prepare(model, input_ids, attention_mask, **settings)
    if start.settings.num_beams > 1:
        return beam_search(start)
    record = Record(start.settings)
    chosen = []
    for tokens, scores, logits, output in follow(start):
        chosen.append(tokens[:, None])
        record.add(scores, logits, output)
    sequences = np.concatenate((start.prompt, *chosen), axis=1)  # (R, T + N)
    if start.settings.return_dict_in_generate:
        return GenerateDecoderOnlyOutput(sequences, **record.fields(), past_key_values=start.feed.cache)
    return sequences
