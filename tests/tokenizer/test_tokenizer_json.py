"""LlamaTokenizer from a tokenizer.json alone, or from vocab= and merges=; and tokenizer.json files that are wrong."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.tokenizer import LlamaTokenizer, tokenizer_for
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.tokenizer_json import PREPEND, REPLACE

EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SPACE = "\u2581"
PIECES = ["<unk>", "<s>", "</s>", SPACE, "a", "b", "<", "s", ">", f"{SPACE}a", "ab", "<s", f"{SPACE}ab"]
MERGES = [(SPACE, "a"), ("a", "b"), ("<", "s"), ("<s", ">"), (f"{SPACE}a", "b")]


@pytest.fixture
def folder(tmp_path, vocabulary):
    """The vocabulary as a tokenizer.json and nothing else."""
    (tmp_path / "tokenizer.json").write_text(vocabulary.tokenizers.to_str(), encoding="utf-8")
    return tmp_path


def test_it_gives_what_the_tokenizer_model_gives(folder, vocabulary, texts):
    ours = LlamaTokenizer.from_pretrained(folder)
    assert ours.vocab_size == vocabulary.default.vocab_size

    @EXAMPLES
    @given(text=texts)
    def test(text):
        assert ours.encode(text) == vocabulary.default.encode(text)
        assert ours.decode(ours.encode(text)) == vocabulary.default.decode(ours.encode(text))

    test()


def test_saved_and_read_again_it_is_the_same(folder, tmp_path, texts):
    from tokenizers import Tokenizer

    ours = LlamaTokenizer.from_pretrained(folder, add_eos_token=True, pad_token="<pad>", use_default_system_prompt=True)
    ours.add_tokens(AddedToken("<x>", special=False, rstrip=True))
    ours.save_pretrained(tmp_path / "new")
    again = LlamaTokenizer.from_pretrained(tmp_path / "new")
    judge = Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json"))
    assert again.get_vocab() == ours.get_vocab()
    assert (again.merges, again.added_tokens_decoder) == (ours.merges, ours.added_tokens_decoder)
    assert again.use_default_system_prompt

    @EXAMPLES
    @given(text=texts)
    def test(text):
        assert again.encode(text + "<x> ") == ours.encode(text + "<x> ") == judge.encode(text + "<x> ").ids

    test()


def test_what_a_template_says_is_around_a_text(folder):
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {"<s>": {"id": "<s>", "ids": [1, 2], "tokens": ["<s>", "</s>"]}}
    around = {"SpecialToken": {"id": "<s>", "type_id": 3}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [first, around],
        "pair": [second, around, first],
        "special_tokens": special,
    }
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    one, two = (tokenizer.encode(text, add_special_tokens=False) for text in ("hello", "a dog"))
    assert tokenizer.encode("hello") == [*one, 1, 2]
    assert tokenizer.encode("hello", "a dog") == [*two, 1, 2, *one]
    types = tokenizer("hello", "a dog", return_token_type_ids=True).token_type_ids
    assert types == [0] * len(two) + [3, 3] + [0] * len(one)
    assert tokenizer("hello", "a dog", truncation=True, max_length=4).input_ids == [*two[:1], 1, 2, *one[:1]]
    tokenizer.update_post_processor()
    assert tokenizer.encode("hello") == [*one, 2]


def test_an_added_token_may_fill_a_gap_in_the_vocabulary(tmp_path):
    content = small()
    content["model"]["vocab"]["ab"] = 13  # 10 is free now
    content["added_tokens"] = [{"id": 10, "content": "<here>"}, {"id": 14, "content": "<behind>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = LlamaTokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode("ab<here>ab<behind>") == [1, 12, 10, 13, 14]


# What a stranger types


@EXAMPLES
@given(data=st.data())
def test_no_text_becomes_a_special_token_where_they_are_split(vocabulary, texts, data):
    text = data.draw(texts)
    for tokenizer in (vocabulary.default, vocabulary.legacy):
        ids = tokenizer.encode(text, split_special_tokens=True)
        assert not set(ids) & set(tokenizer.all_special_ids)
        assert not set(tokenizer.plain_ids(text)) & set(tokenizer.added_tokens_decoder)


@EXAMPLES
@given(text=st.text(f"<s>ab {SPACE}x", max_size=20))
def test_even_where_its_own_merges_would_make_one(text):
    tokenizer = LlamaTokenizer(PIECES, MERGES, add_bos_token=False, added_tokens=[AddedToken("ab", special=False)])
    assert tokenizer.encode("<s>", split_special_tokens=True) == [3, 11, 8]  # ▁ <s >, though <s > merges to <s>
    assert 1 not in tokenizer.encode(text, split_special_tokens=True)
    assert not set(tokenizer.plain_ids(text)) & {0, 1, 2, 10}
    assert tokenizer.plain_ids("ab") == [12]
    assert tokenizer.encode("ab", split_special_tokens=True) == [10]  # no special one: still cut out
    assert tokenizer.plain_ids("bab") == [3, 5, 4, 5]


# Files that are wrong


def small() -> dict:
    return {
        "version": "1.0",
        "added_tokens": [{"id": 1, "content": "<s>", "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": None,
        "model": {
            "type": "BPE",
            "vocab": {piece: index for index, piece in enumerate(PIECES)},
            "merges": [list(pair) for pair in MERGES],
        },
    }


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "vocab"), {}, "model.vocab: an empty vocabulary"),
        (("model", "vocab"), 7, "model.vocab: no vocabulary"),
        (("model", "vocab", "a"), 99, r"the id of 'a'; expected 0 to 12, without a gap, found 99"),
        (("model", "vocab", "a"), 5, "two pieces with one id; found 'a' and 'b'"),
        (("model", "vocab", "a"), True, "the id of 'a'"),
        (("model", "vocab", "a"), 2.0, "the id of 'a'"),
        (("model", "merges"), [["a", "b"], ["b", "b"]], "number 1: no merge"),
        (("model", "merges"), {"a": "b"}, "model.merges: no list"),
        (("model", "merges"), "ab", "model.merges: no list"),
        (("added_tokens",), [{"content": "<x>"}], "added_tokens: no token id"),
        (("added_tokens",), [{"id": 1, "content": "<x>"}], "can't have this id"),
        (("added_tokens",), [{"id": 50, "content": "<x>"}], "can't have this id"),
        (("added_tokens",), [{"id": 13, "content": ""}], "added_tokens: no token"),
        (("added_tokens",), 3, "added_tokens: no list"),
        (("normalizer",), {"type": "NFKC"}, "normalizer: another kind.*found 'NFKC'"),
        (("pre_tokenizer",), {"type": "ByteLevel"}, "AutoTokenizer chooses"),
        (("pre_tokenizer",), {"type": "Sequence"}, "pre_tokenizer: no list"),
        (("pre_tokenizer",), 5, "pre_tokenizer: another kind"),
        (("post_processor",), {"type": "BertProcessing"}, "post_processor: another kind"),
        (("post_processor",), [], "post_processor: no post-processor"),
        (("post_processor", "single"), None, "post_processor.single: no template"),
        (("post_processor", "single"), [], "post_processor.single: a template puts each text in once"),
        (("post_processor", "single"), [{"Sequence": {"id": "B", "type_id": 0}}], "no part of a template"),
        (("post_processor", "special_tokens"), {}, "a special token without ids"),
        (("post_processor", "special_tokens", "<s>", "ids"), [99], "a special token that has no id"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, path, value, message):
    content = small()
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LlamaError, match=message) as caught:
        LlamaTokenizer.from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


PLACES = list(places(small()))[1:]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 20), st.just(2**63), st.floats(), st.text(max_size=4),
              st.sampled_from([*PIECES, "BPE", "Sequence", "\ud800"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["type", "id", "a"]), inner)),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_works(tmp_path, data):
    content = copy.deepcopy(small())
    for path in data.draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=2)):
        inside = content
        try:
            for key in path[:-1]:
                inside = inside[key]
            if data.draw(st.booleans()):
                inside[path[-1]] = data.draw(JSON)
            else:
                del inside[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the place away
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    try:
        tokenizer = tokenizer_for(tmp_path)
    except LlamaError:
        return
    ids = tokenizer.encode("<s> ab\nab </s>é", "b")
    assert all(0 <= token_id < len(tokenizer) for token_id in ids)
    assert isinstance(tokenizer.decode(ids), str)
    tokenizer.save_pretrained(tmp_path / "saved")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_short_or_with_a_wrong_byte_is_refused_or_works(tmp_path, data):
    whole = json.dumps(small()).encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.binary(max_size=1))
    (tmp_path / "tokenizer.json").write_bytes(whole[:at] + byte + (whole[at + 1 :] if byte else b""))
    try:
        tokenizer = tokenizer_for(tmp_path)
    except LlamaError:
        return
    tokenizer.decode(tokenizer.encode("<s> ab\nab </s>é"))


@pytest.mark.parametrize("vocab", ["ab", 5, [], {}, ["a", "a"], ["a", ""], ["a", 5], ["\ud800"], {"a": 1}, {"a": -1}])
def test_a_vocabulary_that_is_none_is_refused(vocab):
    with pytest.raises(LlamaError, match="vocab"):
        LlamaTokenizer(vocab)


@pytest.mark.parametrize("merges", ["ab", [("a", "z")], [("a",)], [5], ["a b c"], [("a", 5)], {"a": "b"}])
def test_merges_that_are_none_are_refused(merges):
    with pytest.raises(LlamaError, match="merges"):
        LlamaTokenizer(PIECES, merges)


def test_sentencepiece_needs_scores():
    with pytest.raises(LlamaError, match="which has scores"):
        LlamaTokenizer(PIECES, MERGES, legacy=True)


def test_a_long_word_takes_no_time_and_gives_the_right_ids():
    tokenizer = LlamaTokenizer(PIECES, MERGES, add_bos_token=False)
    assert tokenizer.encode("ab" * 100_000) == [12] + [10] * 99_999


@pytest.mark.parametrize("files", [{"tokenizer.json": "{}"}, {"tokenizer.model": "garbage"}, {}])
def test_choosing_a_kind_needs_a_tokenizer(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(LlamaError):
        tokenizer_for(tmp_path)
    with pytest.raises(LlamaError, match="no such folder"):
        tokenizer_for(tmp_path / "nowhere")


def test_a_pipeline_that_is_another_than_the_class_has_is_warned_of(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    content = small()  # it has no bytes, and no decoder
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.warns(LlamaWarning, match="PreTrainedTokenizerFast"):
        LlamaTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("scheme", ["first", "always", "never", "every"])
def test_a_pipeline_is_taken_as_it_stands_where_the_folder_says_so(tmp_path, vocabulary, texts, scheme):
    from tokenizers import Tokenizer

    content = json.loads(vocabulary.tokenizers.to_str())
    content["pre_tokenizer"]["prepend_scheme"] = scheme
    if scheme == "every":
        content["pre_tokenizer"], content["normalizer"] = None, {"type": "Sequence", "normalizers": [PREPEND, REPLACE]}
    if scheme == "never":
        content["decoder"]["decoders"].pop()
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    judge = Tokenizer.from_str(json.dumps(content))
    ours = LlamaTokenizer.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path / "saved")
    again = LlamaTokenizer.from_pretrained(tmp_path / "saved")
    saved = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))

    @EXAMPLES
    @given(text=texts)
    def test(text):
        ids = judge.encode(text).ids
        assert ours.encode(text) == again.encode(text) == saved.encode(text).ids == ids
        assert ours.decode(ids) == judge.decode(ids, skip_special_tokens=False)

    test()
