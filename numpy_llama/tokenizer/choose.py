"""Which kind of tokenizer a folder holds: told by its files, not by what they call themselves.

    tokenizer.json    a "ByteLevel" step in it: bytes (Llama 3, SmolLM2)    otherwise: SentencePiece's pieces (Llama 2)
    tokenizer.model   lines of base64 and a number: bytes, Meta's Llama 3   otherwise: SentencePiece's own format

tokenizer.json goes before tokenizer.model, as in transformers. The class that a folder names can't be trusted: many a
folder of Llama 3 calls its tokenizer a LlamaTokenizer.
"""

import re
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.files import JSON_LIMIT, as_path
from numpy_llama.tokenizer.base import Tokenizer
from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.tokenizer_folder import MODEL
from numpy_llama.tokenizer.tokenizer_json import TOKENIZER_JSON

BYTE_LEVEL_STEP = re.compile(rb'"type"\s*:\s*"ByteLevel"')  # no token can spell this: JSON would write its quotes as \"
TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?(\n|$)")


def tokenizer_for(path: str | Path, **overrides: Any) -> Tokenizer:
    """The tokenizer in a folder, a tokenizer.json or a tokenizer.model, of whichever kind it is.

    overrides  settings that go before those in the folder, as in from_pretrained of either class
    raises     LlamaError where there is no tokenizer, or it is damaged, or of a kind that isn't read here
    """
    place = as_path(path)
    if is_byte_level(place):
        from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer  # it needs the regex package

        return ByteLevelTokenizer.from_pretrained(place, **overrides)
    return LlamaTokenizer.from_pretrained(place, **overrides)


def has_tokenizer_files(folder: Path) -> bool:
    """Whether a folder holds a tokenizer.json or a tokenizer.model."""
    return any((folder / name).is_file() for name in (TOKENIZER_JSON, MODEL))


def is_byte_level(path: Path) -> bool:
    """Whether a folder or file holds a byte-level tokenizer; where there is none at all, False.

    raises  LlamaError where a file can't be read
    """
    if path.is_dir():
        files = [path / name for name in (TOKENIZER_JSON, MODEL) if (path / name).is_file()]
        if not files:
            return False
        path = files[0]
    try:
        with path.open("rb") as file:
            if path.suffix == ".json":
                return BYTE_LEVEL_STEP.search(file.read(JSON_LIMIT)) is not None
            return TIKTOKEN_LINE.match(file.read(4096)) is not None
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LlamaError(f"can't be read ({error.strerror or error})", where=path) from None
