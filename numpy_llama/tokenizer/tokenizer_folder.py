"""The folder of a tokenizer, as Hugging Face lays it out.

    tokenizer.model            the vocabulary; the one file that must be there
    tokenizer.json             another order of merging, and the special tokens around a text; see tokenizer_json.py
    tokenizer_config.json      settings: add_bos_token, legacy, padding_side, …; and the added tokens with
                               their ids
    special_tokens_map.json    older folders: which token is bos, eos, pad; read where the settings list no
                               added tokens
    added_tokens.json          older folders: {token: id} of the added tokens

A setting that isn't used here (chat_template, …) is kept, and written again on saving.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.files import read_json, write_atomically, write_json
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.sentencepiece_model import read_sentencepiece_model, sentencepiece_model_bytes
from numpy_llama.tokenizer.tokenizer_json import (
    TOKENIZER_JSON,
    read_tokenizer_json,
    with_special_tokens_around,
)

if TYPE_CHECKING:
    from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer

MODEL, CONFIG, SPECIAL = "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"
ADDED = "added_tokens.json"
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
SETTINGS: dict[str, type] = {
    "legacy": bool,
    "add_prefix_space": bool,
    "add_bos_token": bool,
    "add_eos_token": bool,
    "padding_side": str,
    "truncation_side": str,
    "model_max_length": int,
}
EXTRA = ("additional_special_tokens", "extra_special_tokens")


def read_folder(cls: type["LlamaTokenizer"], folder: Path, overrides: dict[str, Any]) -> "LlamaTokenizer":
    """Build a tokenizer from a folder, or from a tokenizer.model alone. Settings in `overrides` go first.

    raises  LlamaError
    """
    path = folder
    if folder.is_dir():
        path = folder / MODEL
        if not path.is_file():
            found = ", ".join(sorted(file.name for file in folder.glob("token*"))) or "no tokenizer file"
            raise LlamaError("no such file", where=path, expected="a SentencePiece vocabulary", found=found)
    elif not folder.is_file():
        raise LlamaError("no such folder", where=folder, expected=f"a folder with a {MODEL}")
    model = read_sentencepiece_model(path)
    home = path.parent if folder.is_dir() else None
    config = _json(home, CONFIG)
    where = path.parent / CONFIG

    known = {*SETTINGS, *NAMES, *EXTRA, "added_tokens_decoder", "tokenizer_class"}
    unknown = set(overrides) - {*SETTINGS, *NAMES}
    if unknown:
        raise LlamaError("no such setting", where=", ".join(sorted(unknown)), expected=", ".join((*SETTINGS, *NAMES)))
    _check_class(config.get("tokenizer_class"), where)

    declared = _declared(config, _json(home, ADDED), where)
    if "added_tokens_decoder" not in config:
        config = config | _json(home, SPECIAL)
    config = config | overrides
    named = {name: config[name] for name in NAMES if name in config}
    by_content = {token.content: token for token in declared.values()}
    tokens: dict[str, Any] = {}
    for name, value in named.items():
        if value is not None:
            token = _token(value, where, name)
            tokens[name] = by_content.get(token.content, token)
    extra = [_token(value, where, key) for key in EXTRA for value in _list(config.get(key), where, key)]
    path_of_json = path.parent / TOKENIZER_JSON
    merges = None
    if folder.is_dir() and path_of_json.exists():
        merges, around = read_tokenizer_json(path_of_json, model)
        config = config | around | overrides
    settings = {
        key: _setting(config[key], kind, where, key) for key, kind in SETTINGS.items() if config.get(key) is not None
    }

    tokenizer = cls(
        model,
        merges=merges,
        **settings,
        **tokens,
        added_tokens=[*(declared[index] for index in sorted(declared)), *tokens.values(), *extra],
        kept={key: value for key, value in config.items() if key not in known},
    )
    if merges is not None:
        tokenizer.tokenizer_json = path_of_json.read_bytes()
    for index, token in declared.items():
        found = tokenizer.convert_tokens_to_ids(token.content)
        if found != index:
            raise LlamaError(
                f"added token {token.content!r} can't have this id", where=where, expected=found, found=index
            )
    for name, value in named.items():
        if value is None and name != "pad_token":  # "bos_token": null means that there is none
            setattr(tokenizer, name, None)
    return tokenizer


def write_folder(tokenizer: "LlamaTokenizer", folder: Path) -> tuple[str, ...]:
    """Write the files that transformers' AutoTokenizer needs to build the same tokenizer.

    (Not the same in legacy mode: by that word transformers 5 means something else than sentencepiece.)

    returns  the paths: three, and tokenizer.json if there was one
    """
    settings = {key: getattr(tokenizer, key) for key in SETTINGS}
    names = {name: getattr(tokenizer, name) for name in NAMES}
    added = {
        str(index): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": False,
            "special": token.special,
        }
        for index, token in tokenizer.added_tokens_decoder.items()
    }
    config = {
        **tokenizer.kept,
        **settings,
        **names,
        "added_tokens_decoder": added,
        "tokenizer_class": "LlamaTokenizer",
    }
    data = sentencepiece_model_bytes(tokenizer.model)
    write_atomically(folder / MODEL, lambda temporary: temporary.write_bytes(data))
    written = [MODEL, SPECIAL, CONFIG]
    if tokenizer.tokenizer_json is not None:
        bos, eos = _named(tokenizer, "bos_token"), _named(tokenizer, "eos_token")
        around = (bos if tokenizer.add_bos_token else None, eos if tokenizer.add_eos_token else None)
        changed = with_special_tokens_around(tokenizer.tokenizer_json, *around)
        write_atomically(folder / TOKENIZER_JSON, lambda temporary: temporary.write_bytes(changed))
        written.append(TOKENIZER_JSON)
    write_json(folder / SPECIAL, tokenizer.special_tokens_map)
    write_json(folder / CONFIG, config)
    return tuple(str(folder / name) for name in written)


def _named(tokenizer: "LlamaTokenizer", name: str) -> tuple[str, int] | None:
    """A special token and its id."""
    token, index = getattr(tokenizer, name), getattr(tokenizer, f"{name}_id")
    return None if token is None else (token, index)


def _json(home: Path | None, name: str) -> dict[str, Any]:
    """An optional JSON file beside the vocabulary."""
    return read_json(home / name) if home is not None and (home / name).exists() else {}


def _check_class(name: object, where: Path) -> None:
    if name not in (None, "LlamaTokenizer", "LlamaTokenizerFast"):
        warnings.warn(
            f"{where}: made for {name}; it is read as a LlamaTokenizer, whose ids may differ",
            LlamaWarning,
            stacklevel=4,
        )


def _declared(config: dict[str, Any], older: dict[str, Any], where: Path) -> dict[int, AddedToken]:
    """{id: token} of the added tokens that the folder lists."""
    listed = config.get("added_tokens_decoder")
    if listed is None:
        contents = [(str(value), key) for key, value in older.items()]
        special = {_token(config[name], where, name).content for name in NAMES if config.get(name) is not None}
        return {
            _index(index, where.with_name(ADDED)): AddedToken(key, key in special, normalized=key not in special)
            for index, key in contents
        }
    if not isinstance(listed, dict):
        raise LlamaError(
            "wrong kind",
            where=f"{where}: added_tokens_decoder",
            expected="an object",
            found=repr(listed)[:80],
        )
    return {_index(key, where): _token(value, where, "added_tokens_decoder") for key, value in listed.items()}


def _index(text: str, where: Path) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise LlamaError("no token id", where=where, expected="a number", found=repr(text)[:80])
    return int(text)


def _token(value: object, where: Path, name: str) -> AddedToken:
    """A token as Hugging Face writes it: a string, or an object with its text as "content"."""
    if isinstance(value, AddedToken):
        return value
    if isinstance(value, str) and value:
        return AddedToken(value)
    if isinstance(value, dict) and isinstance(value.get("content"), str) and value["content"]:
        if value.get("single_word"):
            raise LlamaError("single_word isn't implemented", where=f"{where}: {name}", found=value["content"])
        special = bool(value.get("special", True)) or name in NAMES
        flags = {flag: bool(value.get(flag, False)) for flag in ("lstrip", "rstrip", "normalized")}
        return AddedToken(value["content"], special, **flags)
    raise LlamaError("no token", where=f"{where}: {name}", expected="a string", found=repr(value)[:80])


def _list(value: object, where: Path, name: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise LlamaError("wrong kind", where=f"{where}: {name}", expected="a list", found=repr(value)[:80])


def _setting(value: object, kind: type, where: Path, name: str) -> Any:
    """A setting of the right kind. model_max_length is often written as 1e30, a float."""
    if kind is int and isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e30:
        return int(value)
    if kind is not int and isinstance(value, kind):
        return value
    expected = {bool: "true or false", str: "a string", int: "a positive number"}[kind]
    raise LlamaError("wrong kind", where=f"{where}: {name}", expected=expected, found=repr(value)[:80])
