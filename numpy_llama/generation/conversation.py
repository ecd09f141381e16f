"""A conversation that keeps its KV cache: each turn costs the model its own tokens, not the whole past again.

    conversation = Conversation(model, tokenizer, system="Be brief.", do_sample=True, temperature=0.7, seed=1)
    for piece in conversation.reply("What is a llama?"):
        print(piece, end="", flush=True)

A turn renders all messages anew, since only the chat template knows how they go together, and runs what the cache
hasn't seen:

    seen       <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎Hello!
    rendered   <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎Hello!<|im_end|>⏎<|im_start|>user⏎Bye<|im_end|>⏎…
               └────────────── kept: the same tokens ───────────────────┘└─────────── run ───────────

Where rendering changes earlier tokens (it strips an answer, or the system prompt is another), the cache is cut back to
what is still the same.
"""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.errors import LlamaError
from numpy_llama.files import write_json
from numpy_llama.generation.settings import GenerationSettings
from numpy_llama.model.arguments import check_vocabulary
from numpy_llama.tokenizer.chat_template import chosen_template

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM
    from numpy_llama.tokenizer.base import Tokenizer

# Tokens that end a turn, whatever a checkpoint's files say: Llama 3's were published with an eos that didn't.
TURN_ENDS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>")


class Conversation:
    """Messages, and a model that answers them.

    model      a LlamaForCausalLM
    tokenizer  that of the model. What users write is encoded with sanitize_control_tokens: it never becomes a control
               token
    system     the system prompt; None for none, or for the one that the chat template has
    template   a chat template, or the name of a known one; the tokenizer's own unless given
    forget     whether the oldest exchanges are dropped where the context is full; otherwise that is an error
    settings   of LlamaForCausalLM.generate: max_new_tokens (the rest of the context unless given), do_sample,
               temperature, …; and seed, of all draws of the conversation
    raises     LlamaError where the tokenizer has no chat template or doesn't fit the model

    messages   [{"role": …, "content": …}, …], the system message included; a list to read, and to go on from
    cache      keys and values of what the model has seen
    forgotten  exchanges that were dropped
    """

    def __init__(
        self,
        model: "LlamaForCausalLM",
        tokenizer: "Tokenizer",
        system: str | None = None,
        *,
        template: str | None = None,
        forget: bool = False,
        seed: int | np.random.Generator | None = None,
        **settings: Any,
    ):
        check_vocabulary(len(tokenizer), model.config, "tokenizer")
        self.model, self.tokenizer = model, tokenizer
        self.messages: list[dict[str, str]] = []
        self.cache = KVCache(model.config.num_hidden_layers)
        self.forgotten = 0
        self.last: Turn | None = None
        self._template = chosen_template(tokenizer, template)
        self._forget = forget
        self._generator = np.random.default_rng(seed)
        self._settings = {"tokenizer": tokenizer, **settings}
        if settings.get("eos_token_id") is None:
            self._settings["eos_token_id"] = _turn_ends(model, tokenizer)
        self._seen: list[int] = []  # the ids that the cache has seen
        self.system = system

    @property
    def system(self) -> str | None:
        """The system prompt. Set, it counts from the next turn on, for the whole conversation."""
        first = self.messages[0] if self.messages else {}
        return first["content"] if first.get("role") == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        rest = self.messages[1:] if self.system is not None else self.messages
        self.messages = [*([] if text is None else [{"role": "system", "content": text}]), *rest]

    @property
    def context(self) -> int:
        """Tokens that the model was trained to look back on."""
        return self.model.config.max_position_embeddings

    def reset(self) -> None:
        """Forget everything but the system prompt."""
        self.messages = self.messages[:1] if self.system is not None else []
        self.cache.crop(0)
        self._seen, self.forgotten, self.last = [], 0, None

    def reply(self, text: str) -> Iterator[str]:
        """Say something, and read the answer piece by piece.

        returns  the pieces, as they come; together they are the content of the last message. Closing the iterator, or
                 Ctrl-C, ends the answer there; what has come stays in the conversation. If nothing has come yet, the
                 question is taken back, too
        raises   LlamaError at once where text is none, the messages don't fit the template, or the context is full
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        ids = self._ids(messages)
        room = min(self._settings.get("max_new_tokens") or self.context, self.context // 4)
        first = 0 if self.system is None else 1
        dropped = 0
        while self._forget and len(ids) + room > self.context and len(messages) > first + 2:
            del messages[first : first + 2]
            dropped += 1
            ids = self._ids(messages)
        if len(ids) >= self.context:
            expected = f"fewer than {self.context} tokens, to have room for an answer (or a new conversation)"
            raise LlamaError("the context is full", where="conversation", expected=expected, found=len(ids))
        return self._answer(messages, ids, dropped)

    def save(self, path: str | Path) -> None:
        """Write {"messages": […]} as JSON, whole or not at all.

        raises  LlamaError where it can't be written
        """
        write_json(Path(path), {"messages": self.messages})

    def _ids(self, messages: list[dict[str, str]]) -> list[int]:
        ids: list[int] = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self._template,
            add_generation_prompt=True,
            sanitize_control_tokens=True,
            return_dict=False,
        )
        return ids

    def _answer(self, messages: list[dict[str, str]], ids: list[int], dropped: int) -> Iterator[str]:
        self.cache.crop(min(_common(self._seen, ids), len(ids) - 1))  # logits come from at least one token
        turn = self.last = Turn(len(ids), len(self.cache))
        settings = dict(self._settings)
        settings["max_new_tokens"] = min(settings.get("max_new_tokens") or self.context, self.context - len(ids))
        decoder = self.tokenizer.stream_decoder(skip_special_tokens=True)
        text, known = "", len(self.tokenizer)
        try:
            mask = np.ones((1, len(ids)), np.int64)  # a chat may hold the token that other texts are padded with
            steps = self.model.stream([ids], mask, past_key_values=self.cache, seed=self._generator, **settings)
            for token_ids in steps:
                token_id = int(token_ids[0])
                turn.add(token_id)
                piece = decoder.push(token_id) if token_id < known else ""
                text += piece
                if piece:
                    yield piece
            turn.has_ended = turn.new_ids[-1] in steps.settings.eos_token_ids
            turn.is_done = True
            rest = decoder.finish()
            text += rest
            if rest:
                yield rest
        finally:
            self.cache.crop(len(self.cache))  # all layers as long as the last, wherever Ctrl-C came
            self._seen = [*ids, *turn.new_ids][: len(self.cache)]
            if text or turn.is_done:
                self.messages = [*messages, {"role": "assistant", "content": text}]
                self.forgotten += dropped


class Turn:
    """What there is to say about an answer.

    prompt     tokens of the whole conversation before the answer
    kept       those of them that were in the cache; the others went through the model
    new_ids    the answer's tokens
    has_ended  whether the model ended it, rather than a limit or Ctrl-C
    is_done    whether the token loop came to its end
    """

    def __init__(self, prompt: int, kept: int):
        self.prompt, self.kept = prompt, kept
        self.new_ids: list[int] = []
        self.has_ended = self.is_done = False
        self._moments = [perf_counter()]

    def add(self, token_id: int) -> None:
        """One more token, now."""
        self.new_ids.append(token_id)
        self._moments.append(perf_counter())

    @property
    def decode_speed(self) -> float | None:
        """Tokens per second after the first, one pass each; None before the second."""
        count = len(self.new_ids) - 1
        return count / (self._moments[-1] - self._moments[1]) if count > 0 else None


def _common(seen: list[int], ids: list[int]) -> int:
    """How many tokens two lists begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(seen, ids, strict=False)) if a != b), min(len(seen), len(ids)))


def _turn_ends(model: "LlamaForCausalLM", tokenizer: "Tokenizer") -> list[int]:
    """Ids that end an answer: what the model's files name, the tokenizer's eos, and TURN_ENDS it knows."""
    stored = GenerationSettings.gather(model.config, model.generation_config, {}).eos_token_ids
    named = tokenizer.added_tokens_encoder
    found = [*stored, tokenizer.eos_token_id, *(named.get(token) for token in TURN_ENDS)]
    return sorted({token_id for token_id in found if token_id is not None and token_id < model.config.vocab_size})
