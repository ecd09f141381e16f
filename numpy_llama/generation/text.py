"""Text in, text out: a prompt becomes ids, the token loop runs, each new id becomes text at once."""

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM
    from numpy_llama.tokenizer import Tokenizer


class TextStream:
    """A text that grows while it is read, and what there is to say about it afterwards.

        stream = TextStream(model, tokenizer, tokenizer.encode("Once upon a time"), max_new_tokens=200)
        for text in stream:
            print(text, end="", flush=True)
        print(stream.decode_speed, "tokens/s")

    prompt_ids  token ids to go on from; one BOS where there are none
    settings    those of LlamaForCausalLM.stream, seed included; one text alone
    raises      LlamaError as LlamaForCausalLM.stream does, before the first step

    All pieces joined are decode(prompt and new ids): the prompt comes first, as the tokenizer reads it back.
    A token that is part of a character adds "" until the character is complete. The stream can be read once.
    """

    def __init__(
        self,
        model: "LlamaForCausalLM",
        tokenizer: "Tokenizer",
        prompt_ids: Sequence[int],
        **settings: Any,
    ):
        self.prompt_ids = list(prompt_ids)
        self.new_ids: list[int] = []
        if settings.setdefault("num_return_sequences", 1) not in (None, 1):
            found = settings["num_return_sequences"]
            raise LlamaError("one text at a time", where="num_return_sequences", expected=1, found=found)
        settings.setdefault("tokenizer", tokenizer)  # stop strings are looked for in the text
        self._steps: Any = model.stream([self.prompt_ids] if self.prompt_ids else None, **settings)
        self._decoder = tokenizer.stream_decoder(skip_special_tokens=True)
        self._known_ids = len(tokenizer)
        self._moments: list[float] = []  # when the loop began, when each new token came

    def __iter__(self) -> Iterator[str]:
        yield "".join([self._decoder.push(token_id) for token_id in self.prompt_ids])
        self._moments.append(perf_counter())
        for ids in self._steps:
            token_id = int(ids[0])
            self.new_ids.append(token_id)
            self._moments.append(perf_counter())
            # Embedding tables are often padded to a round number of rows; a row without a piece has no text.
            yield self._decoder.push(token_id) if token_id < self._known_ids else ""
        yield self._decoder.finish()

    @property
    def has_ended(self) -> bool:
        """Whether the model itself ended the text, with an end-of-text token."""
        return bool(self.new_ids) and self.new_ids[-1] in self._steps.settings.eos_token_ids

    @property
    def first_token_seconds(self) -> float | None:
        """From the start of the loop to the first new token; None before that."""
        return self._moments[1] - self._moments[0] if self.new_ids else None

    @property
    def prefill_speed(self) -> float | None:
        """Prompt tokens per second, all of which one pass takes in; None before the first new token."""
        seconds = self.first_token_seconds
        return None if seconds is None else max(len(self.prompt_ids), 1) / seconds

    @property
    def decode_speed(self) -> float | None:
        """New tokens per second after the first, one pass each; None before the second."""
        count = len(self.new_ids) - 1
        return count / (self._moments[-1] - self._moments[1]) if count > 0 else None


def continue_text(model: "LlamaForCausalLM", tokenizer: "Tokenizer", prompt: str, **settings: Any) -> str:
    """The prompt and its continuation, as one string.

    settings  those of LlamaForCausalLM.generate, seed included
    raises    LlamaError as LlamaForCausalLM.generate does
    """
    return "".join(TextStream(model, tokenizer, tokenizer.encode(prompt), **settings))
