"""The merge loop, against an oracle that one can see is right, and against both libraries on any vocabulary."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.tokenizer import LlamaTokenizer, SentencePieceModel
from numpy_llama.tokenizer.bpe import MergeListBPE, SentencePieceBPE, merge
from numpy_llama.tokenizer.sentencepiece_model import byte_piece, sentencepiece_model_bytes


def merge_slowly(symbols: Sequence[str], rank) -> list[str]:
    """Look at all neighbours, merge the best of them (the leftmost of equals), and start again."""
    symbols = list(symbols)
    while True:
        ranks = [rank(left, right) for left, right in pairwise(symbols)]
        possible = [(found, place) for place, found in enumerate(ranks) if found is not None]
        if not possible:
            return symbols
        _, place = min(possible)
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


PIECES = st.lists(st.text("ab", min_size=2, max_size=6), unique=True, max_size=20)


@given(st.text("ab", max_size=40), PIECES, st.booleans())
def test_merging_is_what_looking_at_all_pairs_would_give(text, pieces, ties):
    order = {piece: place // 3 if ties else place for place, piece in enumerate(pieces)}
    assert merge(list(text), lambda a, b: order.get(a + b)) == merge_slowly(text, lambda a, b: order.get(a + b))


@given(st.text("ab", max_size=40), PIECES)
def test_merging_keeps_the_text_and_leaves_nothing_to_merge(text, pieces):
    def rank(left: str, right: str) -> int | None:
        return pieces.index(left + right) if left + right in pieces else None

    merged = merge(list(text), rank)
    assert "".join(merged) == text
    assert all(rank(left, right) is None for left, right in pairwise(merged))


@pytest.mark.parametrize("n", [1_000, 10_000, 100_000])
def test_the_number_of_looks_grows_with_the_text_and_no_faster(n):
    looks = 0

    def rank(left: str, right: str) -> int | None:
        nonlocal looks
        looks += 1
        length = len(left) + len(right)
        return -length if length <= 16 else None

    merge(["a"] * n, rank)
    assert looks < 6 * n


def test_a_single_long_word(vocabulary):
    word = "ab" * 100_000
    assert vocabulary.legacy.encode(word) == vocabulary.sentencepiece.encode(word)
    assert vocabulary.default.encode(word) == vocabulary.tokenizers.encode(word).ids


# Any vocabulary, as long as the library takes it


@st.composite
def models(draw, types=(1, 1, 1, 1, 4, 5)) -> SentencePieceModel:
    """Small vocabularies over few letters, with every type of piece and with equal scores."""
    letters = draw(st.sampled_from(["ab", "abc", "ab▁", "a▁é", "ab▁<"]))
    pieces = draw(st.lists(st.text(letters, min_size=1, max_size=6), unique=True, min_size=1, max_size=24))
    byte_fallback = draw(st.booleans())
    head = ["<unk>", "<s>", "</s>", *(map(byte_piece, range(256)) if byte_fallback else [])]
    scores = [float(-draw(st.integers(0, 12))) for _ in pieces]
    # A control piece of one letter makes sentencepiece fail when it encodes.
    kinds = [draw(st.sampled_from((*types, 3) if len(piece) > 1 else types)) for piece in pieces]
    return SentencePieceModel(
        head + pieces,
        [0.0] * len(head) + scores,
        [2, 3, 3] + [6] * (len(head) - 3) + kinds,
        byte_fallback=byte_fallback,
        add_dummy_prefix=draw(st.booleans()),
    )


TEXTS = st.lists(st.text("abcé▁< z", max_size=16), min_size=4, max_size=4)


@settings(max_examples=150, deadline=None)
@given(models(), TEXTS, st.data())
def test_legacy_is_sentencepiece_with_any_vocabulary(judges, model, texts, data):
    ours = LlamaTokenizer(model, legacy=True, add_bos_token=False)
    judge = judges["sentencepiece"](sentencepiece_model_bytes(model))
    for text in texts:
        assert ours.encode(text) == judge.encode(text)
    ids = data.draw(st.lists(st.integers(0, len(ours) - 1), max_size=8))
    assert ours.decode(ids) == judge.decode(ids)


@settings(max_examples=150, deadline=None)
@given(models(types=(1, 1, 1, 5)), TEXTS, st.booleans(), st.data())
def test_default_is_tokenizers_with_any_vocabulary(judges, model, texts, add_prefix_space, data):
    ours = LlamaTokenizer(model, add_bos_token=False, add_prefix_space=add_prefix_space)
    judge = judges["tokenizers"](sentencepiece_model_bytes(model), add_prefix_space)
    for text in texts:
        assert ours.encode(text) == judge.encode(text).ids
    ids = data.draw(st.lists(st.integers(0, len(ours) - 1), max_size=8))
    assert ours.decode(ids) == judge.decode(ids, skip_special_tokens=False)
    assert ours.decode(ids, skip_special_tokens=True) == judge.decode(ids, skip_special_tokens=True)


@settings(deadline=None)
@given(models(), st.text("ab▁é", max_size=24))
def test_going_word_by_word_changes_nothing(model, text):
    for kind in (SentencePieceBPE, MergeListBPE):
        in_one = kind(model)
        in_one._one_by_one = False
        assert kind(model).encode(text) == in_one.encode(text)


def test_the_memory_of_words_is_bounded(vocabulary, monkeypatch):
    monkeypatch.setattr("numpy_llama.tokenizer.word_cache.CACHED_WORDS", 10)
    bpe = SentencePieceBPE(vocabulary.legacy.model)
    text = "".join(f"▁w{number}" for number in range(100)) * 2
    assert bpe.encode(text) == vocabulary.sentencepiece.encode(text.replace("▁", " ")[1:])
    assert len(bpe._cache) <= 10
