"""What a tokenizer.model says: every piece with its score and type, and the settings of the text around them.

It is read by hand (protobuf.py knows the format) because the sentencepiece library hides two things that
Llama's tokenizer needs: the type of a piece, and what is done to spaces. What this package doesn't compute
(another algorithm than BPE, a text normaliser) is refused by name, for ids that are nearly right are worse
than none.

Source: sentencepiece_model.proto of https://github.com/google/sentencepiece; Kudo & Richardson 2018.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.protobuf import (
    BYTES,
    FOUR_BYTES,
    VARINT,
    Reader,
    bytes_field,
    float_field,
    number_field,
)

MODEL_FILE = "tokenizer.model"
UNK_SURFACE = " \u2047 "  # sentencepiece's own: a double question mark between spaces
FILE_LIMIT = 64 * 1024 * 1024  # bytes; Llama 2's file has 0.5 MB, the largest in use 4 MB
BPE = 2
ALGORITHMS = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}


class PieceType(IntEnum):
    """What a piece is for. GGUF files use the same numbers."""

    NORMAL = 1  # text
    UNKNOWN = 2  # stands for whatever no piece spells
    CONTROL = 3  # <s>, </s>: never made from text, invisible when decoded
    USER_DEFINED = 4  # text that is always kept in one piece
    UNUSED = 5  # may be formed on the way, but falls apart again at the end
    BYTE = 6  # <0x00> … <0xFF>: one byte of a character that no piece spells


@dataclass(frozen=True)
class SentencePieceModel:
    """A checked vocabulary, from a tokenizer.model or from whatever holds the same facts (a GGUF header).

    pieces            the text of piece 0, 1, …, with U+2581 (▁) for a space
    scores            as many floats; of two possible merges, sentencepiece does the one whose piece scores
                      higher
    types             as many PieceType numbers
    byte_fallback     an unknown character becomes its UTF-8 bytes; otherwise it becomes the unknown piece
    add_dummy_prefix  a space is put before the text
    bos_id, eos_id, pad_id   piece numbers, −1 where there is none
    unk_surface       what the unknown piece looks like in decoded text
    source            the file's name, for messages
    raw               the file's own bytes, where it was read from one, so that a copy is the same file

    raises  LlamaError where sentencepiece couldn't use such a vocabulary either
    """

    pieces: list[str]
    scores: list[float]
    types: list[int]
    byte_fallback: bool = True
    add_dummy_prefix: bool = True
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    unk_surface: str = UNK_SURFACE
    source: str = "tokenizer"
    raw: bytes | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_pieces()
        self._check_bytes()
        for name in ("bos_id", "eos_id", "pad_id"):
            token_id = getattr(self, name)
            if not -1 <= token_id < len(self.pieces):
                raise self._error(f"{name} names no piece", expected=f"-1 to {len(self.pieces) - 1}", found=token_id)

    @property
    def unk_id(self) -> int:
        """The number of the unknown piece."""
        return self.types.index(PieceType.UNKNOWN)

    def ids_of(self, kind: PieceType) -> list[int]:
        """The numbers of all pieces of one type, ascending."""
        return [index for index, found in enumerate(self.types) if found == kind]

    def _check_pieces(self) -> None:
        count = len(self.pieces)
        if not len(self.scores) == len(self.types) == count:
            raise self._error(
                "pieces, scores and types differ in number",
                expected=f"{count} of each",
                found=f"{len(self.scores)} scores, {len(self.types)} types",
            )
        if not set(self.types) <= set(PieceType):
            index = next(i for i, kind in enumerate(self.types) if kind not in set(PieceType))
            raise self._error(f"piece {index} has no such type", expected="1 to 6", found=self.types[index])
        if "" in self.pieces:
            raise self._error(f"piece {self.pieces.index('')} is empty")
        if len(set(self.pieces)) != count:
            first = {piece: index for index, piece in reversed(list(enumerate(self.pieces)))}
            index = next(index for index, piece in enumerate(self.pieces) if first[piece] != index)
            raise self._error(f"piece {index} is there twice", found=repr(self.pieces[index]))
        if not all(map(math.isfinite, self.scores)):
            index = next(i for i, score in enumerate(self.scores) if not math.isfinite(score))
            raise self._error(f"piece {index} has no usable score", found=self.scores[index])
        unknown = self.types.count(PieceType.UNKNOWN)
        if unknown != 1:
            raise self._error("wrong number of unknown pieces (type 2)", expected=1, found=unknown)

    def _check_bytes(self) -> None:
        found = {self.pieces[index] for index in self.ids_of(PieceType.BYTE)}
        expected = set(map(byte_piece, range(256))) if self.byte_fallback else set()
        if found != expected:
            raise self._error(
                "the byte pieces don't fit byte_fallback",
                expected="<0x00> to <0xFF>" if self.byte_fallback else "none, for byte_fallback is off",
                found=f"{len(found)} byte pieces, {len(found & expected)} of them right",
            )

    def _error(self, what: str, *, expected: object = None, found: object = None) -> LlamaError:
        return LlamaError(what, where=self.source, expected=expected, found=found)


def byte_piece(byte: int) -> str:
    """The piece that stands for one byte: 65 → "<0x41>"."""
    return f"<0x{byte:02X}>"


def read_sentencepiece_model(path: str | Path) -> SentencePieceModel:
    """Read a tokenizer.model.

    raises  LlamaError, naming the file and the byte, where it is missing, cut short, damaged, or asks for
            something this package doesn't compute
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            limit = f"at most {FILE_LIMIT} bytes"
            raise LlamaError("too large for a tokenizer", where=path, expected=limit, found=size)
        data = path.read_bytes()
    except OSError as error:
        raise LlamaError(f"can't be read ({error.strerror})", where=path) from None
    return parse_sentencepiece_model(data, str(path))


