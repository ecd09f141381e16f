"""Byte-level tokenizers beside the `tokenizers` library: real vocabularies, any vocabulary, any text, any ids."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.byte_level_bpe import BYTE_CHARACTERS, bytes_of, characters_of
from numpy_llama.tokenizer.byte_level_json import byte_level_json_bytes


def test_each_byte_has_a_character_of_its_own_and_it_is_the_judges():
    assert len(set(BYTE_CHARACTERS)) == 256
    assert set(BYTE_CHARACTERS) == set(pre_tokenizers.ByteLevel.alphabet())
    for character in ("a", " ", "\n", "é", "日", "😀", "\x00", "\u00ad", "\x7f"):
        pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(character)
        assert characters_of(character.encode()) == pieces[0][0]


@given(st.binary())
def test_bytes_to_characters_and_back(data):
    assert bytes_of(characters_of(data)) == data


# Text to ids


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_text_in_a_real_vocabulary(real, texts, data):
    text = data.draw(texts)
    assert real.ours.encode(text, add_special_tokens=False) == real.judge.encode(text, add_special_tokens=False).ids
    real.judge.encode_special_tokens = True
    try:
        split = real.judge.encode(text, add_special_tokens=False).ids
    finally:
        real.judge.encode_special_tokens = False
    assert real.ours.encode(text, add_special_tokens=False, split_special_tokens=True) == split
    assert real.ours.plain_ids(text) == split


def test_a_megabyte_in_a_real_vocabulary(real, english):
    ids = real.ours.encode(english, add_special_tokens=False)
    assert ids == real.judge.encode(english, add_special_tokens=False).ids
    assert real.ours.decode(ids) == english


def written_alike(ours):
    """Whether the judge writes each added token as it is called: one to be normalized it keeps in NFC, for bytes."""
    contents = [token.content for token in ours.added_tokens_decoder.values() if token.normalized]
    return not ours.nfc or all(unicodedata.is_normalized("NFC", content) for content in contents)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_text_in_any_vocabulary(any_json, jsons, texts, data):
    ours, judge = any_json(data.draw(jsons))
    again = Tokenizer.from_str(byte_level_json_bytes(ours).decode())
    for text in data.draw(st.lists(texts, min_size=1, max_size=2)):
        if ours.nfc and not unicodedata.is_normalized("NFC", text):
            text = "".join(filter(str.isascii, text)) + "e\u0301 \u212b"  # the two may know other editions of Unicode
        expected = judge.encode(text).ids
        assert ours.encode(text) == expected
        assert again.encode(text).ids == expected
        expected = judge.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False) == expected
        if written_alike(ours):
            assert ours.decode(expected) == judge.decode(expected, skip_special_tokens=False)


@given(st.text())
def test_there_and_back(made, text):
    tokenizer = made(["Ġ t", "h e", "Ġt he", "Ã ©"])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_lone_surrogate_is_refused_with_its_place(made):
    for encode in (made().encode, made().plain_ids):
        with pytest.raises(LlamaError, match="character 2: a lone surrogate"):
            encode("ab\ud800")


def test_characters_of_unicode_3_are_letters_and_numbers_to_both_libraries():
    import regex

    text = "".join(
        character
        for character in map(chr, range(0x110000))
        if unicodedata.ucd_3_2_0.category(character) not in ("Cn", "Cs")
    )
    for pattern in (r"\p{L}", r"\p{N}", r"\s", r"(?i:[stremvld])"):
        judged = pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(text)
        assert regex.findall(pattern, text) == [piece for piece, _ in judged]


# Special tokens


def test_special_tokens_in_a_text_are_parsed_by_default_and_can_be_split(made):
    tokenizer = made([], AddedToken("<|eot|>"))
    assert tokenizer.encode("a<|eot|>") == [tokenizer.convert_tokens_to_ids("a"), 256]
    assert 256 not in tokenizer.encode("a<|eot|>", split_special_tokens=True)
    assert tokenizer.decode(tokenizer.encode("a<|eot|>", split_special_tokens=True)) == "a<|eot|>"
    tokenizer.split_special_tokens = True
    assert 256 not in tokenizer.encode("a<|eot|>")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_text_becomes_a_control_token(any_json, jsons, texts, data):
    content = data.draw(jsons)
    ours, judge = any_json(content)
    judge.encode_special_tokens = True
    special = {token["id"] for token in content["added_tokens"] if token["special"]}
    added = {token["id"] for token in content["added_tokens"]}
    contents = [token["content"] for token in content["added_tokens"]]
    parts = st.one_of(texts, st.sampled_from(contents)) if contents else texts
    text = "".join(data.draw(st.lists(parts, max_size=5)))
    unknown = content["model"]["vocab"].get(content["model"]["unk_token"])
    vocab = content["model"]["vocab"]
    if any(one in vocab and one in BYTE_CHARACTERS for one in contents):
        with pytest.raises(LlamaError, match="single byte"):
            ours.plain_ids("a")
        return
    ids = ours.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert not special & set(ids) - {unknown}
    assert not added & set(ours.plain_ids(text)) - {unknown}
    expected = judge.encode(text, add_special_tokens=False).ids
    if not special & set(expected) and not ours.nfc:
        assert ids == expected


def test_a_special_token_of_the_vocabulary_is_not_merged_together(made):
    tokenizer = made(["a b", "ab c"], AddedToken("abc"))
    assert tokenizer.encode("abc") == [tokenizer.convert_tokens_to_ids("abc")]
    assert tokenizer.tokenize("abc", split_special_tokens=True) == ["ab", "c"]
    assert tokenizer.convert_ids_to_tokens(tokenizer.plain_ids("abc")) == ["ab", "c"]
    whole = made(["a b", "ab c"], AddedToken("abc"), ignore_merges=True)
    assert whole.tokenize("abc", split_special_tokens=True) == ["ab", "c"]


def test_a_token_added_later_is_split_as_well(made):
    tokenizer = made(["a b"])
    assert tokenizer.tokenize("ab", split_special_tokens=True) == ["ab"]
    tokenizer.add_tokens("ab", special_tokens=True)
    assert tokenizer.tokenize("ab") == ["ab"]
    assert tokenizer.tokenize("ab", split_special_tokens=True) == ["a", "b"]


# Ids to text


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_ids_in_a_real_vocabulary(real, data):
    size = len(real.ours)
    ids = data.draw(st.lists(st.one_of(st.integers(0, 400), st.integers(0, size - 1)), max_size=16))
    for skip in (False, True):
        assert real.ours.decode(ids, skip) == real.judge.decode(ids, skip_special_tokens=skip)
    assert b"".join(map(real.ours.token_bytes, ids)).decode(errors="replace") == real.ours.decode(ids)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_ids_in_any_vocabulary(any_json, jsons, data):
    ours, judge = any_json(data.draw(jsons))
    ids = data.draw(st.lists(st.integers(0, len(ours) - 1), max_size=16))
    for skip in (False, True):
        assert not written_alike(ours) or ours.decode(ids, skip) == judge.decode(ids, skip_special_tokens=skip)


@given(st.binary())
def test_what_is_no_utf8_decodes_as_it_does_for_the_judge(made, data):
    tokenizer = made()
    judge = Tokenizer.from_str(byte_level_json_bytes(tokenizer).decode())
    ids = [tokenizer.convert_tokens_to_ids(BYTE_CHARACTERS[byte]) for byte in data]
    assert tokenizer.decode(ids) == judge.decode(ids, skip_special_tokens=False)


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_what_was_streamed_is_final_and_adds_up(made, data):
    tokenizer = made()
    ids = [tokenizer.convert_tokens_to_ids(BYTE_CHARACTERS[byte]) for byte in data]
    stream = tokenizer.stream_decoder()
    text = ""
    for place, index in enumerate(ids):
        text += stream.push(index)
        assert tokenizer.decode(ids[: place + 1]).startswith(text)
    assert text + stream.finish() == tokenizer.decode(ids)


def test_a_character_is_held_back_until_its_last_byte(made):
    tokenizer = made()
    stream = tokenizer.stream_decoder()
    assert [stream.push(index) for index in tokenizer.encode("a😀b")] == ["a", "", "", "", "😀", "b"]
    for index in (-1, len(tokenizer)):
        with pytest.raises(LlamaError, match="no such token id"):
            stream.push(index)


# A single long word


@pytest.mark.parametrize("word", ["a", "abc", " ", "é", "1", "!\n"])
def test_a_long_word(real, word):
    text = (word * 50_000)[:50_000]  # where each merge looks at the whole word again, that takes many minutes
    ids = real.ours.encode(text, add_special_tokens=False)
    assert real.ours.decode(ids) == text
    short = text[:3_000]
    assert real.ours.encode(short) == real.judge.encode(short).ids


def test_a_word_of_ten_megabytes(made):
    tokenizer = made(["a b"])
    expected = tokenizer.convert_tokens_to_ids(["ab", *"cdefghij"])
    assert tokenizer.encode("abcdefghij" * 1_000_000) == expected * 1_000_000
