"""The door of the token loop: everything that a caller says is checked and put together here, before the first step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.errors import LlamaError
from numpy_llama.generation.feed import Feed
from numpy_llama.generation.processors import LogitsRule, logits_rules
from numpy_llama.generation.settings import GenerationSettings, check_names, generation_defaults
from numpy_llama.generation.settings_checks import check_lengths, check_token_ids
from numpy_llama.generation.stopping import StoppingRule, stopping_rules
from numpy_llama.model.arguments import (
    as_integers,
    check_attention_mask,
    check_cache,
    check_input_ids,
    check_inputs_embeds,
)

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM
    from numpy_llama.tokenizer import Tokenizer


@dataclass(frozen=True)
class Start:
    """What the loop begins from. R is rows: prompts times beams, or times num_return_sequences.

    prompt     (R, T) token ids
    feed       ids so far in, what the model says about the next token out
    rules      what is done to the logits
    stopping   what ends a row, the length aside
    limit      N, new tokens at most
    generator  random numbers of the draws
    """

    settings: GenerationSettings
    prompt: np.ndarray
    feed: Feed
    rules: list[LogitsRule]
    stopping: list[StoppingRule]
    limit: int
    generator: np.random.Generator


def prepare(
    model: "LlamaForCausalLM",
    input_ids: Any = None,
    attention_mask: Any = None,
    *,
    seed: int | np.random.Generator | None = None,
    tokenizer: "Tokenizer | None" = None,
    inputs_embeds: Any = None,
    past_key_values: KVCache | None = None,
    generation_config: Mapping[str, Any] | None = None,
    logits_processor: Sequence[Any] = (),
    stopping_criteria: Sequence[Any] = (),
    **settings: Any,
) -> Start:
    """Check what a caller of generate says, and put it together.

    input_ids, attention_mask, settings   as in `generate`
    seed               of the draws: the same seed gives the same tokens; None for a new one each time
    tokenizer          that of the model, where there are stop_strings
    inputs_embeds      (B, T, E) in place of input_ids, or beside the ids they stand for; without ids, what is returned
                       begins with the first new token
    past_key_values    a cache that has seen the beginning of input_ids; it grows. With an attention_mask over all it
                       has seen and input_ids, the ids are those that follow
    generation_config  as in generation_config.json, and before that of the model
    logits_processor   functions (ids, logits) → logits, called after the rules that look at the tokens so far
    stopping_criteria  functions (ids, None) → (R,), whether a row ends here
    raises             LlamaError naming the argument for whatever can't be
    """
    if not isinstance(generation_config, Mapping | None):
        found = type(generation_config).__name__
        raise LlamaError("wrong type", where="generation_config", expected="a dict of settings", found=found)
    stored: Mapping[str, Any] = model.generation_config
    if generation_config:
        check_names(generation_config)
        stored = {**(stored or generation_defaults(model.config)), **generation_config}
    gathered = GenerationSettings.gather(model.config, stored, settings)
    check_token_ids(gathered, model.config.vocab_size, settings)

    config, vocab_size = model.config, model.config.vocab_size
    embeds = None if inputs_embeds is None else check_inputs_embeds(inputs_embeds, config.hidden_size, model.dtype)
    prompt = _prompt(input_ids, gathered.bos_token_id, vocab_size, embeds)
    B, T = prompt.shape
    if past_key_values is not None and gathered.cache_implementation is not None:
        where = "past_key_values, cache_implementation"
        raise LlamaError("two caches", where=where, expected="one of the two", found="both")
    if past_key_values is not None:
        check_cache(past_key_values, config, model.dtype, B, 0)
    held = 0 if past_key_values is None else len(past_key_values)
    mask, past = _mask(attention_mask, prompt, embeds, held, gathered)
    if embeds is not None:  # without a cache they would be needed again; lengths count those without ids, too
        gathered = replace(gathered, use_cache=True, min_length=max(gathered.min_length - past, 0))
    implied = gathered.max_new_tokens is None and gathered.max_length is None
    limit = gathered.new_tokens(T if implied or embeds is None else T + past, config.max_position_embeddings)
    check_lengths(gathered, T, limit, settings)
    _check_fill(gathered, B, vocab_size)

    own_rules = [_as_rule(function) for function in _functions(logits_processor, "logits_processor")]
    own_stopping = [_as_stopping_rule(function) for function in _functions(stopping_criteria, "stopping_criteria")]
    copies = max(gathered.num_beams, gathered.num_return_sequences)
    rows = prompt.repeat(copies, axis=0)  # (R, T)
    padding = None if mask is None or past else mask.argmax(axis=1).repeat(copies)  # (R,)
    cache = past_key_values
    if cache is None and gathered.use_cache:
        cache = _new_cache(gathered, config.num_hidden_layers, past + T, limit)
    outputs = tuple(name for name in ("output_hidden_states", "output_attentions") if getattr(gathered, name))
    if cache is None or outputs:  # every row on its own from the start
        mask = None if mask is None else mask.repeat(copies, axis=0)
        embeds = None if embeds is None else embeds.repeat(copies, axis=0)
        copies = 1
    return Start(
        settings=gathered,
        prompt=rows,
        feed=Feed(model, cache, mask, embeds, past, copies, outputs),
        rules=logits_rules(gathered, rows, padding, T + limit, own_rules),
        stopping=[*stopping_rules(gathered, tokenizer), *own_stopping],
        limit=limit,
        generator=_generator(seed),
    )


def _prompt(input_ids: Any, bos_token_id: int | None, vocab_size: int, embeds: np.ndarray | None) -> np.ndarray:
    """(B, T) prompt ids; one BOS where nothing is given, none beside embeddings."""
    ids = None if input_ids is None else as_integers(input_ids, "input_ids")
    if ids is None or ids.shape in ((0,), (1, 0)):
        if embeds is not None:
            return np.zeros((len(embeds), 0), np.int64)
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
    return check_input_ids(ids, vocab_size)


def _mask(
    attention_mask: Any, prompt: np.ndarray, embeds: np.ndarray | None, held: int, settings: GenerationSettings
) -> tuple[np.ndarray | None, int]:
    """(B, S) mask over cache and prompt, None where nothing is padded; and how many of the S stand for no id.

    held    tokens in the caller's cache. Ids are all tokens so far, or, with a mask that spans both, those after them
    raises  LlamaError for a mask of another shape, padding on the right, and ids that the cache has seen already
    """
    B, T = prompt.shape
    S = T if embeds is None else embeds.shape[1]
    if embeds is not None and (len(embeds), S) != (B, T or S):
        raise LlamaError("doesn't fit inputs_embeds", where="input_ids", expected=(len(embeds), S), found=(B, T))
    pad = settings.pad_token_id
    if attention_mask is None and T == S and pad is not None and pad not in settings.eos_token_ids:
        attention_mask = prompt != pad  # as Transformers infers it
    elif attention_mask is not None and held and np.shape(attention_mask)[-1:] == (held + T,):
        S = held + T
    if held >= S:
        expected = f"all tokens so far, of which the cache holds {held}, and at least one new"
        raise LlamaError("nothing new", where="input_ids", expected=expected, found=f"{S} tokens")
    mask = check_attention_mask(attention_mask, B, S)
    if mask is not None and not mask[:, -1].all():
        raise LlamaError("padding on the right", where="attention_mask", expected="prompts padded on the left")
    return mask, S - T


def _check_fill(settings: GenerationSettings, batch: int, vocab_size: int) -> None:
    """raises  LlamaError where rows that end early would have to be filled with a token that doesn't exist"""
    fill, several = settings.fill_token_id, batch * max(settings.num_beams, settings.num_return_sequences) > 1
    ends = settings.stop_strings or any(0 <= token_id < vocab_size for token_id in settings.eos_token_ids)
    if several and ends and fill is not None and not 0 <= fill < vocab_size:
        expected = f"0 … {vocab_size - 1}, to fill rows that end early"
        raise LlamaError("token id out of range", where="pad_token_id", expected=expected, found=fill)


