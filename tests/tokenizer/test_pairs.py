"""Two texts at once, what goes around them, and what is cut off: properties that need no library."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.batch import pad_encoded, padded_length, truncate_pair
from numpy_llama.tokenizer.template import Template, read_template, write_template

IDS = st.lists(st.integers(3, 9), max_size=12)
SIDES = st.sampled_from(["left", "right"])


@given(IDS, IDS, st.integers(0, 30), SIDES)
def test_longest_first_keeps_as_much_as_fits_and_is_fair(first, second, length, side):
    a, b = truncate_pair(first, second, length, side)
    assert len(a) + len(b) == min(length, len(first) + len(second))
    for cut, whole in ((a, first), (b, second)):
        assert cut == (whole[: len(cut)] if side == "right" else whole[len(whole) - len(cut) :])
    # Nothing comes off a text while the other one is longer, but for the odd one.
    if len(a) < len(first):
        assert len(b) <= len(a) + 1
    if len(b) < len(second):
        assert len(a) <= len(b) + 1


@given(IDS, IDS, st.integers(1, 30), SIDES, st.sampled_from(["only_first", "only_second"]))
def test_only_one_leaves_the_other_whole(first, second, length, side, strategy):
    try:
        a, b = truncate_pair(first, second, length, side, strategy)
    except LlamaError:
        left_over = len(second) if strategy == "only_first" else len(first)
        assert left_over >= length  # not even one token of the text to be cut would fit
        return
    assert len(a) + len(b) == min(length, len(first) + len(second))
    assert (b == second) if strategy == "only_first" else (a == first)


@given(st.lists(st.integers(0, 2), max_size=2), st.lists(st.integers(0, 2), max_size=2), IDS, st.none() | IDS)
def test_a_template_puts_the_texts_in_and_marks_the_rest(before, after, ids, more_ids):
    template = Template.around(before, after)
    filled = template.fill(ids, more_ids)
    assert len(filled.ids) == len(filled.types) == len(filled.special)
    kept = [token for token, special in zip(filled.ids, filled.special, strict=True) if not special]
    assert kept == [*ids, *(more_ids or [])]
    assert sum(filled.special) == template.added(pair=more_ids is not None)
    assert filled.types == sorted(filled.types)
    written = json.loads(json.dumps(write_template(template, ["<a>", "<b>", "<c>"])))
    assert read_template(written, "here") == template
    assert read_template({"type": "Sequence", "processors": [{"type": "ByteLevel"}, written]}, "here") == template


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["type", "single", "pair", "special_tokens", "processors", "Sequence", "SpecialToken", "id"]), inner
), max_leaves=10), st.sampled_from(["TemplateProcessing", "Sequence", "ByteLevel"]))  # fmt: skip
def test_a_damaged_template_is_refused_or_read(value, kind):
    for processor in (value, {"type": kind, **value} if isinstance(value, dict) else {"type": kind, "single": value}):
        try:
            template = read_template(processor, "here")
        except LlamaError:
            continue
        assert template is None or template.fill([5], [6]).ids


@given(st.integers(0, 100), st.integers(1, 16))
def test_a_multiple_is_the_next_one(length, multiple):
    padded = padded_length(length, multiple)
    assert padded % multiple == 0
    assert length <= padded < length + multiple


@pytest.fixture
def tokenizer(embedded):
    return LlamaTokenizer.from_pretrained(embedded.path, pad_token="</s>")


def test_a_pair_is_two_texts_each_with_its_own_beginning(tokenizer):
    both = tokenizer("hello you", "a dog", return_token_type_ids=True, return_special_tokens_mask=True)
    one, two = tokenizer.encode("hello you"), tokenizer.encode("a dog")
    assert both.input_ids == [*one, *two]
    assert both.token_type_ids == [0] * len(one) + [1] * len(two)
    assert both.special_tokens_mask == [1, *[0] * (len(one) - 1), 1, *[0] * (len(two) - 1)]
    assert tokenizer.build_inputs_with_special_tokens(one[1:], two[1:]) == both.input_ids
    assert tokenizer.create_token_type_ids_from_sequences(one[1:], two[1:]) == both.token_type_ids
    assert tokenizer(["hello you", "hi"], ["a dog", ""]).input_ids[0] == both.input_ids
    assert tokenizer([("hello you", "a dog"), "hi"]).input_ids == [both.input_ids, tokenizer.encode("hi")]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("hi", 5), "text_pair: no text"),
        (("hi", ["you"]), "text_pair: no text"),
        ((["hi"], "you"), "text_pair: no pairs; expected a list of 1 texts, found str"),
        ((["hi"], ["a", "b"]), "expected a list of 1 texts, found 2"),
        (([("a", "b", "c")],), "no text"),
        (([("a", 5)],), "no text"),
        ((["a"], ["\udc00"]), "a lone surrogate"),
    ],
)
def test_texts_that_make_no_pairs_are_refused(tokenizer, texts, message):
    with pytest.raises(LlamaError, match=message):
        tokenizer(*texts)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ({}, "nothing to pad"),
        (5, "nothing to pad"),
        ([{"input_ids": [1]}, {"ids": [1]}], "different keys"),
        ({"input_ids": [[1], [2]], "attention_mask": [[1]]}, "attention_mask: another number of rows"),
        ({"input_ids": [[1], [2, 3]], "attention_mask": [[1], [1]]}, "another length than input_ids"),
        ({"input_ids": 7}, "input_ids: no list"),
        ({"input_ids": [[7], 7]}, "input_ids: a row and no row"),
    ],
)
def test_what_cant_be_filled_up_is_refused(encoded, message):
    with pytest.raises(LlamaError, match=message):
        pad_encoded(encoded, 0, 0, None, "left", True, None)


@pytest.mark.parametrize("options", [{"pad_to_multiple_of": 0}, {"pad_to_multiple_of": 2.0}, {"max_length": True}])
def test_lengths_that_there_arent_are_refused(tokenizer, options):
    with pytest.raises(LlamaError, match="no such length"):
        tokenizer(["hi"], padding=True, **options)
    with pytest.raises(LlamaError, match="filled up again"):
        tokenizer(["hi"], padding=True, truncation=True, max_length=5, pad_to_multiple_of=4)


def test_special_tokens_that_there_arent_are_refused(tokenizer):
    for wrong in ({"cls": "<c>"}, {"pad_token": 5}, {"extra_special_tokens": "<x>"}):
        with pytest.raises(LlamaError):
            tokenizer.add_special_tokens(wrong)
    with pytest.raises(LlamaError, match="no token"):
        tokenizer.add_tokens([5])
    with pytest.raises(LlamaError, match="is empty"):
        tokenizer.add_tokens("")
    with pytest.raises(LlamaError, match="a lone surrogate"):
        tokenizer.add_tokens("<\ud800>")
    assert len(tokenizer) == tokenizer.vocab_size
