"""tokenizer.json and Meta's tokenizer.model: read, written again, and refused where they are damaged."""

import base64
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.byte_level_bpe import BYTE_CHARACTERS
from numpy_llama.tokenizer.byte_level_json import byte_level_json_bytes
from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer
from numpy_llama.tokenizer.tiktoken_ranks import llama3_special_tokens, read_tiktoken_ranks

# tokenizer.json


@pytest.fixture
def good(made):
    """The content of a tokenizer.json."""
    tokenizer = made(["a b", "ab c"], AddedToken("<s>"), AddedToken("<x>", special=False))
    tokenizer.bos_token = "<s>"
    tokenizer.add_bos_token = True
    return json.loads(byte_level_json_bytes(tokenizer))


def read(content, tmp_path, **settings):
    path = tmp_path / "tokenizer.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return ByteLevelTokenizer.from_pretrained(path, **settings)


def test_a_good_one(good, tmp_path):
    tokenizer = read(good, tmp_path)
    assert tokenizer.tokenize("abc<x>", add_special_tokens=True) == ["<s>", "abc", "<x>"]
    assert tokenizer.tokenize("abc", "ab", add_special_tokens=True) == ["<s>", "abc", "<s>", "ab"]
    assert tokenizer.add_bos_token
    without = read(good, tmp_path, add_bos_token=False)
    assert without.tokenize("abc", add_special_tokens=True) == ["abc"]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("model",), None, "model.type: another kind of tokenizer; expected BPE"),
        (("model", "type"), "WordPiece", "expected BPE, found 'WordPiece'"),
        (("model", "vocab"), [["a", 0]], "model.vocab: no vocabulary"),
        (("model", "vocab"), {}, "an empty vocabulary"),
        (("model", "vocab", "a"), 5, "two pieces with one id"),
        (("model", "vocab", "a"), 5_000, "without a gap, found 5000"),
        (("model", "vocab", "a"), -1, "without a gap, found -1"),
        (("model", "vocab", "a"), "7", "without a gap, found '7'"),
        (("model", "vocab", "a"), True, "without a gap, found True"),
        (("model", "vocab", "new"), 10**30, "without a gap"),
        (("model", "merges"), None, "merges: no list"),
        (("model", "merges"), ["a"], "merges, number 0: no merge"),
        (("model", "merges"), [["a", "b"], ["ab", "ab"]], "merges, number 1: no merge"),
        (("model", "merges"), [["a", "b", "c"]], "number 0: no merge"),
        (("model", "merges"), [["a", 5]], "number 0: no merge"),
        (("model", "dropout"), 0.1, "model.dropout: this isn't done here"),
        (("model", "byte_fallback"), True, "model.byte_fallback: this isn't done here"),
        (("model", "end_of_word_suffix"), "</w>", "this isn't done here"),
        (("model", "ignore_merges"), "no", "model.ignore_merges: wrong kind"),
        (("model", "unk_token"), "<unk>", "unk_token: not in the vocabulary"),
        (("model", "unk_token"), 5, "unk_token: no token"),
        (("pre_tokenizer",), None, "pre_tokenizer: no byte-level tokenizer"),
        (("pre_tokenizer", "type"), "Metaspace", "pre_tokenizer: no byte-level tokenizer"),
        (("decoder",), None, "another kind of decoder"),
        (("decoder", "type"), "Metaspace", "another kind of decoder"),
        (("normalizer",), {"type": "NFKC"}, "normalizer: no such normalizer here; expected NFC or null, found 'NFKC'"),
        (("normalizer",), {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]}, "found 'Strip'"),
        (("normalizer",), {"type": "Sequence"}, "no list of normalizers"),
        (("post_processor",), {"type": "BertProcessing"}, "BertProcessing"),
        (("post_processor", "single"), [], "post_processor"),
        (("post_processor", "special_tokens", "<s>", "ids"), [10**6], "post_processor: a special token without an id"),
        (("added_tokens",), {}, "added_tokens: no list"),
        (("added_tokens", 0, "id"), 300, r"added token '<s>' can't have this id; expected 259, found 300"),
        (("added_tokens", 0, "id"), 259, "no token id"),
        (("added_tokens", 0, "content"), "", "no token"),
        (("added_tokens", 0, "content"), "a", "added token 'a' can't have this id"),
    ],
)
def test_what_is_refused(good, tmp_path, place, value, message):
    inside = good
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    with pytest.raises(LlamaError, match=message) as caught:
        read(good, tmp_path)
    assert "tokenizer" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model": {"type": "BPE", "vocab": {"\\ud800": 0}}}', "[" * 100_000, "null"]
)
def test_what_is_no_tokenizer_json(tmp_path, text):
    with pytest.raises(LlamaError, match="tokenizer.json"):
        read(text, tmp_path)


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_stands_somewhere_in_the_file_it_is_read_or_refused(made, tmp_path_factory, data):
    tokenizer = made(["a b"], AddedToken("<s>"))
    tokenizer.bos_token, tokenizer.add_bos_token = "<s>", True
    content = json.loads(byte_level_json_bytes(tokenizer))
    inside = content
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inside[key], dict | list) or not inside[key] or data.draw(st.booleans()):
            break
        inside = inside[key]
    inside[key] = data.draw(JUNK)
    path = tmp_path_factory.getbasetemp() / "tokenizer.json"
    path.write_text(json.dumps(content))
    said = ""
    try:
        tokenizer = ByteLevelTokenizer.from_pretrained(path)
        tokenizer.encode("ab <s> é")
    except LlamaError as error:
        said = str(error)
        tokenizer = None
    assert tokenizer is not None or "tokenizer.json" in said or "tokenizer_config.json" in said


