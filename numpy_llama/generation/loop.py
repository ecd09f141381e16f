"""The token loop: choose a token, feed it back, choose the next."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.sampler import greedy, sample
from numpy_llama.errors import LlamaError
from numpy_llama.generation.settings import GenerationSettings
from numpy_llama.model.arguments import as_integers, check_attention_mask, check_input_ids
from numpy_llama.precision import widen

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM


def generate(
    model: "LlamaForCausalLM",
    input_ids: Any = None,
    attention_mask: Any = None,
    *,
    seed: int | np.random.Generator | None = None,
    **settings: Any,
) -> np.ndarray:
    """Continue each row of input_ids, until every row has ended or is as long as it may be.

        model.generate(ids, max_new_tokens=200)                                       # greedy
        model.generate(ids, max_new_tokens=200, do_sample=True, temperature=0.8, seed=1)

    input_ids       (B, T); a single BOS where it is None
    attention_mask  (B, T), 0 for padding, which stands on the left; None where nothing is padded
    seed            of the draws: the same seed gives the same tokens; None for a new one each time
    settings        max_new_tokens, do_sample, temperature, top_k, top_p, min_p, repetition_penalty, eos_token_id, … as
                    GenerationSettings lists them
    returns         (B, T + N), prompt and continuation; a row that ended early is filled with pad_token_id
    raises          LlamaError for a setting that we don't have or that can't be, and for an empty prompt without a BOS
    source          GenerationMixin.generate of Transformers
    """
    prompt, steps = _start(model, input_ids, attention_mask, seed, settings)
    return np.concatenate([prompt, *(ids[:, None] for ids in steps)], axis=1)  # (B, T + N)


def stream(
    model: "LlamaForCausalLM",
    input_ids: Any = None,
    attention_mask: Any = None,
    *,
    seed: int | np.random.Generator | None = None,
    **settings: Any,
) -> Iterator[np.ndarray]:
    """The same loop, one step at a time.

    returns  an iterator over (B,) arrays, the new token of each row; arguments are checked before the first step
    """
    return _start(model, input_ids, attention_mask, seed, settings)[1]


def _start(
    model: "LlamaForCausalLM", input_ids: Any, attention_mask: Any, seed: Any, settings: dict[str, Any]
) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Check everything, and return the prompt and the steps that will follow it."""
    gathered = GenerationSettings.gather(model.config, model.generation_config, settings)
    prompt = _prompt(input_ids, gathered.bos_token_id, model.config.vocab_size)
    pad = gathered.pad_token_id
    if attention_mask is None and pad is not None and pad not in gathered.eos_token_ids:
        attention_mask = prompt != pad  # as Transformers infers it
    if len(prompt) > 1 and pad is not None and gathered.eos_token_ids and not 0 <= pad < model.config.vocab_size:
        expected = f"0 … {model.config.vocab_size - 1}, to fill rows that end early"
        raise LlamaError("token id out of range", where="pad_token_id", expected=expected, found=pad)
    mask = check_attention_mask(attention_mask, *prompt.shape)
    if mask is not None and not mask[:, -1].all():
        raise LlamaError("padding on the right", where="attention_mask", expected="prompts padded on the left")
    try:
        generator = np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise LlamaError(
            "impossible value", where="seed", expected="an integer, 0 or more, or None", found=repr(seed)
        ) from None
    return prompt, _steps(model, prompt, mask, gathered, generator)


def _steps(
    model: "LlamaForCausalLM",
    prompt: np.ndarray,
    mask: np.ndarray | None,
    settings: GenerationSettings,
    generator: np.random.Generator,
) -> Iterator[np.ndarray]:
    B, T = prompt.shape
    limit = settings.new_tokens(T)
    rules = settings.rules()
    cache = KVCache(model.config.num_hidden_layers, capacity=min(T + limit, T + 256))
    eos = set(settings.eos_token_ids)
    pad = settings.pad_token_id if settings.pad_token_id is not None else next(iter(settings.eos_token_ids), 0)
    running = np.ones(B, bool)
    new = prompt  # tokens that the model hasn't seen
    # All tokens so far, for the rules; padding on the left is no token, and the prompt's last one takes its place.
    ids = prompt if mask is None else np.where(mask.cumsum(axis=1) > 0, prompt, prompt[:, -1:])
    positions = None if mask is None else np.maximum(mask.cumsum(axis=1) - 1, 0)  # (B, T)

    for step in range(limit):
        output = model(new, mask, positions, cache, logits_to_keep=1)
        logits = widen(output.logits[:, -1])  # (B, V)
        for rule in rules:
            logits = rule(logits, ids)
        _check_logits(logits, step)
        chosen = sample(logits, generator) if settings.do_sample else greedy(logits)  # (B,)
        if not running.all():
            chosen = np.where(running, chosen, pad)
        yield chosen
        if not eos.isdisjoint(chosen.tolist()):
            running &= ~np.isin(chosen, list(eos))
            if not running.any():
                return
        if step + 1 < limit:
            new = chosen[:, None]  # (B, 1)
            ids = np.concatenate((ids, new), axis=1) if rules else new  # rules alone look back
            if mask is not None:
                mask = np.concatenate((mask, np.ones_like(new)), axis=1)
                positions = positions[:, -1:] + 1  # type: ignore[index]


def _check_logits(logits: np.ndarray, step: int) -> None:
    """raises  LlamaError where a row has no largest number to choose, or to measure the others by"""
    best = logits.max(axis=-1)  # (B,); NaN where any is
    if not np.isfinite(best).all():
        raise LlamaError(
            "no token can be chosen",
            where=f"logits of new token {step + 1}",
            expected="numbers",
            found=f"{best[~np.isfinite(best)][0]} (did the weights overflow their dtype?)",
        )


def _prompt(input_ids: Any, bos_token_id: int | None, vocab_size: int) -> np.ndarray:
    """(B, T) prompt ids; one BOS where nothing is given."""
    ids = None if input_ids is None else as_integers(input_ids, "input_ids")
    if ids is None or ids.shape in ((0,), (1, 0)):
        if bos_token_id is None:
            raise LlamaError(
                "empty prompt",
                where="input_ids",
                expected="at least one token, since there is no BOS to begin from",
            )
        if not 0 <= bos_token_id < vocab_size:
            raise LlamaError(
                "token id out of range", where="bos_token_id", expected=f"0 … {vocab_size - 1}", found=bos_token_id
            )
        ids = np.array([[bos_token_id]])
    return check_input_ids(ids, vocab_size, None)
