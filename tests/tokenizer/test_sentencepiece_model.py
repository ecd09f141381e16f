"""Reading a tokenizer.model: what the library sees in it, and what happens with files that aren't whole."""

import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer import SentencePieceModel, read_sentencepiece_model
from numpy_llama.tokenizer.protobuf import bytes_field, number_field
from numpy_llama.tokenizer.sentencepiece_model import (
    PieceType,
    byte_piece,
    parse_sentencepiece_model,
    sentencepiece_model_bytes,
)


def small(**changes) -> SentencePieceModel:
    pieces = ["<unk>", "<s>", "</s>", *map(byte_piece, range(256)), "▁", "a", "b", "ab", "▁a"]
    facts = {
        "pieces": pieces,
        "scores": [0.0] * 259 + [-3.0, -4.0, -5.0, -1.0, -2.0],
        "types": [2, 3, 3] + [6] * 256 + [1] * 5,
    }
    return SentencePieceModel(**(facts | changes))


SMALL = sentencepiece_model_bytes(small())


# What the library sees


def test_pieces_scores_and_types_are_those_the_library_sees(vocabulary):
    model, judge = read_sentencepiece_model(vocabulary.path), vocabulary.sentencepiece
    ids = range(judge.get_piece_size())
    assert model.pieces == [judge.id_to_piece(index) for index in ids]
    assert model.scores == [judge.get_score(index) for index in ids]
    kinds = {PieceType.UNKNOWN: judge.is_unknown, PieceType.CONTROL: judge.is_control}
    kinds |= {PieceType.UNUSED: judge.is_unused, PieceType.BYTE: judge.is_byte}
    for kind, asked in kinds.items():
        assert model.ids_of(kind) == [index for index in ids if asked(index)]
    assert (model.unk_id, model.bos_id, model.eos_id) == (judge.unk_id(), judge.bos_id(), judge.eos_id())
    assert model.pad_id == judge.pad_id()


def test_the_library_reads_what_is_written(judges):
    model = small()
    judge = judges["sentencepiece"](sentencepiece_model_bytes(model))
    assert [judge.id_to_piece(index) for index in range(judge.get_piece_size())] == model.pieces
    assert judge.encode("ab é") == [259, 262, 259, 198, 172]


@given(
    st.lists(st.text(min_size=1), max_size=8, unique=True),
    st.data(),
    st.booleans(),
    st.booleans(),
)
def test_writing_and_reading_changes_nothing(pieces, data, byte_fallback, add_dummy_prefix):
    pieces = [piece for piece in pieces if not piece.startswith("<")]
    head = ["<unk>", *(map(byte_piece, range(256)) if byte_fallback else [])]
    count = len(head) + len(pieces)
    model = SentencePieceModel(
        head + pieces,
        [data.draw(st.floats(width=32, allow_nan=False, allow_infinity=False)) for _ in range(count)]
        if count < 20
        else [0.0] * count,
        [2] + [6] * (len(head) - 1) + [data.draw(st.sampled_from([1, 3, 4, 5])) for _ in pieces],
        byte_fallback=byte_fallback,
        add_dummy_prefix=add_dummy_prefix,
        bos_id=data.draw(st.integers(-1, count - 1)),
        eos_id=data.draw(st.integers(-1, count - 1)),
        unk_surface=data.draw(st.text()),
        source="x",
    )
    assert parse_sentencepiece_model(sentencepiece_model_bytes(model), "x") == model


def test_a_file_that_was_read_is_written_again_byte_by_byte(vocabulary):
    assert sentencepiece_model_bytes(read_sentencepiece_model(vocabulary.path)) == vocabulary.data


# Files that aren't whole


def check(data: bytes) -> None:
    """A damaged file is a LlamaError that names it, or still a vocabulary."""
    try:
        model = parse_sentencepiece_model(data, "damaged.model")
    except LlamaError as error:
        assert "damaged.model" in str(error)  # noqa: PT017
    else:
        assert model.types.count(PieceType.UNKNOWN) == 1


@pytest.mark.parametrize("length", [*range(80), *range(len(SMALL) - 160, len(SMALL))])
def test_a_file_cut_short_anywhere_is_refused(length):
    with pytest.raises(LlamaError, match=r"cut\.model"):
        parse_sentencepiece_model(SMALL[:length], "cut.model")


