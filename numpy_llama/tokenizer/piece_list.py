"""A vocabulary without scores: pieces by id, as a tokenizer.json or a caller gives them, and merges to go with them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.sentencepiece_model import byte_piece


@dataclass(frozen=True)
class PieceList:
    """Pieces by id. byte_fallback: all 256 byte pieces are there, so no character is ever lost."""

    pieces: list[str]
    byte_fallback: bool
    source: str = "vocab"


def piece_list(vocab: object, source: str = "vocab") -> PieceList:
    """{piece: id}, or a list of pieces by id, checked.

    raises  LlamaError where a piece is no text, is there twice, or the ids aren't 0, 1, 2, …
    """
    if isinstance(vocab, PieceList):
        return vocab
    if isinstance(vocab, Mapping):
        pieces = _by_id(vocab, source)
    elif isinstance(vocab, Sequence) and not isinstance(vocab, str | bytes):
        pieces = list(vocab)
    else:
        raise LlamaError("no vocabulary", where=source, expected="{piece: id}, or a list", found=type(vocab).__name__)
    if not pieces:
        raise LlamaError("an empty vocabulary", where=source)
    for index, piece in enumerate(pieces):
        if not isinstance(piece, str) or not piece or not _is_text(piece):
            raise LlamaError(f"piece {index} is no text", where=source, found=repr(piece)[:80])
    known = set(pieces)
    if len(known) != len(pieces):
        seen: set[str] = set()
        twice = next(piece for piece in pieces if piece in seen or seen.add(piece))  # type: ignore[func-returns-value]
        raise LlamaError("a piece is there twice", where=source, found=repr(twice)[:80])
    return PieceList(pieces, all(byte_piece(byte) in known for byte in range(256)), source)


def checked_merges(merges: object, pieces: Iterable[str], where: str) -> list[tuple[str, str]]:
    """Merges, best first, each ("a", "b") or "a b".

    raises  LlamaError where one isn't two pieces that make a third
    """
    if not isinstance(merges, Sequence) or isinstance(merges, str | bytes):
        raise LlamaError("no list", where=where, found=type(merges).__name__)
    known = set(pieces)
    checked = []
    for place, pair in enumerate(merges):
        halves: Any = pair.split(" ") if isinstance(pair, str) else pair
        if (
            not isinstance(halves, list | tuple)
            or len(halves) != 2
            or not all(isinstance(half, str) for half in halves)
            or not known.issuperset((*halves, halves[0] + halves[1]))
        ):
            expected, found = "two pieces that make a third", repr(pair)[:80]
            raise LlamaError("no merge", where=f"{where}, number {place}", expected=expected, found=found)
        checked.append((halves[0], halves[1]))
    return checked


def _by_id(vocab: Mapping[Any, Any], source: str) -> list[Any]:
    pieces: list[Any] = [None] * len(vocab)
    for piece, index in vocab.items():
        if type(index) is not int or not 0 <= index < len(pieces):
            expected = f"0 to {len(pieces) - 1}, without a gap"
            raise LlamaError(f"the id of {piece!r:.80}", where=source, expected=expected, found=repr(index)[:80])
        if pieces[index] is not None:
            raise LlamaError("two pieces with one id", where=source, found=f"{pieces[index]!r:.80} and {piece!r:.80}")
        pieces[index] = piece
    return pieces


def _is_text(piece: str) -> bool:
    try:
        piece.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
