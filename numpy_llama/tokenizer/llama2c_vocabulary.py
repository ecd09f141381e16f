"""llama2.c's tokenizer.bin: the pieces of a SentencePiece vocabulary and their scores, without their types.

    uint32       bytes of the longest piece
    for each piece:
        float32  score
        int32    number of bytes
        bytes    the piece, with a plain space for ▁, and <s> and </s> between line ends

What the types were is known of Llama's vocabularies: piece 0 is the unknown one, 1 and 2 are <s> and </s>, the next 256
are the bytes. Old files hold the characters U+0000 to U+00FF for those bytes, newer ones the names <0x00> to <0xFF>.

source  tokenizer.py and run.c of karpathy/llama2.c
"""

import struct
from pathlib import Path

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.sentencepiece_model import FILE_LIMIT, PieceType, SentencePieceModel, byte_piece

FILE = "tokenizer.bin"
SPACE = "\u2581"
LONGEST = struct.Struct("<I")
PIECE = struct.Struct("<fi")
UNKNOWN, BOS, EOS, FIRST_BYTE = 0, 1, 2, 3
MARKED = {BOS: "\n<s>\n", EOS: "\n</s>\n"}


def read_llama2c_vocabulary(path: Path) -> SentencePieceModel:
    """Read a tokenizer.bin.

    raises  LlamaError naming file and piece where it is missing, cut short or damaged, or no Llama vocabulary
    """
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise LlamaError("too large", where=path, expected=f"at most {FILE_LIMIT} bytes", found=size)
        data = path.read_bytes()
    except OSError as error:
        raise LlamaError(f"can't be read ({error.strerror or error})", where=path) from None
    pieces, scores = _pieces(data, path)
    if len(pieces) < FIRST_BYTE + 256:
        expected = f"{FIRST_BYTE + 256} pieces or more: three special ones and the bytes"
        raise LlamaError("too few pieces", where=path, expected=expected, found=len(pieces))
    types = [PieceType.NORMAL] * len(pieces)
    types[UNKNOWN], types[BOS], types[EOS] = PieceType.UNKNOWN, PieceType.CONTROL, PieceType.CONTROL
    for index, marked in MARKED.items():
        pieces[index] = marked.strip() if pieces[index] == marked else pieces[index]
    for byte in range(256):
        if pieces[FIRST_BYTE + byte] not in (byte_piece(byte), chr(byte)):
            where, found = f"{path}: piece {FIRST_BYTE + byte}", repr(pieces[FIRST_BYTE + byte])[:80]
            raise LlamaError("not a byte", where=where, expected=byte_piece(byte), found=found)
        pieces[FIRST_BYTE + byte] = byte_piece(byte)
        types[FIRST_BYTE + byte] = PieceType.BYTE
    pieces = [piece.replace(" ", SPACE) for piece in pieces]
    return SentencePieceModel(pieces, scores, [int(kind) for kind in types], source=str(path))


def llama2c_vocabulary_bytes(model: SentencePieceModel) -> bytes:
    """The tokenizer.bin of a vocabulary.

    raises  LlamaError where reading it would give another vocabulary: its types aren't Llama's, or a piece has a
            space of its own
    """
    data = [struct.pack("<I", 0)]
    longest = 0
    for index, (piece, score) in enumerate(zip(model.pieces, model.scores, strict=True)):
        text = MARKED.get(index, piece.replace(SPACE, " ")).encode("utf-8")
        longest = max(longest, len(text))
        data += [PIECE.pack(score, len(text)), text]
    data[0] = LONGEST.pack(longest)
    _check_is_llamas(model)
    return b"".join(data)


def _pieces(data: bytes, path: Path) -> tuple[list[str], list[float]]:
    pieces: list[str] = []
    scores: list[float] = []
    at = LONGEST.size
    if len(data) < at:
        raise LlamaError(
            "cut short", where=path, expected="the length of the longest piece", found=f"{len(data)} bytes"
        )
    while at < len(data):
        where = f"{path}: piece {len(pieces)}, byte {at}"
        if at + PIECE.size > len(data):
            raise LlamaError("cut short", where=where, expected=f"{PIECE.size} bytes", found=len(data) - at)
        score, length = PIECE.unpack_from(data, at)
        at += PIECE.size
        if not 0 <= length <= len(data) - at:
            raise LlamaError("wrong length", where=where, expected=f"0 to {len(data) - at}", found=length)
        try:
            pieces.append(data[at : at + length].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise LlamaError(f"not valid UTF-8 ({error.reason})", where=where) from None
        scores.append(score)
        at += length
    return pieces, scores


def _check_is_llamas(model: SentencePieceModel) -> None:
    expected = [PieceType.NORMAL] * len(model.pieces)
    expected[:FIRST_BYTE] = [PieceType.UNKNOWN, PieceType.CONTROL, PieceType.CONTROL]
    expected[FIRST_BYTE : FIRST_BYTE + 256] = [PieceType.BYTE] * 256
    special = [model.pieces[i] for i in (BOS, EOS) if i < len(model.pieces)]
    if list(model.types) != expected or special != ["<s>", "</s>"] or any(" " in piece for piece in model.pieces):
        wanted = "a vocabulary in the order of Llama's: <unk>, <s>, </s>, the bytes, then nothing but text"
        raise LlamaError("tokenizer.bin has no place for this vocabulary", where=model.source, expected=wanted)
