"""The tokenizer in the metadata of a GGUF file. There is no tokenizer.model in it: its lists stand among the metadata.

    tokenizer.ggml.model         "llama": SentencePiece, as Llama 1 and 2; "gpt2": bytes, as Llama 3 and SmolLM2
    tokenizer.ggml.tokens        the pieces, by id
    tokenizer.ggml.token_type    of each, SentencePiece's number: 1 text, 3 control, 6 byte, …
    tokenizer.ggml.scores        of each ("llama")
    tokenizer.ggml.merges        "Ġ t", …: pairs, best first ("gpt2")
    tokenizer.ggml.pre           how text is cut into words, by name ("gpt2")
    tokenizer.ggml.*_token_id    which token plays which part
    tokenizer.chat_template      a Jinja template

A SentencePiece vocabulary becomes what Transformers makes of it: merged by score, text cut at special tokens. With
legacy=True it is sentencepiece's own, as llama.cpp has it. A byte-level one is cut into words as the model's own
tokenizer.json says, also where Transformers doesn't know the name (SmolLM2's digits, each on its own).

source  https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; llama-vocab.cpp of llama.cpp for the defaults
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.gguf_header import GGUFHeader, read_gguf_header
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.base import Tokenizer
from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer
from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.piece_list import checked_merges
from numpy_llama.tokenizer.pre_tokenizers import GPT2, NAMED
from numpy_llama.tokenizer.sentencepiece_model import PieceType, SentencePieceModel

SENTENCEPIECE, BYTE_LEVEL = "llama", "gpt2"
MOST_CHARACTERS = 256  # of one piece: how it can be cut in two is worked out for each
PARTS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
SETTINGS = (
    *PARTS,
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "legacy",
    "split_special_tokens",
    "padding_side",
    "truncation_side",
    "model_max_length",
    "clean_up_tokenization_spaces",
    "chat_template",
    "use_default_system_prompt",
)
# Vocabularies of Llama 3: a word that is a token stays whole, and a text begins with <|begin_of_text|>.
LLAMA3_NAMES = ("llama-bpe", "llama3", "llama-v3")


def gguf_tokenizer(path: Path, **overrides: Any) -> Tokenizer:
    """The tokenizer in a GGUF file, or in the one of a folder.

    overrides  settings that go before the file's: add_bos_token=False, legacy=True, pad_token=…, …
    returns    a LlamaTokenizer or a ByteLevelTokenizer
    raises     LlamaError naming file and key, where there is no tokenizer, one of another kind, or one that can't be
    """
    unknown = sorted(set(overrides) - set(SETTINGS))
    if unknown:
        raise LlamaError("no such setting", where=", ".join(unknown), expected=", ".join(SETTINGS))
    if path.is_dir():
        from numpy_llama.checkpoints.gguf_file import gguf_path

        path = gguf_path(path)
    header = read_gguf_header(path)
    kind = header.require("tokenizer.ggml.model", str)
    settings = {**_settings(header), **overrides}
    if kind == SENTENCEPIECE:
        return _sentencepiece(header, settings)
    if kind == BYTE_LEVEL:
        return _byte_level(header, settings)
    where, expected = f"{path}: tokenizer.ggml.model", f"{SENTENCEPIECE!r} or {BYTE_LEVEL!r}"
    raise LlamaError("a tokenizer that isn't read", where=where, expected=expected, found=repr(kind)[:80])


def _settings(header: GGUFHeader) -> dict[str, Any]:
    """What the file says for both kinds of tokenizer, in the words of their constructors."""
    tokens = header.require("tokenizer.ggml.tokens", list)
    settings: dict[str, Any] = {}
    for name, part in PARTS.items():
        token_id = _token_id(header, part, len(tokens))
        if token_id is not None:
            settings[name] = tokens[token_id]
    for name in ("add_bos_token", "add_eos_token"):
        value = header.get(f"tokenizer.ggml.{name}", bool)
        if value is not None:
            settings[name] = value
    template = header.get("tokenizer.chat_template", str)
    if template is not None:
        settings["chat_template"] = template
    return settings


def _token_id(header: GGUFHeader, part: str, count: int) -> int | None:
    key = f"tokenizer.ggml.{part}_token_id"
    value = header.get(key, int)
    if value is not None and not 0 <= value < count:
        where = f"{header.path}: {key}"
        raise LlamaError("no such token", where=where, expected=f"0 to {count - 1}", found=value)
    return value


def _per_token(header: GGUFHeader, name: str, kinds: str, count: int) -> list[Any] | None:
    """An array with a number for each token, or None."""
    key = f"tokenizer.ggml.{name}"
    values = header.get(key, np.ndarray)
    if values is None:
        return None
    if len(values) != count or values.dtype.kind not in kinds:
        expected = f"{count} {'floats' if kinds == 'f' else 'integers'}, one for each token"
        found = f"{len(values)} of {values.dtype}"
        raise LlamaError("wrong vocabulary size", where=f"{header.path}: {key}", expected=expected, found=found)
    return values.tolist()


# -- bytes -------------------------------------------------------------------------------------------------------------


def _byte_level(header: GGUFHeader, settings: dict[str, Any]) -> ByteLevelTokenizer:
    tokens = header.require("tokenizer.ggml.tokens", list)
    types = _per_token(header, "token_type", "iu", len(tokens)) or [PieceType.NORMAL] * len(tokens)
    added = [
        AddedToken(token, special=kind == PieceType.CONTROL)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (PieceType.CONTROL, PieceType.USER_DEFINED)
    ]
    key = f"{header.path}: tokenizer.ggml.pre"
    name = header.get("tokenizer.ggml.pre", str, "default")
    if name == "default":
        message = f"{key}: the file doesn't say how text is cut into words; it is cut as GPT-2 does"
        warnings.warn(message, LlamaWarning, stacklevel=4)
    elif name not in NAMED:
        raise LlamaError("unknown pre-tokenizer", where=key, expected=", ".join(NAMED), found=repr(name)[:80])
    cut: Any = NAMED.get(name, GPT2)
    for unused in ("legacy", "add_prefix_space", "use_default_system_prompt"):
        settings.pop(unused, None)
    settings.setdefault("add_bos_token", name in LLAMA3_NAMES)
    return ByteLevelTokenizer(
        tokens,
        header.require("tokenizer.ggml.merges", list),
        pre_tokenizer=cut,
        ignore_merges=name in LLAMA3_NAMES,
        added_tokens=added,
        source=str(header.path),
        **settings,
    )


# -- SentencePiece -----------------------------------------------------------------------------------------------------


def _sentencepiece(header: GGUFHeader, settings: dict[str, Any]) -> LlamaTokenizer:
    pieces = header.require("tokenizer.ggml.tokens", list)
    count = len(pieces)
    scores = _per_token(header, "scores", "f", count)
    types = _per_token(header, "token_type", "iu", count)
    for name, values in (("scores", scores), ("token_type", types)):
        if values is None:
            raise LlamaError("missing metadata", where=f"{header.path}: tokenizer.ggml.{name}")
    assert scores is not None and types is not None
    bos, eos, pad = (_token_id(header, part, count) for part in ("bos", "eos", "padding"))
    model = SentencePieceModel(
        pieces,
        scores,
        types,
        byte_fallback=PieceType.BYTE in types,
        add_dummy_prefix=header.get("tokenizer.ggml.add_space_prefix", bool, True),
        bos_id=(1 if count > 1 else -1) if bos is None else bos,
        eos_id=(2 if count > 2 else -1) if eos is None else eos,
        pad_id=-1 if pad is None else pad,
        source=str(header.path),
    )
    settings.setdefault("add_prefix_space", model.add_dummy_prefix)
    written = header.get("tokenizer.ggml.merges", list)
    if settings.get("legacy"):
        merges = None
    elif written is not None:
        merges = checked_merges(written, pieces, f"{header.path}: tokenizer.ggml.merges")
    else:
        merges = merges_by_score(pieces, scores, str(header.path))
    return LlamaTokenizer(model, merges, **settings)


def merges_by_score(pieces: Sequence[str], scores: Sequence[float], source: str = "vocab") -> list[tuple[str, str]]:
    """Every way to make a piece out of two others: the piece with the highest score first, as SentencePiece learned
    them; of one score, the longer left half first, then the longer right half.

    raises  LlamaError where a piece is longer than MOST_CHARACTERS
    source  generate_merges of Transformers
    """
    id_of = {piece: index for index, piece in enumerate(pieces)}
    found: list[tuple[float, str, str]] = []
    for index, (piece, score) in enumerate(zip(pieces, scores, strict=True)):
        if len(piece) > MOST_CHARACTERS:
            expected = f"at most {MOST_CHARACTERS} characters"
            raise LlamaError(f"piece {index} is too long", where=source, expected=expected, found=len(piece))
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [pair for pair in halves if pair[0] in id_of and pair[1] in id_of]
        known.sort(key=lambda pair: (id_of[pair[0]], id_of[pair[1]]))
        found += [(score, *pair) for pair in known]
    found.sort(key=lambda one: (one[0], len(one[1]), len(one[2])), reverse=True)
    return [(left, right) for _, left, right in found]
