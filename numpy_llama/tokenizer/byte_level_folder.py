"""The folder of a ByteLevelTokenizer: Hugging Face's, or Meta's.

    tokenizer.json         everything but the settings; see byte_level_json.py. It goes first where both are there
    tokenizer.model        Meta's list of ranks; see tiktoken_ranks.py. What it doesn't say is Llama 3's: the pattern,
                           the special tokens, <|begin_of_text|> before every text

The files beside them, with settings and special tokens, are in folder_settings.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError
from numpy_llama.files import write_atomically
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.byte_level_json import byte_level_json_bytes, read_byte_level_json
from numpy_llama.tokenizer.folder_settings import SETTINGS as COMMON
from numpy_llama.tokenizer.folder_settings import FolderSettings, read_settings, write_settings
from numpy_llama.tokenizer.pre_tokenizers import LLAMA3
from numpy_llama.tokenizer.tiktoken_ranks import LLAMA4_SIZE, llama3_special_tokens, read_tiktoken_ranks

if TYPE_CHECKING:
    from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer

MODEL, JSON = "tokenizer.model", "tokenizer.json"
# The class keeps add_prefix_space as it came: whether a space is put before a text is said by the pre-tokenizer.
SETTINGS = {name: kind for name, kind in COMMON.items() if name != "add_prefix_space"}


def read_byte_level_folder(
    cls: type["ByteLevelTokenizer"], folder: Path, overrides: dict[str, Any]
) -> "ByteLevelTokenizer":
    """Build a tokenizer from a folder, or from one of the two files alone. Settings in `overrides` go first.

    raises  LlamaError
    """
    path = _file(folder)
    home = folder if folder.is_dir() else None
    if path.suffix == ".json":
        return _from_json(cls, path, home, overrides)
    return _from_ranks(cls, path, home, overrides)


def write_byte_level_folder(tokenizer: "ByteLevelTokenizer", folder: Path) -> tuple[str, ...]:
    """Write the files that transformers' AutoTokenizer needs to build the same tokenizer.

    returns  the paths
    """
    content = byte_level_json_bytes(tokenizer)
    write_atomically(folder / JSON, lambda temporary: temporary.write_bytes(content))
    written = (JSON, *write_settings(tokenizer, folder, "PreTrainedTokenizerFast", SETTINGS))
    return tuple(str(folder / name) for name in written)


def _from_json(
    cls: type["ByteLevelTokenizer"], path: Path, home: Path | None, overrides: dict[str, Any]
) -> "ByteLevelTokenizer":
    read = read_byte_level_json(path)
    settings = read_settings(home, overrides, SETTINGS, read.added)
    settings = replace(settings, declared={**read.added, **settings.declared})
    said = {"add_bos_token", "add_eos_token"} & set(overrides)
    before, after = (isinstance(read.template.single[end][0], int) for end in (0, -1))
    around: dict[str, Any] = (
        {} if said else {"template": read.template, "add_bos_token": before, "add_eos_token": after}
    )
    tokenizer = cls(**read.arguments, **(_arguments(settings) | around))
    for index, token in read.added.items():
        found = tokenizer.convert_tokens_to_ids(token.content)
        if found != index:
            what = f"added token {token.content!r:.80} can't have this id"
            raise LlamaError(what, where=f"{path}: added_tokens", expected=found, found=index)
    top = max((part for part, _ in (*read.template.single, *read.template.pair) if isinstance(part, int)), default=-1)
    if top >= len(tokenizer):
        expected = f"below {len(tokenizer)}"
        raise LlamaError("a special token without an id", where=f"{path}: post_processor", expected=expected, found=top)
    settings.finish(tokenizer)
    return tokenizer


def _from_ranks(
    cls: type["ByteLevelTokenizer"], path: Path, home: Path | None, overrides: dict[str, Any]
) -> "ByteLevelTokenizer":
    tokens = read_tiktoken_ranks(path)
    if len(tokens) == LLAMA4_SIZE:
        what = "a vocabulary of Llama 4's size, whose words are cut by another pattern"
        raise LlamaError(what, where=path, expected="Llama 3's, 128000 tokens", found=len(tokens))
    special = llama3_special_tokens()
    if known := set(special) & set(tokens):
        raise LlamaError("a special token in the vocabulary itself", where=path, found=sorted(known)[0])
    settings = read_settings(home, overrides, SETTINGS)
    own = {len(tokens) + place: AddedToken(content) for place, content in enumerate(special)}
    settings = replace(settings, declared={**own, **settings.declared})
    named = {"bos_token": special[0], "eos_token": special[1], "pad_token": special[4]}
    arguments = {"add_bos_token": True} | named | _arguments(settings)
    tokenizer = cls(tokens, None, pre_tokenizer=LLAMA3, ignore_merges=True, source=str(path), **arguments)
    settings.finish(tokenizer)
    return tokenizer


def _arguments(settings: FolderSettings) -> dict[str, Any]:
    """Of the constructor. A token that plays a part (bos_token, …) is special, whatever the file says of it."""
    named = {name: replace(token, special=True) for name, token in settings.named.items() if token is not None}
    parts = {token.content for token in named.values()}
    added = [replace(token, special=True) if token.content in parts else token for token in settings.added]
    return {**settings.settings, **named, "added_tokens": added, "kept": settings.kept}


def _file(folder: Path) -> Path:
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise LlamaError("no such folder", where=folder, expected=f"a folder with a {JSON} or {MODEL}")
    for name in (JSON, MODEL):
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(file.name for file in folder.glob("token*"))) or "no tokenizer file"
    raise LlamaError("no such file", where=folder / JSON, expected=f"a {JSON} or {MODEL}", found=found)
