"""The folder of a LlamaTokenizer, as Hugging Face lays it out.

    tokenizer.model   the vocabulary, as sentencepiece writes it
    tokenizer.json    the vocabulary with its merges, and the special tokens around a text; see tokenizer_json.py

One of the two must be there. With both, the pieces have to be the same, and the merges are tokenizer.json's. The files
beside them, with settings and special tokens, are in folder_settings.py.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.files import write_atomically
from numpy_llama.tokenizer.folder_settings import SETTINGS as COMMON
from numpy_llama.tokenizer.folder_settings import read_settings, write_settings
from numpy_llama.tokenizer.sentencepiece_model import read_sentencepiece_model, sentencepiece_model_bytes
from numpy_llama.tokenizer.tokenizer_json import TOKENIZER_JSON, read_tokenizer_json, tokenizer_json_bytes

if TYPE_CHECKING:
    from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer

MODEL = "tokenizer.model"
SETTINGS: dict[str, type] = {**COMMON, "legacy": bool, "use_default_system_prompt": bool}
CLASSES = (None, "LlamaTokenizer", "LlamaTokenizerFast")
ANY_PIPELINE = ("PreTrainedTokenizerFast", "TokenizersBackend")  # the names for a tokenizer.json taken as it stands


def read_folder(cls: type["LlamaTokenizer"], folder: Path, overrides: dict[str, Any]) -> "LlamaTokenizer":
    """Build a tokenizer from a folder, or from a tokenizer.model or tokenizer.json alone. Settings in `overrides` go
    first.

    raises  LlamaError
    """
    of_model, of_json = _files(folder)
    model = None if of_model is None else read_sentencepiece_model(of_model)
    json = None if of_json is None else read_tokenizer_json(of_json, model)
    home = folder if folder.is_dir() else None
    read = read_settings(home, overrides, SETTINGS, None if json is None else json.added)
    prepend = json.prepend if json is not None and read.class_name in ANY_PIPELINE else None
    if read.class_name not in CLASSES and prepend is None:
        warnings.warn(
            f"{read.where}: made for {read.class_name}; it is read as a LlamaTokenizer, whose ids may differ",
            LlamaWarning,
            stacklevel=3,
        )
    settings: dict[str, Any] = {**read.settings, "added_tokens": read.added, "kept": read.kept}
    settings |= {name: token for name, token in read.named.items() if token is not None}
    if json is not None:
        said = {"add_bos_token", "add_eos_token"} & set(overrides)
        before, after = _sides(json.template.single)
        settings |= {"merges": json.merges, "template": None if said else json.template}
        settings = {"add_bos_token": before and not said, "add_eos_token": after and not said} | settings
    if prepend is not None:
        settings["prepend"] = "first" if prepend == "never" else prepend
        settings["add_prefix_space"] = overrides.get("add_prefix_space", prepend != "never")
    vocab = model if model is not None else json.pieces if json is not None else None
    tokenizer = cls(vocab, **settings)
    tokenizer.has_json = json is not None
    read.finish(tokenizer)
    return tokenizer


def write_folder(tokenizer: "LlamaTokenizer", folder: Path) -> tuple[str, ...]:
    """Write the files that transformers' AutoTokenizer needs to build the same tokenizer.

    (Not the same in legacy mode: by that word transformers 5 means something else than sentencepiece.)

    returns  the paths
    """
    written: list[str] = []
    if tokenizer.model is not None:
        data = sentencepiece_model_bytes(tokenizer.model)
        write_atomically(folder / MODEL, lambda temporary: temporary.write_bytes(data))
        written.append(MODEL)
    if tokenizer.model is None or tokenizer.has_json:
        content = tokenizer_json_bytes(tokenizer)
        write_atomically(folder / TOKENIZER_JSON, lambda temporary: temporary.write_bytes(content))
        written.append(TOKENIZER_JSON)
    class_name = "LlamaTokenizer" if tokenizer.prepend == "first" else ANY_PIPELINE[0]
    written += write_settings(tokenizer, folder, class_name, SETTINGS)
    return tuple(str(folder / name) for name in written)


def _files(folder: Path) -> tuple[Path | None, Path | None]:
    """tokenizer.model and tokenizer.json, as far as they are there."""
    if folder.is_file():
        return (None, folder) if folder.suffix == ".json" else (folder, None)
    if not folder.is_dir():
        raise LlamaError("no such folder", where=folder, expected=f"a folder with a {MODEL} or {TOKENIZER_JSON}")
    model, json = (path if (path := folder / name).exists() else None for name in (MODEL, TOKENIZER_JSON))
    if model is None and json is None:
        found = ", ".join(sorted(file.name for file in folder.glob("token*"))) or "no tokenizer file"
        expected = f"a SentencePiece vocabulary, or a {TOKENIZER_JSON}"
        raise LlamaError("no such file", where=folder / MODEL, expected=expected, found=found)
    return model, json


def _sides(single: tuple[tuple[int | str, int], ...]) -> tuple[bool, bool]:
    """Whether a template puts something before a text, and behind it."""
    return isinstance(single[0][0], int), isinstance(single[-1][0], int)
