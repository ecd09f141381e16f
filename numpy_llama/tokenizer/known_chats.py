"""Three chat formats as plain functions: Llama 2's, Llama 3's and ChatML, which SmolLM2 speaks.

A chat is a text with a grammar. What a model saw between its turns in training must be there again, to the space:

    Llama 2    <s>[INST] <<SYS>>⏎Be brief.⏎<</SYS>>⏎⏎Hi [/INST] Hello. </s><s>[INST] Bye [/INST]
    Llama 3    <|begin_of_text|><|start_header_id|>user<|end_header_id|>⏎⏎Hi<|eot_id|><|start_header_id|>…
    ChatML     <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎

A checkpoint says its grammar as a Jinja template. The templates that these functions stand for are recognised by their
hash, so that the best-known models chat without jinja2, and nothing that a file says is executed.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from numpy_llama.errors import LlamaError

Messages = Sequence[Mapping[str, Any]]
Chat = Callable[..., str]

# Llama 2's own, word for word: a model that was trained with it answers differently to another.
DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n"
    "\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
SMOLLM2_SYSTEM_PROMPT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def llama2(
    messages: Messages,
    *,
    bos_token: str = "<s>",
    eos_token: str = "</s>",
    use_default_system_prompt: bool = False,
    **unused: Any,
) -> str:
    """Llama 2: each question in [INST] … [/INST], each exchange a sequence of its own, the system prompt in the first.

    messages   an optional system message, then user and assistant in turn
    use_default_system_prompt  whether a chat without a system message gets Llama 2's own
    unused     add_generation_prompt among others: an answer simply follows [/INST]
    raises     LlamaError where the roles don't take turns
    source     llama/generation.py of Meta's Llama 2; the default template of LlamaTokenizer in transformers 4
    """
    roles, contents = _parts(messages)
    system = None
    if roles[0] == "system":
        system, roles, contents = contents[0], roles[1:], contents[1:]
    elif use_default_system_prompt and "<<SYS>>" not in contents[0]:
        system = DEFAULT_SYSTEM_PROMPT
    text = ""
    for index, (role, content) in enumerate(zip(roles, contents, strict=True)):
        expected = "assistant" if index % 2 else "user"
        if role != expected:
            where = f"messages[{index + len(messages) - len(roles)}]: role"
            raise LlamaError("Llama 2's roles take turns", where=where, expected=expected, found=role)
        if index == 0 and system is not None:
            content = f"<<SYS>>\n{system}\n<</SYS>>\n\n{content}"
        text += f" {content.strip()} {eos_token}" if index % 2 else f"{bos_token}[INST] {content.strip()} [/INST]"
    return text


def llama3(
    messages: Messages, *, bos_token: str = "<|begin_of_text|>", add_generation_prompt: bool = False, **unused: Any
) -> str:
    """Llama 3: each message under a header with its role, ended by <|eot_id|>.

    source  the template of Meta-Llama-3-8B-Instruct; ChatFormat in Meta's llama3
    """
    parts = [f"{_header(role)}{content.strip()}<|eot_id|>" for role, content in zip(*_parts(messages), strict=True)]
    return bos_token + "".join(parts) + (_header("assistant") if add_generation_prompt else "")


def chatml(
    messages: Messages, *, add_generation_prompt: bool = False, default_system: str | None = None, **unused: Any
) -> str:
    """ChatML: each message between <|im_start|> and <|im_end|>, its role on the first line.

    default_system  the system prompt of a chat that doesn't begin with one; None for none
    source          OpenAI's ChatML; the template of SmolLM2-135M-Instruct
    """
    roles, contents = _parts(messages)
    if default_system is not None and roles[0] != "system":
        roles, contents = ["system", *roles], [default_system, *contents]
    parts = [f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in zip(roles, contents, strict=True)]
    return "".join(parts) + ("<|im_start|>assistant\n" if add_generation_prompt else "")


# What `chat_template=` may name instead of giving a template.
BY_NAME: dict[str, Chat] = {
    "llama2": llama2,
    "llama3": llama3,
    "chatml": chatml,
    "smollm2": partial(chatml, default_system=SMOLLM2_SYSTEM_PROMPT),
}

# The first 16 hexadecimal digits of the SHA-256 of a template, line breaks written as such.
_BY_HASH: dict[str, Chat] = {
    "9780fae5bfea3cfd": llama2,  # Llama-2-7b-chat-hf
    "5e53c989e0be846d": llama2,  # the same, with a place for later system messages
    "465fedc0ba3c72b5": llama2,  # what transformers 4 put in where there was none
    "ed176d2d0e8030bf": partial(llama2, use_default_system_prompt=True),
    "ba03a121d097859c": llama3,  # Meta-Llama-3-8B-Instruct
    "153280e3ff55d19d": chatml,
    "58c1a1f04baa7ada": chatml,  # with a default for add_generation_prompt
    "872be49dbb638044": BY_NAME["smollm2"],  # SmolLM2-135M-Instruct and its larger sisters
}


def known_chat(template: str) -> Chat | None:
    """The function that a template stands for, by its name or its text; None where there is none."""
    if template in BY_NAME:
        return BY_NAME[template]
    text = template.replace("\\n", "\n").strip()  # inside Jinja's quotes, both are a line break
    return _BY_HASH.get(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16])


def chat_of_tokens(special_tokens: Collection[str]) -> str | None:
    """The name of the chat format that a vocabulary was made for, by its special tokens; None where they don't say.

    Llama 2's can't be told so: its chat models have the tokens of its base models.
    """
    if {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"} <= set(special_tokens):
        return "llama3"
    return "chatml" if {"<|im_start|>", "<|im_end|>"} <= set(special_tokens) else None


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


def _parts(messages: Messages) -> tuple[list[str], list[str]]:
    """Roles and contents.

    raises  LlamaError where a message has none
    """
    for index, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                found = type(message[key]).__name__ if key in message else f"a message without {key}"
                raise LlamaError("no text", where=f"messages[{index}]: {key}", expected="a str", found=found)
    return [message["role"] for message in messages], [message["content"] for message in messages]
