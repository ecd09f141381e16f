"""LlamaTokenizer: equal to the libraries on any text, and the rest of its surface."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.added_tokens import AddedToken

EXAMPLES = settings(max_examples=200, deadline=None)


# Text to ids and back, on any Unicode text


@EXAMPLES
@given(st.data())
def test_legacy_is_sentencepiece(vocabulary, texts, data):
    text = data.draw(texts)
    assert vocabulary.legacy.encode(text) == vocabulary.sentencepiece.encode(text)
    assert vocabulary.legacy.tokenize(text) == vocabulary.sentencepiece.encode(text, out_type=str)


@EXAMPLES
@given(st.data())
def test_default_is_the_pipeline_of_transformers(vocabulary, texts, data):
    text = data.draw(texts)
    judged = vocabulary.tokenizers.encode(text)
    assert vocabulary.default.encode(text) == judged.ids
    assert vocabulary.default.tokenize(text) == judged.tokens


@EXAMPLES
@given(st.data())
def test_legacy_decodes_any_ids_as_sentencepiece_does(vocabulary, id_lists, data):
    ids = data.draw(id_lists)
    assert vocabulary.legacy.decode(ids) == vocabulary.sentencepiece.decode(ids)


@EXAMPLES
@given(st.data())
def test_default_decodes_any_ids_as_tokenizers_does(vocabulary, id_lists, data):
    ids, skip = data.draw(id_lists), data.draw(st.booleans())
    judged = vocabulary.tokenizers.decode(ids, skip_special_tokens=skip)
    assert vocabulary.default.decode(ids, skip_special_tokens=skip) == judged


@EXAMPLES
@given(st.data())
def test_legacy_there_and_back_is_the_same_text(vocabulary, texts, data):
    text = data.draw(texts).replace("\u2581", "")  # the one character that it can't hold for
    assert vocabulary.legacy.decode(vocabulary.legacy.encode(text)) == text


@EXAMPLES
@given(st.data())
def test_default_there_and_back_is_the_same_text_where_it_can_be(vocabulary, texts, data):
    text = data.draw(texts).replace("\u2581", "").lstrip(" ")
    for special in ("<s>", "</s>", "<unk>"):
        while special in text:
            text = text.replace(special, "")
    text = text.lstrip(" ")
    assert vocabulary.default.decode(vocabulary.default.encode(text)) == text


@EXAMPLES
@given(st.data())
def test_ids_are_in_the_vocabulary_and_cover_the_text(vocabulary, texts, data):
    text = data.draw(texts)
    for tokenizer in (vocabulary.legacy, vocabulary.default):
        assert all(0 <= token_id < tokenizer.vocab_size for token_id in tokenizer.encode(text))


@EXAMPLES
@given(st.data())
def test_the_two_agree_on_single_spaced_text(vocabulary, texts, data):
    text = data.draw(texts).replace("\u2581", " ").replace("<", "")
    text = " ".join(part for part in text.split(" ") if part)
    assert vocabulary.default.encode(text) == vocabulary.legacy.encode(text)


def test_a_space_mark_in_the_text_itself_becomes_a_space(vocabulary):
    text = "a\u2581b"  # decodes to a space: the one loss in legacy mode
    assert vocabulary.legacy.decode(vocabulary.legacy.encode(text)) == "a b"


def test_where_the_newer_mode_cant_give_back_the_text(vocabulary):
    tokenizer = vocabulary.default
    assert tokenizer.decode(tokenizer.encode(" hi")) == "hi"
    assert tokenizer.decode(tokenizer.encode("a<s>b"), skip_special_tokens=True) == "ab"


def test_without_prefix_space_there_and_back_keeps_a_leading_space(vocabulary, texts):
    tokenizer = LlamaTokenizer(vocabulary.legacy.model, legacy=True, add_prefix_space=False, add_bos_token=False)

    @EXAMPLES
    @given(st.data())
    def test(data):
        text = data.draw(texts).replace("\u2581", "")
        assert tokenizer.decode(tokenizer.encode(text)) == text

    test()


# The surface


@pytest.fixture(params=[True, False], ids=["legacy", "default"])
def tokenizer(request, embedded):
    return LlamaTokenizer.from_pretrained(embedded.path, legacy=request.param)


def test_special_tokens_have_their_ids(tokenizer):
    assert (tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token) == ("<unk>", "<s>", "</s>")
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.pad_token is None
    assert tokenizer.pad_token_id is None
    assert tokenizer.all_special_ids == [0, 1, 2]
    assert len(tokenizer) == tokenizer.vocab_size == len(tokenizer.get_vocab())
    assert tokenizer
    assert "legacy" in repr(tokenizer)


def test_bos_and_eos_are_added_as_asked(tokenizer):
    plain = tokenizer.encode("hi there", add_special_tokens=False)
    assert tokenizer.encode("hi there") == [1, *plain]
    tokenizer.add_eos_token = True
    assert tokenizer.encode("hi there") == [1, *plain, 2]
    tokenizer.add_bos_token = False
    assert tokenizer.encode("hi there") == [*plain, 2]
    assert tokenizer.build_inputs_with_special_tokens([5], [6]) == [5, 2, 6, 2]


def test_the_mask_of_special_tokens(tokenizer):
    assert tokenizer.get_special_tokens_mask([7, 8]) == [1, 0, 0]
    assert tokenizer.get_special_tokens_mask([7], [8, 9]) == [1, 0, 1, 0, 0]
    tokenizer.add_eos_token = True
    assert tokenizer.get_special_tokens_mask([7], [8, 9]) == [1, 0, 1, 1, 0, 0, 1]
    assert tokenizer.get_special_tokens_mask([1, 7, 2, 0], already_has_special_tokens=True) == [1, 0, 1, 1]
    with pytest.raises(LlamaError, match="already formatted"):
        tokenizer.get_special_tokens_mask([1], [2], already_has_special_tokens=True)


def test_tokens_and_ids_are_each_others_inverse(tokenizer):
    ids = list(range(len(tokenizer)))
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokenizer.convert_tokens_to_ids(tokens) == ids
    assert tokenizer.convert_ids_to_tokens(1) == "<s>"
    assert tokenizer.convert_tokens_to_ids("</s>") == 2
    assert tokenizer.convert_tokens_to_ids("no such token") == 0
    assert tokenizer.convert_ids_to_tokens([1, 3, 2], skip_special_tokens=True) == ["<0x00>"]


def test_decode_takes_ints_lists_arrays_and_batches(tokenizer):
    ids = tokenizer.encode("hello you")
    text = tokenizer.decode(ids)
    assert tokenizer.decode(np.array(ids)) == text
    assert tokenizer.decode(tuple(ids)) == text
    assert tokenizer.decode([np.int64(token_id) for token_id in ids]) == text
    assert tokenizer.decode([ids, ids]) == [text, text]
    assert tokenizer.decode(np.array([ids, ids])) == [text, text]
    assert tokenizer.batch_decode([ids, []]) == [text, ""]
    for one in (ids[1], np.int32(ids[1]), np.array(ids[1])):
        assert tokenizer.decode(one) == tokenizer.decode([ids[1]])
    assert tokenizer.decode(ids, skip_special_tokens=True) == "hello you"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("bad", [-1, 10**6, 2**70])
def test_ids_out_of_range_are_named(tokenizer, bad):
    for call in (tokenizer.decode, tokenizer.convert_ids_to_tokens):
        with pytest.raises(LlamaError, match=f"position 1: no such token id; expected 0 to .*, found {bad}"):
            call([1, bad])
    with pytest.raises(LlamaError, match="no such token id"):
        tokenizer.stream_decoder().push(bad)


@pytest.mark.parametrize("bad", [1.5, "1", None, True])
def test_what_is_no_id_is_refused(tokenizer, bad):
    with pytest.raises(LlamaError, match="not a token id"):
        tokenizer.decode([1, bad])


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(LlamaError, match=r"character 1: a lone surrogate.*'\\ud800'"):
        tokenizer.encode("a\ud800b")


@pytest.mark.parametrize("bad", [None, 5, b"bytes", ["a"]])
def test_what_is_no_text_is_refused(tokenizer, bad):
    with pytest.raises(LlamaError, match="no text"):
        tokenizer.encode(bad)
    with pytest.raises(LlamaError, match="no text"):
        tokenizer([bad])


# Batches


def test_one_text_and_several(tokenizer):
    one, several = tokenizer("hi"), tokenizer(["hi", "hi you"])
    assert one.input_ids == one["input_ids"] == tokenizer.encode("hi")
    assert one.attention_mask == [1] * len(one.input_ids)
    assert several.input_ids == [tokenizer.encode("hi"), tokenizer.encode("hi you")]
    array = tokenizer("hi", return_tensors="np")
    assert array.input_ids.shape == (1, len(one.input_ids))
    assert array.input_ids.dtype == np.int64
    with pytest.raises(AttributeError, match="input_ids, attention_mask"):
        _ = one.labels
    assert list(tokenizer("hi", return_attention_mask=False)) == ["input_ids"]


def test_padding_is_on_the_left_and_masked(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer(["hi", "hello hello you"], padding=True, return_tensors="np", return_special_tokens_mask=True)
    short = len(tokenizer.encode("hi"))
    width = batch.input_ids.shape[1]
    assert batch.input_ids[0].tolist() == [2] * (width - short) + tokenizer.encode("hi")
    assert batch.attention_mask[0].tolist() == [0] * (width - short) + [1] * short
    assert batch.special_tokens_mask[0].tolist() == [1] * (width - short + 1) + [0] * (short - 1)
    assert batch.attention_mask[1].all()
    right = tokenizer(["hi", "hello hello you"], padding="longest", padding_side="right")
    assert right.input_ids[0][:short] == tokenizer.encode("hi")
    assert len(tokenizer(["hi"], padding="max_length", max_length=9).input_ids[0]) == 9


def test_padding_without_a_pad_token_says_what_to_do(tokenizer):
    with pytest.raises(LlamaError, match=r"tokenizer\.pad_token = tokenizer\.eos_token"):
        tokenizer(["hi"], padding=True)


def test_truncation_keeps_bos_and_eos(tokenizer):
    tokenizer.add_eos_token = True
    whole = tokenizer.encode("hello hello you", add_special_tokens=False)
    assert tokenizer("hello hello you", truncation=True, max_length=4).input_ids == [1, *whole[:2], 2]
    assert tokenizer("hello hello you", max_length=4).input_ids == [1, *whole[:2], 2]
    assert tokenizer("hello hello you", truncation=False, max_length=4).input_ids == [1, *whole, 2]
    assert tokenizer.encode("hello hello you", truncation=True, max_length=3) == [1, whole[0], 2]
    tokenizer.truncation_side = "left"
    assert tokenizer("hello hello you", truncation=True, max_length=4).input_ids == [1, *whole[-2:], 2]
    assert tokenizer("hello", truncation=True, max_length=2).input_ids == [1, 2]
    with pytest.raises(LlamaError, match="no room for the special tokens"):
        tokenizer("hello", truncation=True, max_length=1)


def test_model_max_length_is_the_default_length(tokenizer):
    tokenizer.pad_token = "</s>"
    assert len(tokenizer("hi " * 50, truncation=True).input_ids) > 30
    tokenizer.model_max_length = 7
    assert len(tokenizer("hi " * 50, truncation=True).input_ids) == 7
    assert len(tokenizer("hi", padding="max_length").input_ids) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "left"}, "no such padding"),
        ({"truncation": "all"}, "no such truncation"),
        ({"max_length": 0}, "no such length"),
        ({"max_length": "9"}, "no such length"),
        ({"return_tensors": "pt"}, "no such tensors"),
        ({"padding": True, "padding_side": "up"}, "no such side"),
        ({"return_tensors": "np"}, "different lengths"),
    ],
)
def test_impossible_options_are_refused(tokenizer, options, message):
    tokenizer.pad_token = "</s>"
    with pytest.raises(LlamaError, match=message):
        tokenizer(["hi", "hello hello"], **options)
    with pytest.raises(LlamaError, match="no text"):
        tokenizer([])


def test_settings_that_dont_exist_are_refused(embedded, tokenizer):
    with pytest.raises(LlamaError, match="padding_side: no such side"):
        LlamaTokenizer(embedded.legacy.model, padding_side="up")
    with pytest.raises(LlamaError, match="bos_token: not in the vocabulary"):
        tokenizer.bos_token = "<nothing>"
    with pytest.raises(LlamaError, match="is empty"):
        LlamaTokenizer(embedded.legacy.model, added_tokens=[AddedToken("")])


def test_bos_can_be_switched_off_and_exchanged(tokenizer):
    plain = tokenizer.encode("hi", add_special_tokens=False)
    tokenizer.bos_token = "</s>"
    assert tokenizer.encode("hi") == [2, *plain]
    tokenizer.bos_token = None
    assert tokenizer.encode("hi") == plain


# Added tokens


def test_added_tokens_get_the_next_ids_and_are_cut_out(embedded):
    added = [AddedToken("<a>"), AddedToken("<a><a>"), AddedToken("<b>", special=False)]
    tokenizer = LlamaTokenizer(embedded.legacy.model, added_tokens=added, pad_token="<pad>", add_bos_token=False)
    size = tokenizer.vocab_size
    assert len(tokenizer) == size + 4
    assert tokenizer.pad_token_id == size + 3
    hi = tokenizer.encode("hi")
    assert tokenizer.encode("hi<a><a><a><b>") == [*hi, size + 1, size, size + 2]
    assert tokenizer.decode([*hi, size, size + 2]) == "hi<a><b>"
    assert tokenizer.decode([*hi, size, size + 2], skip_special_tokens=True) == "hi<b>"


def test_legacy_finds_no_tokens_in_a_text_but_can_write_them(embedded):
    tokenizer = LlamaTokenizer(embedded.legacy.model, legacy=True, added_tokens=[AddedToken("<a>")])
    assert tokenizer.encode("<a><s>", add_special_tokens=False) == embedded.sentencepiece.encode("<a><s>")
    assert tokenizer.decode([len(tokenizer) - 1]) == "<a>"


@EXAMPLES
@given(st.data())
def test_added_tokens_with_flags_are_those_of_the_library(embedded, judges, data):
    from tokenizers import AddedToken as JudgedToken

    contents = data.draw(st.lists(st.sampled_from(["<a>", "<a><b>", "ab", "a", " x"]), unique=True))
    flags = [
        {name: data.draw(st.booleans()) for name in ("special", "lstrip", "rstrip", "normalized")} for _ in contents
    ]
    ours = LlamaTokenizer(
        embedded.legacy.model,
        added_tokens=[AddedToken(content, **flag) for content, flag in zip(contents, flags, strict=True)],
        add_bos_token=False,
    )
    judge = judges["tokenizers"](embedded.data)
    judge.add_tokens([JudgedToken(content, **flag) for content, flag in zip(contents, flags, strict=True)])
    for text in data.draw(st.lists(st.text("ab<> x\n\u3000\x1c", max_size=20), min_size=5, max_size=5)):
        assert ours.encode(text) == judge.encode(text).ids


def test_encode_gives_an_array_with_a_row_where_one_is_asked_for(tokenizer):
    ids = tokenizer.encode("hi", return_tensors="np")
    assert ids.shape == (1, len(tokenizer.encode("hi")))
    assert ids[0].tolist() == tokenizer.encode("hi")
