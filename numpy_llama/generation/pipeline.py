"""pipeline("text-generation"): prompts in, texts out, in the shapes that Transformers' pipeline has.

    generator = pipeline("text-generation", model=folder, dtype="float32")
    generator("Once upon a time", max_new_tokens=50)              # [{"generated_text": "Once upon a time…"}]
    generator(["Once upon a time", "One day"], do_sample=False)   # a list of such lists, one a prompt

Three steps for each batch of prompts: texts become ids, `generate` continues them, new ids become texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.auto import EMBEDDED, checkpoint_path, tokenizer_of
from numpy_llama.errors import LlamaError
from numpy_llama.generation.settings import GenerationSettings
from numpy_llama.generation.start import prepare
from numpy_llama.model.arguments import check_vocabulary
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.without_torch import check_loading_arguments
from numpy_llama.tokenizer import LlamaTokenizer

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
)


def pipeline(
    task: str,
    model: str | Path | LlamaForCausalLM | None = None,
    tokenizer: str | Path | LlamaTokenizer | None = None,
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

    def __init__(self, model: LlamaForCausalLM, tokenizer: LlamaTokenizer, **options: Any):
        _check_model(model)
        check_vocabulary(len(tokenizer), model.config, "tokenizer")
        _check_options(options)
        self.model, self.tokenizer, self.options = model, tokenizer, options

    def __repr__(self) -> str:
        return f"TextGenerationPipeline({type(self.model).__name__}, {self.model.dtype})"

    def __call__(self, prompts: str | Sequence[str], **options: Any) -> list[Any]:
        """Continue one prompt, or each of several.

            generator("One day", do_sample=False, return_full_text=False)   # [{"generated_text": "…"}]

        return_full_text     True: prompt and continuation, the prompt as it was given. False: the continuation alone
        return_tensors       True: {"generated_token_ids": [1, 306, …]} instead, prompt and padding included
        skip_special_tokens  leave <s>, </s> and padding out of the text; True unless given
        add_special_tokens   put <s> before the prompt; as the tokenizer does unless given
        clean_up_tokenization_spaces  accepted and ignored, as by the tokenizer
        stop_sequence        a string, or several, that end a text: `stop_strings` of generate
        batch_size           prompts that go through the model together; 1 unless given. More need a pad token
        seed                 of the draws; one sequence of random numbers for all prompts of a call
        other options        settings of LlamaForCausalLM.generate: max_new_tokens, do_sample, num_return_sequences, …
                             Where nobody says otherwise, at most 256 new tokens are drawn at temperature 0.7

        returns  for one prompt a list of dicts, one a continuation; for several a list of such lists
        raises   LlamaError for prompts that are no text, and as generate and the tokenizer do

        New tokens become text on their own, as in Transformers, which drops the space before the first word: "Once
        upon" is continued to "Once upona time". TextStream and continue_text of numpy_llama.generation.text keep it.
        """
        options = {**self.options, **options}
        several = not isinstance(prompts, str)
        texts = _checked_prompts(prompts)
        full_text, tensors = options.pop("return_full_text", None), options.pop("return_tensors", False)
        if tensors and full_text is not None:
            raise LlamaError("two kinds of result at once", where="return_tensors", expected="no return_full_text")
        skip_special = options.pop("skip_special_tokens", None) is not False
        options.pop("clean_up_tokenization_spaces", None)
        add_special = options.pop("add_special_tokens", None)
        batch_size = _checked_batch_size(options.pop("batch_size", None))
        settings = self._settings(options)

        results: list[list[dict[str, Any]]] = []
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            inputs = self.tokenizer(
                batch,
                add_special_tokens=True if add_special is None else add_special,
                padding=len(batch) > 1,
                padding_side="left",
                return_tensors="np",
            )
            sequences = self._generate(inputs.input_ids, inputs.attention_mask, settings)  # (B · R, T + N)
            length = inputs.input_ids.shape[1]
            count = len(sequences) // len(batch)  # R, continuations of each prompt
            for index, prompt in enumerate(batch):
                rows = [ids.tolist() for ids in sequences[index * count : (index + 1) * count]]
                if tensors:
                    results.append([{"generated_token_ids": ids} for ids in rows])
                else:
                    before = "" if full_text is False else prompt
                    results.append(
                        [{"generated_text": before + self._text(ids[length:], skip_special)} for ids in rows]
                    )
        return results if several else results[0]

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


def _checked_prompts(prompts: Any) -> list[str]:
    """One prompt or several, as a list.

    raises  LlamaError for anything that is no text; a chat is named as such
    """
    texts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(texts, list | tuple):
        expected = "a str or a list of str"
        raise LlamaError("no prompt", where="prompts", expected=expected, found=type(prompts).__name__)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            is_chat = isinstance(text, dict) or (
                isinstance(text, list | tuple) and any(isinstance(m, dict) for m in text)
            )
            what = "chats aren't implemented" if is_chat else "no prompt"
            raise LlamaError(what, where=f"prompts[{index}]", expected="a str", found=type(text).__name__)
    return list(texts)


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