def test_saved_and_read_again_it_is_the_same(any_json, good, tmp_path):
    ours, _ = any_json(good)
    ours.bos_token, ours.pad_token = "<s>", "<s>"
    ours.save_pretrained(tmp_path / "first")
    again = ByteLevelTokenizer.from_pretrained(tmp_path / "first")
    again.save_pretrained(tmp_path / "second")
    assert again.special_tokens_map == {"bos_token": "<s>", "pad_token": "<s>"}
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text()


def test_a_token_with_a_part_to_play_is_special_whatever_the_file_says(good, tmp_path):
    read(good, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<x>"}))
    tokenizer = ByteLevelTokenizer.from_pretrained(tmp_path)
    assert tokenizer.eos_token_id not in tokenizer.encode("abc<x>", split_special_tokens=True)


# Meta's tokenizer.model


def ranks(tokens):
    return "".join(f"{base64.b64encode(token).decode()} {number}\n" for number, token in enumerate(tokens))


BYTES = [bytes([byte]) for byte in range(256)]


def test_ranks_are_read_in_any_order(tmp_path):
    path = tmp_path / "tokenizer.model"
    lines = ranks([*BYTES, b"ab", b" the"]).splitlines()
    path.write_text("\n".join(reversed(lines)) + "\n\n")
    assert read_tiktoken_ranks(path) == [*BYTE_CHARACTERS, "ab", "Ġthe"]


def test_the_token_with_the_lowest_number_is_made_first(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_text(ranks([*BYTES, b"bc", b"ab", b"cd"]))
    tokenizer = ByteLevelTokenizer.from_pretrained(path)
    assert tokenizer.tokenize("abcd") == ["a", "bc", "d"]
    assert tokenizer.bos_token_id == 259
    assert tokenizer.encode("") == [259]
    assert tokenizer.convert_ids_to_tokens(range(259, 515)) == llama3_special_tokens()


def test_llama3_has_its_numbers(real):
    if real.name != "llama3":
        pytest.skip("about Llama 3")
    numbers = {
        "<|begin_of_text|>": 128000,
        "<|end_of_text|>": 128001,
        "<|reserved_special_token_0|>": 128002,
        "<|reserved_special_token_1|>": 128003,
        "<|finetune_right_pad_id|>": 128004,
        "<|start_header_id|>": 128006,
        "<|end_header_id|>": 128007,
        "<|eom_id|>": 128008,
        "<|eot_id|>": 128009,
        "<|python_tag|>": 128010,
        "<|reserved_special_token_2|>": 128012,
        "<|reserved_special_token_245|>": 128255,
    }
    assert real.ours.convert_tokens_to_ids(list(numbers)) == list(numbers.values())
    assert len(real.ours) == 128256
    # From the tests of Meta's llama-models.
    ids = [128000, 2028, 374, 264, 1296, 11914, 13]
    assert real.ours.encode("This is a test sentence.") == ids
    assert real.ours.decode([*ids, 128001]) == "<|begin_of_text|>This is a test sentence.<|end_of_text|>"
    message = "<|start_header_id|>user<|end_header_id|>\n\nThis is a test sentence.<|eot_id|>"
    expected = [128006, 882, 128007, 271, 2028, 374, 264, 1296, 11914, 13, 128009]
    assert real.ours.encode(message, add_special_tokens=False) == expected


def test_smollm2_takes_each_digit_on_its_own(real):
    if real.name != "smollm2":
        pytest.skip("about SmolLM2")
    assert real.ours.tokenize("in  2024") == ["in", "ĠĠ", "2", "0", "2", "4"]
    assert real.ours.tokenize("<|im_start|>user\nHi") == ["<|im_start|>", "user", "Ċ", "Hi"]
    assert real.ours.decode(real.ours.encode("a\x04b")) == "ab"  # one of the 21 bytes that it lacks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("YQ== 97\n", ""), "gap; expected 0 to 255, found 256"),
        (lambda text: text.replace("YQ== 97\n", "YQ== 97 1\n"), "line 98: no token"),
        (lambda text: text.replace("YQ== 97\n", "YQ==\n"), "line 98: no token"),
        (lambda text: text.replace("YQ== 97\n", "YQ 97\n"), "line 98: no token"),
        (lambda text: text.replace("YQ== 97\n", "!Q== 97\n"), "line 98: no token"),
        (lambda text: text.replace("YQ== 97\n", " 97\n"), "line 98: no token"),
        (lambda text: text.replace("YQ== 97\n", f"{'YWFh' * 342} 97\n"), "line 98: too long a token"),
        (lambda text: text.replace("YQ== 97\n", "YQ== -1\n"), "line 98: no token"),
        (lambda text: text.replace("YQ== 97\n", f"YQ== {'9' * 5000}\n"), "line 98: no token"),
        (lambda text: text.replace("YQ== 97\n", "YQ== 96\n"), "line 98: a number is there twice"),
        (lambda text: text.replace("YQ== 97\n", "Yg== 97\n"), "line 99: a token is there twice"),
        (lambda text: text.replace("YQ== 97\n", "YWE= 97\n"), "a byte without a token; found 0x61"),
        (lambda text: "", "a byte without a token; found 0x00"),
    ],
)
def test_damaged_ranks_are_refused_with_their_line(tmp_path, change, message):
    path = tmp_path / "tokenizer.model"
    path.write_text(change(ranks([*BYTES, b"ab"])))
    with pytest.raises(LlamaError, match=message) as caught:
        ByteLevelTokenizer.from_pretrained(path)
    assert str(path) in str(caught.value)