def parse_sentencepiece_model(data: bytes, source: str = MODEL_FILE) -> SentencePieceModel:
    """The same from bytes. `source` is what messages call them."""
    reader = Reader(data, source)
    pieces: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[str, Any] = {}
    normalizer: dict[str, Any] = {}
    denormalizer: dict[str, Any] = {}
    for part, start, end in reader.fields(0, len(data), dict.fromkeys(MODEL, BYTES)):
        if MODEL[part] == "piece":
            text, score, kind = "", 0.0, int(PieceType.NORMAL)
            for number, begin, stop in reader.fields(start, end, PIECE):
                if number == 1:
                    text = reader.text(begin, stop)
                elif number == 2:
                    score = reader.float(begin)
                else:
                    kind = reader.unsigned(begin, stop)
            pieces.append(text)
            scores.append(score)
            types.append(kind)
        elif MODEL[part] == "trainer":
            trainer |= _settings(reader, start, end, TRAINER)
        elif MODEL[part] == "normalizer":
            normalizer |= _settings(reader, start, end, NORMALIZER)
        else:
            denormalizer |= _settings(reader, start, end, NORMALIZER)
    for name, settings in (("training settings", trainer), ("settings of the normaliser", normalizer)):
        if not settings:
            raise LlamaError(f"the {name} are missing: cut short?", where=source, found=f"{len(data)} bytes")
    _refuse_what_is_not_computed(source, trainer, normalizer, denormalizer)
    return SentencePieceModel(
        pieces,
        scores,
        types,
        byte_fallback=bool(trainer.get("byte_fallback", 0)),
        add_dummy_prefix=bool(normalizer.get("add_dummy_prefix", 1)),
        bos_id=trainer.get("bos_id", 1),
        eos_id=trainer.get("eos_id", 2),
        pad_id=trainer.get("pad_id", -1),
        unk_surface=trainer.get("unk_surface", UNK_SURFACE),
        source=source,
        raw=data,
    )


