"""What a stream shows adds up to what decode gives, and nothing that was shown is ever taken back."""

from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_stream_adds_up_to_the_whole(vocabulary, id_lists, data):
    ids, skip = data.draw(id_lists), data.draw(st.booleans())
    for tokenizer in (vocabulary.legacy, vocabulary.default):
        stream = tokenizer.stream_decoder(skip)
        shown = [stream.push(token_id) for token_id in ids]
        assert "".join(shown) + stream.finish() == tokenizer.decode(ids, skip)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_shown_is_the_beginning_of_every_possible_text(vocabulary, id_lists, data):
    ids, more = data.draw(id_lists), data.draw(id_lists)
    for tokenizer in (vocabulary.legacy, vocabulary.default):
        stream = tokenizer.stream_decoder()
        shown = "".join([stream.push(token_id) for token_id in ids])
        assert tokenizer.decode(ids + more).startswith(shown)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_half_a_character_is_never_shown(vocabulary, texts, data):
    text = data.draw(texts).replace("\ufffd", "")
    for tokenizer in (vocabulary.legacy, vocabulary.default):
        stream = tokenizer.stream_decoder()
        assert "\ufffd" not in "".join([stream.push(token_id) for token_id in tokenizer.encode(text)])


def test_a_character_comes_with_its_last_byte(vocabulary):
    smile = [byte + 3 for byte in "😀".encode()]
    stream = vocabulary.legacy.stream_decoder()
    assert [stream.push(token_id) for token_id in smile] == ["", "", "", "😀"]
    stream = vocabulary.default.stream_decoder()  # a later byte could still spoil it
    assert [stream.push(token_id) for token_id in smile] == ["", "", "", ""]
    assert stream.finish() == "😀"


def test_the_libraries_differ_on_broken_characters(vocabulary):
    ids = [byte + 3 for byte in b"\xc3\xa9\xff"]  # é, and a byte that begins nothing
    assert vocabulary.legacy.decode(ids) == "é\ufffd"
    assert vocabulary.default.decode(ids) == "\ufffd\ufffd\ufffd"


def test_legacy_shows_no_control_pieces(vocabulary):
    ids = [1, *vocabulary.legacy.encode("a b"), 2, 0]
    assert vocabulary.legacy.decode(ids) == "a b \u2047 "
    assert vocabulary.default.decode(ids) == "<s> a b</s><unk>"