def _new_cache(settings: GenerationSettings, layers: int, begun: int, limit: int) -> KVCache:
    """A cache with room for all tokens but the last, which no other follows; or one that begins small and grows."""
    most = begun + limit - 1
    if settings.cache_implementation == "static":
        return KVCache(layers, capacity=max(most, settings.max_cache_len or 0), fixed=True)
    return KVCache(layers, capacity=min(most, begun + 256))


def _generator(seed: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise LlamaError(
            "impossible value", where="seed", expected="an integer, 0 or more, or None", found=repr(seed)
        ) from None


def _functions(values: Any, where: str) -> Sequence[Callable[..., Any]]:
    if not isinstance(values, list | tuple) or not all(map(callable, values)):
        raise LlamaError("wrong type", where=where, expected="a list of functions", found=repr(values))
    return values


def _as_rule(processor: Callable[..., Any]) -> LogitsRule:
    """A caller's processor(ids, logits), in the argument order of Transformers, as a rule(logits, ids)."""

    def rule(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
        changed = np.asarray(processor(ids, logits.copy()), logits.dtype)
        if changed.shape != logits.shape:
            raise LlamaError("wrong shape", where="logits_processor", expected=logits.shape, found=changed.shape)
        return changed

    return rule


def _as_stopping_rule(criterion: Callable[..., Any]) -> StoppingRule:
    """A caller's criterion(ids, scores), where scores are None; one answer for all rows will do."""
    return lambda ids: np.broadcast_to(np.asarray(criterion(ids, None), bool), len(ids)).tolist()
