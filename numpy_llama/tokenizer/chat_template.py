"""A conversation as the one text that a model was trained to go on with.

    messages = [{"role": "user", "content": "Hi"}]
    tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    # "<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n"

The text is made by the checkpoint's chat template: by a function of known_chats.py where it is one of those, otherwise
in jinja2's sandbox, in a process of its own (chat_process.py).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.batch import lengths, truncate
from numpy_llama.tokenizer.chat_process import rendered
from numpy_llama.tokenizer.control_tokens import chat_ids, check_same_tokens, control_tokens, mark, veil
from numpy_llama.tokenizer.known_chats import BY_NAME, chat_of_tokens, known_chat

if TYPE_CHECKING:
    from numpy_llama.tokenizer.base import Tokenizer

REASONING = ("reasoning_content", "thinking", "reasoning")  # names that templates know a model's reasoning by
CUT = "\U0010fff2"  # stands behind the message that is to be continued
DEEPEST = 64  # lists and dicts within each other


def render_chat(
    messages: Sequence[Any],
    template: str,
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool | str = False,
    **values: Any,
) -> str:
    """The text of a chat.

    messages   dicts with "role", "content" and whatever else the template knows; at least one
    template   Jinja, or the name of a known chat: "llama2", "llama3", "chatml", "smollm2"
    add_generation_prompt   end with the header of an answer that is still to come
    continue_final_message  end inside the last message, for the model to go on with it; or the name of its field
    values     what else the template sees: bos_token, tools, documents, …
    raises     LlamaError for messages that are none, or that the template doesn't take; and as `rendered` does
    source     render_jinja_template of transformers
    """
    plain = [_plain(message) for message in messages]
    if not plain:
        raise LlamaError("no messages", where="messages", expected="at least one")
    for index, message in enumerate(plain):
        if not isinstance(message, dict):
            found = type(messages[index]).__name__
            raise LlamaError(
                "no message", where=f"messages[{index}]", expected="a dict with role and content", found=found
            )
    plain = [_with_reasoning(message) for message in plain]
    field = continue_final_message if isinstance(continue_final_message, str) else "content"
    final = _open_end(plain[-1], field) if continue_final_message else ""
    chat = known_chat(template)
    if chat is not None:
        text = chat(plain, add_generation_prompt=add_generation_prompt, **values)
    else:
        values = {"tools": None, "documents": None, **_plain(values)}
        values |= {"messages": plain, "add_generation_prompt": add_generation_prompt}
        text = rendered(template, values)
    return _cut(text, final) if continue_final_message else text


def apply_chat_template(
    tokenizer: "Tokenizer",
    conversation: Sequence[Any],
    tools: Sequence[Any] | None = None,
    documents: Sequence[Mapping[str, str]] | None = None,
    chat_template: str | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool | str = False,
    tokenize: bool = True,
    sanitize_control_tokens: bool = False,
    padding: bool | str = False,
    truncation: bool = False,
    max_length: int | None = None,
    return_tensors: str | None = None,
    return_dict: bool = True,
    return_assistant_tokens_mask: bool = False,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    **values: Any,
) -> Any:
    """What Tokenizer.apply_chat_template does; its docstring says it."""
    if return_assistant_tokens_mask:
        raise LlamaError("not implemented", where="return_assistant_tokens_mask", expected=False, found=True)
    if continue_final_message and add_generation_prompt:
        where = "continue_final_message, add_generation_prompt"
        raise LlamaError("one ends inside a message, the other behind it", where=where, expected="one of the two")
    if sanitize_control_tokens and not tokenize:
        raise LlamaError("tokens are made where there is a tokenizer", where="tokenize", expected=True, found=False)
    template = chosen_template(tokenizer, chat_template, tools is not None)
    several, conversations = _conversations(conversation)
    if tools is not None:
        values["tools"] = [_tool(tool, index) for index, tool in enumerate(tools)]
    if documents is not None:
        values["documents"] = documents
    names: dict[str, Any] = dict(tokenizer.special_tokens_map)
    if getattr(tokenizer, "use_default_system_prompt", False):
        names["use_default_system_prompt"] = True
    ends: dict[str, Any] = {"add_generation_prompt": add_generation_prompt}
    ends["continue_final_message"] = continue_final_message

    if not sanitize_control_tokens:
        texts = [render_chat(messages, template, **ends, **{**names, **values}) for messages in conversations]
        if not tokenize:
            return texts if several else texts[0]
        rows = [chat_ids(tokenizer, text) for text in texts]
    else:
        tokens = control_tokens(tokenizer, template)
        values = mark(_plain(values), tokens)
        rows = []
        for messages in conversations:
            plain = [_plain(message) for message in messages]
            both = (mark(plain, tokens), veil([message for message in plain if isinstance(message, dict)]))
            ids, veiled = (
                chat_ids(tokenizer, render_chat(one, template, **ends, **{**names, **values})) for one in both
            )
            check_same_tokens(tokenizer, ids, veiled)
            rows.append(ids)
    more = dict(tokenizer_kwargs or {})
    cut, _ = lengths(padding, truncation, max_length, tokenizer.model_max_length, more.get("pad_to_multiple_of"))
    if cut is not None:
        rows = [truncate(ids, cut, tokenizer.truncation_side) for ids in rows]
    one_row = not several and return_tensors is None
    encoded = tokenizer.pad(
        {"input_ids": rows[0] if one_row else rows},
        padding=padding,
        max_length=max_length,
        return_tensors=return_tensors,
        **more,
    )
    return encoded if return_dict else encoded["input_ids"]


def chosen_template(tokenizer: "Tokenizer", chat_template: str | None, with_tools: bool = False) -> str:
    """The template that counts: the one given, by its text or name; the tokenizer's; the one that its tokens are for.

    raises  LlamaError where there is none
    """
    named = _named_templates(tokenizer)
    wanted = chat_template or ("tool_use" if with_tools and "tool_use" in named else "default")
    if wanted in named:
        return named[wanted]
    if chat_template is not None:
        if not isinstance(chat_template, str):
            found = type(chat_template).__name__
            raise LlamaError("no template", where="chat_template", expected="a str", found=found)
        return chat_template
    if named:
        expected = "one of its names: " + ", ".join(sorted(named))
        raise LlamaError("several templates, and none is the default", where="chat_template", expected=expected)
    special = [token.content for token in tokenizer.added_tokens_decoder.values()]
    name = chat_of_tokens(special)
    if name is None and getattr(tokenizer, "use_default_system_prompt", False):
        name = "llama2"
    if name is None:
        expected = f"a model made for chats, tokenizer.chat_template, or chat_template= {', '.join(BY_NAME)}"
        raise LlamaError("this tokenizer has no chat template", where="chat_template", expected=expected)
    return name


def _named_templates(tokenizer: "Tokenizer") -> dict[str, str]:
    """{name: template} of a tokenizer that has several, as tokenizer_config.json writes them; "default" is the one."""
    stored = tokenizer.kept.get("chat_template")
    if isinstance(stored, list):
        stored = {one.get("name"): one.get("template") for one in stored if isinstance(one, Mapping)}
    if isinstance(stored, Mapping):
        return {str(name): template for name, template in stored.items() if isinstance(template, str)}
    return {} if tokenizer.chat_template is None else {"default": tokenizer.chat_template}


def _conversations(conversation: object) -> tuple[bool, list[list[Any]]]:
    """Whether there are several, and their messages, without fields that are None: a template would write "None"."""
    if not isinstance(conversation, list | tuple):
        found = type(conversation).__name__
        raise LlamaError("no messages", where="messages", expected="a list of dicts", found=found)
    if not conversation:
        raise LlamaError("no messages", where="messages", expected="at least one")
    several = isinstance(conversation[0], list | tuple)
    for index, messages in enumerate(conversation if several else [conversation]):
        if not isinstance(messages, list | tuple):
            found = type(messages).__name__
            raise LlamaError("no chat", where=f"messages[{index}]", expected="a list of dicts", found=found)
    return several, [
        [
            {key: value for key, value in message.items() if value is not None}
            if isinstance(message, Mapping)
            else message
            for message in messages
        ]
        for messages in (conversation if several else [conversation])
    ]


def _tool(tool: object, index: int) -> Any:
    if isinstance(tool, Mapping):
        return tool
    expected = "its JSON schema: a dict"
    raise LlamaError("no tool", where=f"tools[{index}]", expected=expected, found=type(tool).__name__)


def _plain(value: Any, depth: int = DEEPEST) -> Any:
    """What JSON can say, made of anything: a template needs no more, and whatever has methods stays here."""
    if depth == 0:
        raise LlamaError("nested too deep", where="messages", expected=f"at most {DEEPEST} lists and dicts")
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item(), depth - 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), depth - 1) for field in dataclasses.fields(value)}
    return f"<{type(value).__name__}>"  # an image, say: templates ask only whether it is there


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose reasoning is found under the names that templates look for."""
    reasoning = next((message[key] for key in REASONING if message.get(key) is not None), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _open_end(message: dict[str, Any], field: str) -> str:
    """Put a mark behind the text of a message, in place.

    returns  that text
    raises   LlamaError where there is none
    """
    where = "continue_final_message"
    value = message.get(field)
    if isinstance(value, str):
        for name in (field, *(REASONING if field in REASONING else ())):
            if message.get(name) == value:
                message[name] = value + CUT + " "
        return value
    for part in reversed(value if isinstance(value, list) else []):
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            text: str = part["text"]
            part["text"] = text + CUT + " "
            return text
    raise LlamaError(f"the last message has no {field} to go on with", where=where, expected="a text")


def _cut(text: str, final: str) -> str:
    """The text up to the mark. The space behind the mark tells whether the template strips contents: this one, then,
    must end without spaces, too.
    """
    at = text.rfind(CUT)
    if at < 0 or final.strip() not in text:
        what = "the template doesn't write the last message as it is"
        raise LlamaError(what, where="continue_final_message", expected="a text that can be gone on with")
    return text[:at] if text[at + 1 : at + 2] == " " else text[:at].rstrip()