def test_a_long_file_cut_short_is_refused(vocabulary):
    size = len(vocabulary.data)
    for length in (1, 2, 15, size // 3, size // 3 + 1, size // 2, size - size // 50):
        with pytest.raises(LlamaError, match="cut short"):
            parse_sentencepiece_model(vocabulary.data[:length])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_flipped_bytes_do_no_worse(data):
    damaged = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(damaged))


@given(st.binary())
def test_any_bytes_do_no_worse(data):
    with pytest.raises(LlamaError):
        parse_sentencepiece_model(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "reaches past the end"),
        (b"\x0a" + b"\xff" * 11, "number doesn't end"),
        (b"\x0a\x05\x0a\xff\xff\xff\x7f", "reaches past the end"),
        (b"\x0b", "not a protobuf field"),
        (b"\x00\x00", "not a protobuf field"),
        (b"\x08\x01", "wrong wire type"),
        (b"\x0a\x04\x0a\x02\xff\xfe", "isn't UTF-8"),
        (b"\x0d\x00", "reaches past the end"),
        (b"", "training settings are missing"),
        (b"<!DOCTYPE html><html></html>", "byte"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "byte"),
        (b"PK\x03\x04", "byte"),
    ],
)
def test_what_is_wrong_is_said_with_the_byte(data, message):
    with pytest.raises(LlamaError, match=message):
        parse_sentencepiece_model(data)


def test_time_is_bounded_by_the_size():
    data = b"\x12\x00" * 500_000 + b"\x0a\x00" * 500_000  # a million empty fields
    start = time.process_time()
    with pytest.raises(LlamaError):
        parse_sentencepiece_model(data)
    assert time.process_time() - start < 20


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(LlamaError, match=r"nowhere\.model.*No such file"):
        read_sentencepiece_model(tmp_path / "nowhere.model")
    with pytest.raises(LlamaError, match="can't be read"):
        read_sentencepiece_model(tmp_path)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = Path(tmp_path / "huge.model")
    with path.open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    with pytest.raises(LlamaError, match="too large"):
        read_sentencepiece_model(path)


# What this package doesn't compute


def with_settings(trainer: bytes = b"", normalizer: bytes = b"", extra: bytes = b"") -> bytes:
    """SMALL with settings added at its end; the last one of a kind counts."""
    return SMALL + bytes_field(2, trainer) + bytes_field(3, normalizer) + extra


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_settings(trainer=number_field(3, 1)), "expected BPE, found unigram"),
        (with_settings(trainer=number_field(3, 4)), "expected BPE, found char"),
        (with_settings(trainer=number_field(3, 77)), "found number 77"),
        (with_settings(trainer=number_field(24, 1)), "treat_whitespace_as_suffix"),
        (with_settings(normalizer=number_field(4, 1)), "remove_extra_whitespaces"),
        (with_settings(normalizer=number_field(5, 0)), "escape_whitespaces"),
        (with_settings(normalizer=bytes_field(1, b"nmt_nfkc") + bytes_field(2, b"\x01\x02")), "nmt_nfkc"),
        (with_settings(extra=bytes_field(5, bytes_field(2, b"\x01"))), "normaliser"),
    ],
)
def test_it_is_refused_by_name(data, message):
    with pytest.raises(LlamaError, match=message):
        parse_sentencepiece_model(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.0]}, "differ in number"),
        ({"pieces": [*small().pieces[:-1], ""]}, "piece 263 is empty"),
        ({"pieces": [*small().pieces[:-1], "a"]}, "piece 263 is there twice"),
        ({"scores": [*small().scores[:-1], float("nan")]}, "no usable score"),
        ({"types": [1, *small().types[1:]]}, "unknown pieces"),
        ({"types": [2, 2, *small().types[2:]]}, "unknown pieces"),
        ({"types": [*small().types[:-1], 9]}, "no such type"),
        ({"types": [*small().types[:-1], 6]}, "byte pieces"),
        ({"byte_fallback": False}, "byte pieces"),
        ({"bos_id": 264}, "bos_id names no piece"),
        ({"pad_id": -2}, "pad_id names no piece"),
    ],
)
def test_impossible_vocabularies_are_refused(changes, message):
    with pytest.raises(LlamaError, match=message):
        small(**changes)


def test_a_piece_of_no_type_is_refused():
    piece = bytes_field(1, b"zz") + b"\x15" + struct.pack("<f", -9.0) + number_field(3, 200)
    with pytest.raises(LlamaError, match="no such type"):
        parse_sentencepiece_model(SMALL + bytes_field(1, piece))


def test_the_raw_bytes_are_no_part_of_equality():
    assert replace(small(), raw=b"x") == small()
