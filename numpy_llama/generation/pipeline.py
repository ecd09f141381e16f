"""pipeline("text-generation"): prompts in, texts out, in the shapes that Transformers' pipeline has.

    generator = pipeline("text-generation", model=folder, dtype="float32")
    generator("Once upon a time", max_new_tokens=50)              # [{"generated_text": "Once upon a time…"}]
    generator(["Once upon a time", "One day"], do_sample=False)   # a list of such lists, one a prompt
    generator([{"role": "user", "content": "Hi"}])                # [{"generated_text": [{"role": "user", …}, …]}]

Three steps for each batch of prompts: texts become ids, `generate` continues them, new ids become texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.auto import tokenizer_of
from numpy_llama.checkpoints.known_models import EMBEDDED, checkpoint_path
from numpy_llama.errors import LlamaError
from numpy_llama.generation.settings import GenerationSettings
from numpy_llama.generation.start import prepare
from numpy_llama.model.arguments import check_vocabulary
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.without_torch import check_loading_arguments
from numpy_llama.tokenizer import Tokenizer
from numpy_llama.tokenizer.batch import BatchEncoding

# What counts where neither the caller nor the model's generation_config.json says otherwise; as in Transformers.
DEFAULT_NEW_TOKENS = 256
DEFAULT_TEMPERATURE = 0.7

OWN_OPTIONS = (
    "return_full_text",
    "return_tensors",
    "skip_special_tokens",
    "add_special_tokens",
    "clean_up_tokenization_spaces",
    "stop_sequence",
    "batch_size",
    "continue_final_message",
    "tools",
    "documents",
    "tokenizer_encode_kwargs",
)
Chat = list[dict[str, Any]]


def pipeline(
    task: str,
    model: str | Path | LlamaForCausalLM | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    *,
    dtype: Any = None,
    **options: Any,
) -> "TextGenerationPipeline":
    """A model and its tokenizer behind one call.

    task       "text-generation"
    model      a checkpoint folder, or a model; the embedded one where it is None or "storyteller"
    tokenizer  a folder, or a tokenizer; that of the model's folder unless given
    dtype      float64, float32, float16 or bfloat16 to load and compute in; "auto" for the one it is stored in; float32
               unless given
    options    of every call, see TextGenerationPipeline; a call's own go first
    raises     LlamaError for a task that we don't have, a folder that isn't there, a tokenizer that is missing or
               doesn't fit the model
    source     pipeline of Transformers, whose dtype is the checkpoint's own unless given
    """
    if task not in TASKS:
        raise LlamaError("no such task", where="pipeline", expected="one of " + ", ".join(TASKS), found=repr(task))
    if model is None or isinstance(model, str | Path):
        folder = checkpoint_path(EMBEDDED if model is None else model)
        tokenizer = folder if tokenizer is None else tokenizer
        model = LlamaForCausalLM.from_pretrained(folder, "float32" if dtype is None else dtype)
    elif dtype is not None:
        raise LlamaError("a model has its dtype already", where="dtype", expected="none beside a loaded model")
    _check_model(model)
    return TASKS[task](model, tokenizer_of(model, tokenizer), **options)


class TextGenerationPipeline:
    """Goes on with texts.

    model      a LlamaForCausalLM
    tokenizer  that of the model; rows of a batch are filled on the left, whatever its padding_side
    options    as in a call: what is given here counts in every call that doesn't say otherwise
    raises     LlamaError where the tokenizer has tokens that the model lacks
    source     TextGenerationPipeline of Transformers
    """

    task = "text-generation"

    def __init__(self, model: LlamaForCausalLM, tokenizer: Tokenizer, **options: Any):
        _check_model(model)
        check_vocabulary(len(tokenizer), model.config, "tokenizer")
        _check_options(options)
        self.model, self.tokenizer, self.options = model, tokenizer, options

    def __repr__(self) -> str:
        return f"TextGenerationPipeline({type(self.model).__name__}, {self.model.dtype})"

    def __call__(self, prompts: str | Sequence[Any], **options: Any) -> list[Any]:
        """Continue one prompt, or each of several; or answer a chat, or each of several.

            generator("One day", do_sample=False, return_full_text=False)   # [{"generated_text": "…"}]
            generator([{"role": "user", "content": "Hi"}])                  # [{"generated_text": [{…}, {…}]}]

        A chat is a list of messages, {"role": …, "content": …}, and comes back with one more; one that ends with the
        assistant's message comes back with that message continued. Control tokens in messages are tokens, as in
        Transformers: for what strangers write, use Conversation of numpy_llama.generation.conversation.

        return_full_text     True: prompt and continuation, the prompt as it was given. False: the continuation alone
        return_tensors       True: {"generated_token_ids": [1, 306, …]} instead, prompt and padding included
        skip_special_tokens  leave <s>, </s> and padding out of the text; True unless given
        add_special_tokens   put <s> before the prompt; as the tokenizer does unless given
        clean_up_tokenization_spaces  accepted and ignored, as by the tokenizer
        stop_sequence        a string, or several, that end a text: `stop_strings` of generate
        batch_size           prompts that go through the model together; 1 unless given. More need a pad token
        continue_final_message, tools, documents, tokenizer_encode_kwargs   of chats, as in apply_chat_template
        seed                 of the draws; one sequence of random numbers for all prompts of a call
        other options        settings of LlamaForCausalLM.generate: max_new_tokens, do_sample, num_return_sequences, …
                             Where nobody says otherwise, at most 256 new tokens are drawn at temperature 0.7

        returns  for one prompt a list of dicts, one a continuation; for several a list of such lists
        raises   LlamaError for prompts that are no text, and as generate and the tokenizer do

        New tokens become text on their own, as in Transformers, which drops the space before the first word: "Once
        upon" is continued to "Once upona time". TextStream and continue_text of numpy_llama.generation.text keep it.
        """
        options = {**self.options, **options}
        several, texts = _checked_prompts(prompts)
        full_text, tensors = options.pop("return_full_text", None), options.pop("return_tensors", False)
        if tensors and full_text is not None:
            raise LlamaError("two kinds of result at once", where="return_tensors", expected="no return_full_text")
        skip_special = options.pop("skip_special_tokens", None) is not False
        options.pop("clean_up_tokenization_spaces", None)
        add_special = options.pop("add_special_tokens", None)
        batch_size = _checked_batch_size(options.pop("batch_size", None))
        chat_options = {name: options.pop(name, None) for name in ("continue_final_message", "tools", "documents")}
        chat_options |= options.pop("tokenizer_encode_kwargs", None) or {}
        settings = self._settings(options)

        results: list[list[dict[str, Any]]] = []
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            inputs = self._encoded(batch, True if add_special is None else add_special, chat_options)
            sequences = self._generate(inputs.input_ids, inputs.attention_mask, settings)  # (B · R, T + N)
            length = inputs.input_ids.shape[1]
            count = len(sequences) // len(batch)  # R, continuations of each prompt
            for index, prompt in enumerate(batch):
                rows = [ids.tolist() for ids in sequences[index * count : (index + 1) * count]]
                if tensors:
                    results.append([{"generated_token_ids": ids} for ids in rows])
                else:
                    new = [self._text(ids[length:], skip_special) for ids in rows]
                    if full_text is not False:
                        new = [_joined(prompt, text, chat_options["continue_final_message"]) for text in new]
                    results.append([{"generated_text": text} for text in new])
        return results if several else results[0]

    def _encoded(self, batch: list[str] | list[Chat], add_special: bool, chat_options: dict[str, Any]) -> BatchEncoding:
        """input_ids and attention_mask (B, T) of texts, or of chats that end where an answer begins."""
        if isinstance(batch[0], str):
            return self.tokenizer(
                batch,
                add_special_tokens=add_special,
                padding=len(batch) > 1,
                padding_side="left",
                return_tensors="np",
            )
        more = dict(chat_options)
        go_on = more.pop("continue_final_message")
        rows = [
            self.tokenizer.apply_chat_template(
                chat,
                add_generation_prompt=not _goes_on(chat, go_on),
                continue_final_message=_goes_on(chat, go_on),
                return_dict=False,
                **more,
            )
            for chat in batch
        ]
        return self.tokenizer.pad({"input_ids": rows}, padding=len(rows) > 1, padding_side="left", return_tensors="np")

    def _settings(self, options: dict[str, Any]) -> dict[str, Any]:
        """Settings of generate: the caller's, and this pipeline's defaults where nobody said anything."""
        settings = dict(options)
        stop = settings.pop("stop_sequence", None)
        if stop is not None:
            settings["stop_strings"] = [stop] if isinstance(stop, str) else stop
        settings.setdefault("tokenizer", self.tokenizer)  # to find stop strings in a text
        asked = settings.get("generation_config")
        stored = {**self.model.generation_config, **(asked if isinstance(asked, Mapping) else {})}
        said = {name: value for name, value in stored.items() if value is not None} | settings
        if "max_new_tokens" not in said and "max_length" not in said:
            settings["max_new_tokens"] = DEFAULT_NEW_TOKENS
        if "do_sample" not in said:
            settings["do_sample"] = True
        if "temperature" not in said and said.get("do_sample", True):
            settings["temperature"] = DEFAULT_TEMPERATURE
        if "pad_token_id" not in said and self.tokenizer.pad_token_id is not None:
            settings["pad_token_id"] = self.tokenizer.pad_token_id
        settings["seed"] = _generator(settings.get("seed"))
        return settings

    def _generate(self, input_ids: np.ndarray, attention_mask: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
        """(B · R, T + N), prompts and continuations."""
        if input_ids.shape[1] == 0:  # nothing to go on from: generate begins from its BOS
            output = self.model.generate(None, **settings)
        else:
            output = self.model.generate(input_ids, attention_mask, **settings)
        sequences: np.ndarray = getattr(output, "sequences", output)  # with return_dict_in_generate, an object
        return sequences

    def _text(self, ids: list[int], skip_special_tokens: bool) -> str:
        # Embedding tables are often padded to a round number of rows; a row without a piece has no text.
        known = [token_id for token_id in ids if token_id < len(self.tokenizer)]
        text: str = self.tokenizer.decode(known, skip_special_tokens=skip_special_tokens)
        return text


def _check_options(options: Mapping[str, Any]) -> None:
    """raises  LlamaError for an option that neither a call nor generate has"""
    check_loading_arguments(options)
    known = {*OWN_OPTIONS, *signature(prepare).parameters, *(f.name for f in fields(GenerationSettings))}
    for name in options.keys() - known:
        expected = f"one of {', '.join(OWN_OPTIONS)}, or a setting of generate"
        raise LlamaError("no such option", where=f"pipeline({name}=…)", expected=expected)


TASKS = {TextGenerationPipeline.task: TextGenerationPipeline}


def _check_model(model: object) -> None:
    if not isinstance(model, LlamaForCausalLM):
        expected = "a LlamaForCausalLM, or a checkpoint folder for pipeline"
        raise LlamaError("wrong type", where="model", expected=expected, found=type(model).__name__)


def _checked_prompts(prompts: Any) -> tuple[bool, list[Any]]:
    """Whether there are several prompts, and all of them: texts, or chats.

    raises  LlamaError for anything else, and for texts and chats together
    """
    if isinstance(prompts, str):
        return False, [prompts]
    if not isinstance(prompts, list | tuple):
        expected = "a str, a chat (a list of messages), or a list of such"
        raise LlamaError("no prompt", where="prompts", expected=expected, found=type(prompts).__name__)
    if prompts and isinstance(prompts[0], Mapping):
        return False, [_checked_chat(prompts, "prompts")]
    chats = bool(prompts) and isinstance(prompts[0], list | tuple)
    for index, prompt in enumerate(prompts):
        where = f"prompts[{index}]"
        if chats:
            _checked_chat(prompt, where)
        elif not isinstance(prompt, str):
            raise LlamaError("no prompt", where=where, expected="a str", found=type(prompt).__name__)
    return True, [list(prompt) if chats else prompt for prompt in prompts]


def _checked_chat(chat: Any, where: str) -> Chat:
    if not isinstance(chat, list | tuple) or not chat:
        found = "an empty list" if isinstance(chat, list | tuple) else type(chat).__name__
        raise LlamaError("no chat", where=where, expected="a list of messages", found=found)
    for index, message in enumerate(chat):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            found = ", ".join(map(repr, message)) if isinstance(message, Mapping) else type(message).__name__
            raise LlamaError("no message", where=f"{where}[{index}]", expected="role and content", found=found)
    return list(chat)


def _goes_on(chat: Chat, asked: Any) -> bool | str:
    """Whether the last message is continued: as asked, else where it is the assistant's."""
    said: bool | str = chat[-1]["role"] == "assistant" if asked is None else asked
    return said


def _joined(prompt: str | Chat, text: str, go_on: Any) -> Any:
    """The prompt with what is new: as one text, in one message more, or at the end of the last message."""
    if isinstance(prompt, str):
        return prompt + text
    if not _goes_on(prompt, go_on):
        return [*prompt, {"role": "assistant", "content": text}]
    last = prompt[-1]
    if not isinstance(last["content"], str):
        found = type(last["content"]).__name__
        raise LlamaError("no text to go on with", where="the last message: content", expected="a str", found=found)
    return [*prompt[:-1], {"role": last["role"], "content": last["content"] + text}]


def _checked_batch_size(batch_size: Any) -> int:
    if batch_size is None:
        return 1
    if not isinstance(batch_size, int | np.integer) or isinstance(batch_size, bool) or batch_size < 1:
        raise LlamaError("impossible value", where="batch_size", expected="1 or more", found=repr(batch_size))
    return int(batch_size)


def _generator(seed: Any) -> np.random.Generator:
    """Random numbers for one call: prompts after the first go on where it stopped, so that they differ."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        expected = "an integer, 0 or more, or None"
        raise LlamaError("impossible value", where="seed", expected=expected, found=repr(seed)) from None