# The fields that matter: {number: name}, or {number: (name, wire type)}. All others are skipped.
MODEL = {1: "piece", 2: "trainer", 3: "normalizer", 5: "denormalizer"}
PIECE = {1: BYTES, 2: FOUR_BYTES, 3: VARINT}  # text, score, type
TRAINER = {
    3: ("model_type", VARINT),
    24: ("treat_whitespace_as_suffix", VARINT),
    35: ("byte_fallback", VARINT),
    41: ("bos_id", VARINT),
    42: ("eos_id", VARINT),
    43: ("pad_id", VARINT),
    44: ("unk_surface", BYTES),
}
NORMALIZER = {
    1: ("name", BYTES),
    2: ("precompiled_charsmap", BYTES),
    3: ("add_dummy_prefix", VARINT),
    4: ("remove_extra_whitespaces", VARINT),
    5: ("escape_whitespaces", VARINT),
}


def _settings(reader: Reader, start: int, end: int, known: dict[int, tuple[str, int]]) -> dict[str, Any]:
    """{name: value} of a message of numbers and strings; of the table of characters, its length."""
    found: dict[str, Any] = {}
    for number, begin, stop in reader.fields(start, end, {n: wire for n, (_, wire) in known.items()}):
        name, wire = known[number]
        if wire == VARINT:
            found[name] = reader.signed(begin, stop)
        else:
            found[name] = stop - begin if name == "precompiled_charsmap" else reader.text(begin, stop)
    return found


def _refuse_what_is_not_computed(
    source: str, trainer: dict[str, Any], normalizer: dict[str, Any], denormalizer: dict[str, Any]
) -> None:
    """Stop at the first setting that would need code this package doesn't have."""
    algorithm = trainer.get("model_type", 1)
    if algorithm != BPE:
        found = ALGORITHMS.get(algorithm, f"number {algorithm}")
        raise LlamaError("another algorithm than BPE", where=source, expected="BPE", found=found)
    for settings in (normalizer, denormalizer):
        if settings.get("precompiled_charsmap", 0):
            name = settings.get("name") or "a table of characters without a name"
            raise LlamaError("this normaliser isn't implemented", where=source, expected="identity", found=name)
    for settings, name, default, allowed in (
        (trainer, "treat_whitespace_as_suffix", 0, 0),
        (normalizer, "remove_extra_whitespaces", 1, 0),
        (normalizer, "escape_whitespaces", 1, 1),
    ):
        if settings.get(name, default) != allowed:
            found = settings.get(name, default)
            raise LlamaError(f"{name} isn't implemented", where=source, expected=allowed, found=found)


def sentencepiece_model_bytes(model: SentencePieceModel) -> bytes:
    """The tokenizer.model of a vocabulary: the file it was read from or, if there was none, a new one."""
    if model.raw is not None:
        return model.raw
    ids = (model.unk_id, model.bos_id, model.eos_id, model.pad_id)
    trainer = [
        number_field(3, BPE),
        number_field(4, len(model.pieces)),
        number_field(35, model.byte_fallback),
        *(number_field(40 + place, index) for place, index in enumerate(ids)),
        bytes_field(44, model.unk_surface.encode()),
        *(bytes_field(45 + i, model.pieces[index].encode()) for i, index in enumerate(ids) if index >= 0),
    ]
    normalizer = [
        bytes_field(1, b"identity"),
        bytes_field(2, b""),
        number_field(3, model.add_dummy_prefix),
        number_field(4, 0),
        number_field(5, 1),
    ]
    pieces = [
        bytes_field(1, bytes_field(1, piece.encode()) + float_field(2, score) + number_field(3, kind))
        for piece, score, kind in zip(model.pieces, model.scores, model.types, strict=True)
    ]
    return b"".join([*pieces, bytes_field(2, b"".join(trainer)), bytes_field(3, b"".join(normalizer))])
