"""What the JSON files beside a vocabulary say, for every kind of tokenizer: settings, special tokens, added tokens.

    tokenizer_config.json      settings: add_bos_token, padding_side, …; which token is bos, eos, unk, pad; and the
                               added tokens with their ids
    special_tokens_map.json    older folders: which token is bos, eos, pad; read where the settings list no
                               added tokens
    added_tokens.json          older folders: {token: id} of the added tokens
    chat_template.jinja        newer folders: the chat template, which goes before the one in the settings

A setting that isn't used here is kept, and written again on saving.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json, write_json
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.token_table import EXTRA, NAMES

if TYPE_CHECKING:
    from numpy_llama.tokenizer.base import Tokenizer

CONFIG, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
CHAT = "chat_template.jinja"
CHAT_LIMIT = 1024 * 1024  # bytes; the longest template in use has 20 KB
SETTINGS: dict[str, type] = {
    "add_prefix_space": bool,
    "add_bos_token": bool,
    "add_eos_token": bool,
    "padding_side": str,
    "truncation_side": str,
    "model_max_length": int,
    "clean_up_tokenization_spaces": bool,
    "split_special_tokens": bool,
}
FLAGS = ("lstrip", "rstrip", "normalized", "single_word")


@dataclass(frozen=True)
class FolderSettings:
    """What the files say, checked.

    settings  {name: value} of those in `kinds` that are there and not null
    named     {"bos_token": token, …} of those that are there; None where the file says null
    declared  {id: token} of the added tokens
    extra     further special tokens, without ids
    kept      everything else
    class_name  the tokenizer_class
    where     the file, for messages
    """

    settings: dict[str, Any]
    named: dict[str, AddedToken | None]
    declared: dict[int, AddedToken]
    extra: list[AddedToken]
    kept: dict[str, Any]
    class_name: object
    where: Path

    @property
    def added(self) -> list[AddedToken]:
        """All tokens to be added, those with ids first, in the order of these."""
        named = [token for token in self.named.values() if token is not None]
        return [*(self.declared[index] for index in sorted(self.declared)), *named, *self.extra]

    def finish(self, tokenizer: "Tokenizer") -> None:
        """Take away names that the file says are none, and hold the ids of added tokens to what the file says.

        raises  LlamaError where a token has another id
        """
        for index, token in self.declared.items():
            found = tokenizer.convert_tokens_to_ids(token.content)
            if found != index:
                what = f"added token {token.content!r} can't have this id"
                raise LlamaError(what, where=self.where, expected=found, found=index)
        for name, value in self.named.items():
            if value is None and name != "pad_token":  # "bos_token": null means that there is none
                setattr(tokenizer, name, None)


def read_settings(
    home: Path | None,
    overrides: Mapping[str, Any],
    kinds: Mapping[str, type] = SETTINGS,
    in_json: Mapping[int, AddedToken] | None = None,
) -> FolderSettings:
    """Read the files of a folder; None: there is no folder, only overrides.

    overrides  settings and special tokens that go before those in the folder
    kinds      {setting: type} that this kind of tokenizer has
    in_json    the added tokens of a tokenizer.json: they count where tokenizer_config.json lists none, and then
               add_bos_token and add_eos_token of the folder don't, as in transformers 5: its template does
    raises     LlamaError naming file and field
    """
    unknown = set(overrides) - {*kinds, *NAMES, "chat_template"}
    if unknown:
        expected = ", ".join((*kinds, *NAMES, "chat_template"))
        raise LlamaError("no such setting", where=", ".join(sorted(unknown)), expected=expected)
    config = _json(home, CONFIG)
    where = (home or Path()) / CONFIG
    declared = _declared(config, _json(home, ADDED), where)
    if "added_tokens_decoder" not in config:
        config = config | _json(home, SPECIAL)
        declared = declared | dict(in_json or {})
    if in_json is not None:
        config = {key: value for key, value in config.items() if key not in ("add_bos_token", "add_eos_token")}
    if home is not None and (home / CHAT).is_file():
        config["chat_template"] = _read_template_file(home / CHAT)
    config = config | dict(overrides)

    by_content = {token.content: token for token in declared.values()}
    named: dict[str, AddedToken | None] = {}
    for name in NAMES:
        if name in config:
            value = config[name]
            token = None if value is None else read_token(value, where, name)
            named[name] = token if token is None else by_content.get(token.content, token)
    known = {*kinds, *NAMES, *EXTRA, "added_tokens_decoder", "tokenizer_class"}
    return FolderSettings(
        {key: _setting(config[key], kind, where, key) for key, kind in kinds.items() if config.get(key) is not None},
        named,
        declared,
        [read_token(value, where, key) for key in EXTRA for value in _list(config.get(key), where, key)],
        {key: value for key, value in config.items() if key not in known},
        config.get("tokenizer_class"),
        where,
    )


def write_settings(
    tokenizer: "Tokenizer", folder: Path, class_name: str, kinds: Mapping[str, type] = SETTINGS
) -> tuple[str, ...]:
    """Write tokenizer_config.json and special_tokens_map.json.

    returns  their names
    """
    added = {str(index): written_token(token) for index, token in tokenizer.added_tokens_decoder.items()}
    config = {
        **tokenizer.kept,
        **{key: getattr(tokenizer, key) for key in kinds},
        **{name: getattr(tokenizer, name) for name in NAMES},
        "added_tokens_decoder": added,
        "tokenizer_class": class_name,
    }
    write_json(folder / SPECIAL, tokenizer.special_tokens_map)
    write_json(folder / CONFIG, config)
    return SPECIAL, CONFIG


def read_token(value: object, where: object, name: str) -> AddedToken:
    """A token as Hugging Face writes it: a string, or an object with its text as "content".

    raises  LlamaError where it is neither
    """
    if isinstance(value, AddedToken):
        return value
    if isinstance(value, str) and value:
        return AddedToken(value)
    if isinstance(value, dict) and isinstance(value.get("content"), str) and value["content"]:
        special = bool(value.get("special", True)) or name in NAMES
        return AddedToken(value["content"], special, **{flag: bool(value.get(flag, False)) for flag in FLAGS})
    raise LlamaError("no token", where=f"{where}: {name}", expected="a string", found=repr(value)[:80])


def written_token(token: AddedToken) -> dict[str, Any]:
    """The same token as such an object."""
    flags = {flag: getattr(token, flag) for flag in FLAGS}
    return {"content": token.content, **flags, "special": token.special}


def _json(home: Path | None, name: str) -> dict[str, Any]:
    """An optional JSON file beside the vocabulary."""
    return read_json(home / name) if home is not None and (home / name).exists() else {}


def _read_template_file(path: Path) -> str:
    if path.stat().st_size > CHAT_LIMIT:
        raise LlamaError("too large", where=path, expected=f"at most {CHAT_LIMIT} bytes", found=path.stat().st_size)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LlamaError(f"no text ({error.reason}, byte {error.start})", where=path) from None


def _declared(config: dict[str, Any], older: dict[str, Any], where: Path) -> dict[int, AddedToken]:
    """{id: token} of the added tokens that the folder lists."""
    listed = config.get("added_tokens_decoder")
    if listed is None:
        contents = [(str(value), key) for key, value in older.items()]
        special = {read_token(config[name], where, name).content for name in NAMES if config.get(name) is not None}
        return {
            _index(index, where.with_name(ADDED)): AddedToken(key, key in special, normalized=key not in special)
            for index, key in contents
        }
    if not isinstance(listed, dict):
        found = repr(listed)[:80]
        raise LlamaError("wrong kind", where=f"{where}: added_tokens_decoder", expected="an object", found=found)
    return {_index(key, where): read_token(value, where, "added_tokens_decoder") for key, value in listed.items()}


def _index(text: str, where: Path) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise LlamaError("no token id", where=where, expected="a number", found=repr(text)[:80])
    return int(text)


def _list(value: object, where: Path, name: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict):  # {"image_token": "<image>"}: special tokens with names of a model's own
        return list(value.values())
    raise LlamaError("wrong kind", where=f"{where}: {name}", expected="a list", found=repr(value)[:80])


def _setting(value: object, kind: type, where: Path, name: str) -> Any:
    """A setting of the right kind. model_max_length is often written as 1e30, a float."""
    if kind is int and isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e30:
        return int(value)
    if kind is not int and isinstance(value, kind):
        return value
    expected = {bool: "true or false", str: "a string", int: "a positive number"}[kind]
    raise LlamaError("wrong kind", where=f"{where}: {name}", expected=expected, found=repr(value)[:80])
