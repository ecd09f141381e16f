"""Cutting into words: what the docstrings show, what the judge does, and what is refused."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer import pre_tokenizers as ours
from numpy_llama.tokenizer.pre_tokenizers import BYTES_ONLY, GPT2, LLAMA3, LLAMA3_PATTERN, SMOLLM, read_pre_tokenizer


def split(regex, **fields):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False, **fields}


def test_the_two_that_the_docstring_shows():
    text = "It's 12345 o'clock"
    assert read_pre_tokenizer(LLAMA3, "")([text]) == ["It", "'s", " ", "123", "45", " o", "'clock"]
    smollm = ["It", "'s", " ", "1", "2", "3", "4", "5", " o", "'", "clock"]
    assert read_pre_tokenizer(SMOLLM, "")([text]) == smollm


@settings(deadline=None)
@given(st.data())
def test_every_cut_leaves_the_text_as_it_is(texts, data):
    text = data.draw(texts)
    for described in (GPT2, LLAMA3, SMOLLM):
        pieces = read_pre_tokenizer(described, "")([text] if text else [])
        assert "".join(pieces) == text
        assert all(pieces)


@settings(deadline=None)
@given(st.data())
def test_a_split_is_the_judges(texts, data):
    text = data.draw(texts)
    for pattern in (LLAMA3_PATTERN, r"\s", r"[\r\n]", r" ?\p{L}+", r"(?<=a)b|c(?!a)", r"[^a-f \-]+", r"\p{N}{1,3}"):
        for behavior in ("Isolated", "Removed"):
            for invert in (False, True):
                judge = pre_tokenizers.Split(Regex(pattern), behavior.lower(), invert)
                expected = [piece for piece, _ in judge.pre_tokenize_str(text)]
                cut = read_pre_tokenizer(split(pattern, behavior=behavior, invert=invert), "")
                assert cut([text] if text else []) == expected


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (None, "no pre-tokenizer; expected an object with a type"),
        ([], "no pre-tokenizer"),
        ({"type": 5}, "no pre-tokenizer"),
        (
            {"type": "Metaspace"},
            "no such pre-tokenizer here; expected ByteLevel, Split, Digits, Sequence, found 'Metaspace'",
        ),
        ({"type": "Whitespace"}, "found 'Whitespace'"),
        ({"type": "Sequence"}, "no steps"),
        ({"type": "Sequence", "pretokenizers": [GPT2] * 101}, "no steps"),
        ({"type": "Sequence", "pretokenizers": [GPT2, {"type": "Punctuation"}]}, r"file.pretokenizers\[1\]: no such"),
        ({"type": "Digits", "individual_digits": 1}, "file.individual_digits: wrong kind; expected true or false"),
        (GPT2 | {"use_regex": "yes"}, "use_regex: wrong kind"),
        (GPT2 | {"add_prefix_space": None}, "add_prefix_space: wrong kind"),
        (split("a", pattern="a"), "no pattern"),
        (split("a", pattern={"Regex": ""}), "no pattern"),
        (split("a", pattern={"Glob": "*"}), "no pattern"),
        (split("a", behavior="MergedWithPrevious"), "this isn't done here; expected Isolated or Removed"),
        (split("a", behavior="Removed", invert=0), "invert: wrong kind"),
        (split("("), "no pattern"),
        (split(r"\p{Klingon}"), "no pattern"),
        (split("a" * 20_000), "too long a pattern"),
        (split("a{1,3}+"), r"isn't read here; found '\{1,3\}\+'"),
        (split("^a"), r"isn't read here; found '\^'"),
        (split(r"a\b"), "isn't read here"),
        (split(r"\w+"), "isn't read here"),
        (split("[a-z&&[^b]]"), "isn't read here"),
        (split("(?P<name>a)"), "isn't read here"),
        (split("(?m)a"), "isn't read here"),
        (split("(?#a)"), "isn't read here"),
    ],
)
def test_what_is_refused(described, message):
    with pytest.raises(LlamaError, match=message):
        read_pre_tokenizer(described, "file")


def test_a_sequence_of_sequences_ends_somewhere():
    described = BYTES_ONLY
    for _ in range(50):
        described = {"type": "Sequence", "pretokenizers": [described]}
    with pytest.raises(LlamaError, match="nested too deeply"):
        read_pre_tokenizer(described, "file")


def test_a_pattern_that_would_take_for_ever_is_given_up(monkeypatch):
    monkeypatch.setattr(ours, "SECONDS", 0.2)
    cut = read_pre_tokenizer(split(r"(?:(?:a|aa)+)+(?=x)(?=y)"), "file")
    start = time.monotonic()
    with pytest.raises(LlamaError, match="takes for ever"):
        cut(["a" * 60])
    assert time.monotonic() - start < 20