@given(st.data())
def test_ranks_with_any_damage_are_read_or_refused(tmp_path_factory, data):
    text = bytearray(ranks([*BYTES, b"ab"]).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = tmp_path_factory.getbasetemp() / "tokenizer.model"
    path.write_bytes(text)
    tokens, said = None, ""
    try:
        tokens = read_tiktoken_ranks(path)
    except LlamaError as error:
        said = str(error)
    assert str(path) in said if tokens is None else {*BYTE_CHARACTERS} <= {*tokens}


def test_llama_4s_vocabulary_is_not_taken_for_llama_3s(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_text(ranks([*BYTES, *(number.to_bytes(4, "big") for number in range(200_000 - 256))]))
    with pytest.raises(LlamaError, match="Llama 4's size"):
        ByteLevelTokenizer.from_pretrained(path)


def test_a_folder_without_a_tokenizer_says_what_it_should_have(tmp_path):
    with pytest.raises(LlamaError, match=r"a tokenizer.json or tokenizer.model, found no tokenizer file"):
        ByteLevelTokenizer.from_pretrained(tmp_path)
    with pytest.raises(LlamaError, match="no such folder"):
        ByteLevelTokenizer.from_pretrained(tmp_path / "nowhere")


def test_the_good_file_is_good(good, tmp_path):
    """What is refused above is refused for the one change."""
    assert read(copy.deepcopy(good), tmp_path).vocab_size == 258
