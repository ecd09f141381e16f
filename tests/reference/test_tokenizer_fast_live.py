"""LlamaTokenizer from tokenizer.json, or from vocab= and merges=, beside LlamaTokenizerFast of transformers.

In transformers 5 that is another name of LlamaTokenizer. What is held equal: any text to ids and back, pairs of texts
under every truncation and padding, special tokens that stay text, tokens added later, padding of what is encoded.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")

from numpy_llama import AutoTokenizer  # noqa: E402
from numpy_llama.errors import LlamaError  # noqa: E402
from numpy_llama.tokenizer import LlamaTokenizer  # noqa: E402
from numpy_llama.tokenizer.added_tokens import AddedToken  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SPACE = "\u2581"
AWKWARD = (
    *(" ", "  ", "\t", "\n", "\u00a0", SPACE, "\x00", "\u200d", "<s>", "</s>", "<unk>", " <s> ", "<s", "<0x41>", "<x>"),
    *("the", "hello", "once upon a time", "12", "é", "e\u0301", "日本", "😀", "//", "[INST]", "    return x\n"),
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=3)), max_size=8).map("".join),
)
EXAMPLES = settings(max_examples=150, deadline=None)


def models() -> list[Path]:
    """Every tokenizer.model that is there: the embedded one, mistral-common's, Llama 2's."""
    found = [ROOT / "data" / "storyteller" / "tokenizer.model"]
    spec = importlib.util.find_spec("mistral_common")
    if spec is not None:
        found += [Path(folder) / "data" / "tokenizer.model.v1" for folder in spec.submodule_search_locations or ()]
    found += [folder / "shared" / "published" / "llama2-tokenizer.model" for folder in ROOT.parents]
    return [path for path in found if path.is_file()]


@pytest.fixture(autouse=True, scope="module")
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(params=models(), ids=lambda path: path.name, scope="module")
def folder(request, tmp_path_factory):
    """A folder with a tokenizer.json and no tokenizer.model, as transformers 5 saves it; <s> goes before a text."""
    made = tmp_path_factory.mktemp("model")
    shutil.copyfile(request.param, made / "tokenizer.model")
    judge = transformers.LlamaTokenizer.from_pretrained(made, add_bos_token=True, pad_token="</s>")
    judge.save_pretrained(made / "saved")
    assert not (made / "saved" / "tokenizer.model").exists()
    return made / "saved"


@pytest.fixture(scope="module")
def pair(folder):
    """(ours, the judge)"""
    return LlamaTokenizer.from_pretrained(folder), transformers.LlamaTokenizerFast.from_pretrained(folder)


def changed(folder: Path, place: Path, **changes) -> Path:
    """The same folder with other fields in its tokenizer.json."""
    shutil.copytree(folder, place)
    content = json.loads((place / "tokenizer.json").read_text(encoding="utf-8"))
    (place / "tokenizer.json").write_text(json.dumps(content | changes), encoding="utf-8")
    return place


def older(folder: Path, place: Path) -> Path:
    """As transformers 4 wrote it: spaces are marked by two normalizers."""
    steps = [{"type": "Prepend", "prepend": SPACE}, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    return changed(folder, place, normalizer={"type": "Sequence", "normalizers": steps}, pre_tokenizer=None)


def equal(found, expected):
    """Two BatchEncodings with the same keys and numbers."""
    assert sorted(found) == sorted(expected)
    for key, value in expected.items():
        assert np.array_equal(found[key], value) if isinstance(value, np.ndarray) else found[key] == value, key


@EXAMPLES
@given(text=TEXTS, skip=st.booleans())
def test_any_text_to_ids_and_back(pair, text, skip):
    ours, judge = pair
    ids = judge.encode(text)
    assert ours.encode(text) == ids
    assert ours.tokenize(text) == judge.tokenize(text)
    assert ours.decode(ids, skip) == judge.decode(ids, skip_special_tokens=skip)


@EXAMPLES
@given(data=st.data(), skip=st.booleans())
def test_any_ids_to_text(pair, data, skip):
    ours, judge = pair
    ids = data.draw(st.lists(st.one_of(st.integers(0, 260), st.integers(0, len(judge) - 1)), max_size=12))
    assert ours.decode(ids, skip) == judge.decode(ids, skip_special_tokens=skip)


def test_both_ways_to_mark_spaces_are_the_same_class(folder, tmp_path):
    place = older(folder, tmp_path / "older")
    ours, judge = LlamaTokenizer.from_pretrained(place), transformers.LlamaTokenizerFast.from_pretrained(place)
    automatic = AutoTokenizer.from_pretrained(place)

    @EXAMPLES
    @given(text=TEXTS)
    def test(text):
        assert ours.encode(text) == automatic.encode(text) == judge.encode(text)
        assert ours.decode(ours.encode(text)) == judge.decode(judge.encode(text))

    test()


@pytest.mark.parametrize("layout", ["older", "newer"])
def test_a_pipeline_is_taken_as_it_stands_where_the_folder_says_so(folder, tmp_path, layout):
    place = older(folder, tmp_path / "older") if layout == "older" else changed(folder, tmp_path / "newer")
    config = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (place / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (place / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    ours, judge = AutoTokenizer.from_pretrained(place), transformers.AutoTokenizer.from_pretrained(place)
    assert type(judge).__name__ == "TokenizersBackend"
    assert ours.special_tokens_map == judge.special_tokens_map

    @EXAMPLES
    @given(text=TEXTS, more=TEXTS)
    def test(text, more):
        assert ours.encode(text) == judge.encode(text)
        assert ours(text, more, return_token_type_ids=False).input_ids == judge(text, more).input_ids
        assert ours.decode(ours.encode(text)) == judge.decode(judge.encode(text))

    test()


def test_the_file_alone_is_enough(folder, tmp_path):
    shutil.copy(folder / "tokenizer.json", tmp_path)
    ours, judge = LlamaTokenizer.from_pretrained(tmp_path), transformers.LlamaTokenizerFast.from_pretrained(tmp_path)
    assert LlamaTokenizer.from_pretrained(tmp_path / "tokenizer.json").encode("a  b<s>") == judge.encode("a  b<s>")
    assert ours.special_tokens_map == judge.special_tokens_map
    assert ours.get_vocab() == judge.get_vocab()


@pytest.mark.parametrize("said", [{}, {"add_eos_token": True}, {"add_bos_token": False}, {"add_bos_token": True}])
@pytest.mark.parametrize("template", ["own", None, "both"])
@pytest.mark.parametrize("folder", models()[:1], ids=["embedded"], indirect=True)  # the vocabulary has no part in it
def test_what_goes_around_a_text(folder, tmp_path, template, said):
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    around = {"own": content["post_processor"], None: None}
    around["both"] = json.loads(json.dumps(content["post_processor"]))
    around["both"]["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    around["both"]["pair"].append({"SpecialToken": {"id": "</s>", "type_id": 7}})
    around["both"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    place = changed(folder, tmp_path / "changed", post_processor=around[template])
    ours = LlamaTokenizer.from_pretrained(place, **said)
    judge = transformers.LlamaTokenizerFast.from_pretrained(place, **said)
    for texts in (("hi",), ("hi", "you"), ("", "")):
        equal(ours(*texts, return_token_type_ids=True), judge(*texts, return_token_type_ids=True))
    for pair in (False, True):
        assert ours.num_special_tokens_to_add(pair) == judge.num_special_tokens_to_add(pair)


def test_the_post_processor_is_updated_when_asked(folder):
    ours, judge = LlamaTokenizer.from_pretrained(folder), transformers.LlamaTokenizerFast.from_pretrained(folder)
    for tokenizer in (ours, judge):
        tokenizer.bos_token = "<unk>"
    assert ours.encode("hi") == judge.encode("hi")
    judge._add_bos_token = True  # it forgets this where a tokenizer.json was read
    for tokenizer in (ours, judge):
        tokenizer.update_post_processor()
    assert ours.encode("hi") == judge.encode("hi")
    assert ours.encode("hi")[0] == 0
    for tokenizer in (ours, judge):
        tokenizer.add_eos_token = True
    equal(ours("hi", "you", return_token_type_ids=True), judge("hi", "you", return_token_type_ids=True))
    for tokenizer in (ours, judge):
        tokenizer.bos_token = None
        tokenizer.update_post_processor()
    assert ours.encode("hi") == judge.encode("hi")
    assert ours.add_bos_token == judge.add_bos_token


# vocab= and merges=

SMALL = [
    *("<unk>", "<s>", "</s>", SPACE, "a", "b", "c", "é", "ab", f"{SPACE}a", f"{SPACE}ab", "abc", SPACE * 2, "<", ">")
]
MERGES = [(SPACE, "a"), ("a", "b"), (f"{SPACE}a", "b"), (SPACE, SPACE), ("ab", "c")]


@pytest.mark.parametrize("with_bytes", [True, False])
@pytest.mark.parametrize("written", [tuple, " ".join, None])
@pytest.mark.parametrize("options", [{}, {"add_prefix_space": False}, {"pad_token": "<pad>", "bos_token": "<begin>"}])
def test_from_a_vocabulary_and_merges(with_bytes, written, options):
    pieces = SMALL + [f"<0x{byte:02X}>" for byte in range(256)] * with_bytes
    vocab = {piece: index for index, piece in enumerate(pieces)}
    merges = None if written is None else [tuple(pair) if written is tuple else written(pair) for pair in MERGES]
    judged = None if merges is None else [tuple(pair) for pair in MERGES]
    ours = LlamaTokenizer(vocab, merges, add_bos_token=True, **options)
    judge = transformers.LlamaTokenizerFast(vocab=vocab, merges=judged, add_bos_token=True, **options)
    assert LlamaTokenizer(pieces, merges, **options).get_vocab() == ours.get_vocab() == judge.get_vocab()

    @EXAMPLES
    @given(text=st.one_of(st.text(f"abcé {SPACE}<s>/\x00日", max_size=20), TEXTS))
    def test(text):
        assert ours.encode(text) == judge.encode(text)
        assert ours.decode(ours.encode(text)) == judge.decode(judge.encode(text))

    test()


def test_without_a_vocabulary_there_are_three_tokens():
    ours, judge = LlamaTokenizer(), transformers.LlamaTokenizerFast()
    assert ours.get_vocab() == judge.get_vocab() == {"<unk>": 0, "<s>": 1, "</s>": 2}


# Calls

BATCH = ["hi", "hello <s> you", "  there was a girl and a boy and a dog", ""]
OTHERS = ["", "a dog", "you and I", "once upon a time there was a girl"]


@pytest.mark.parametrize("truncation", [None, True, "longest_first", "only_first", "only_second", False])
@pytest.mark.parametrize("max_length", [None, 4, 7, 11, 12, 40])
def test_pairs_of_texts_cut_and_filled(pair, truncation, max_length):
    ours, judge = pair
    for padding in ({}, {"padding": True}, {"padding": "max_length", "pad_to_multiple_of": 4}):
        for side in ("right", "left"):
            ours.truncation_side = judge.truncation_side = side
            options = {"truncation": truncation, "max_length": max_length, "padding_side": side, **padding}
            options |= {"return_token_type_ids": True, "return_special_tokens_mask": True, "return_length": not padding}
            for text, more in zip(BATCH, OTHERS, strict=True):
                same(ours, judge, (text, more), options)
                same(ours, judge, (text,), options)
            same(ours, judge, (BATCH, OTHERS), options)
            same(ours, judge, (list(zip(BATCH, OTHERS, strict=True)),), options)
            same(ours, judge, (BATCH, OTHERS), {**options, "add_special_tokens": False})
    ours.truncation_side = judge.truncation_side = "right"


def same(ours, judge, texts, options):
    """The same result, or an error from both. (The judge's backend raises its own kinds, panics among them.)"""
    try:
        expected = judge(*texts, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        with pytest.raises(LlamaError):
            ours(*texts, **options)
        return
    equal(ours(*texts, **options), expected)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), length=st.integers(2, 30), strategy=st.sampled_from([True, "only_first", "only_second"]))
def test_any_pair_cut_to_any_length(pair, data, length, strategy):
    ours, judge = pair
    texts = data.draw(TEXTS), data.draw(TEXTS)
    same(ours, judge, texts, {"truncation": strategy, "max_length": length, "return_token_type_ids": True})


def test_a_question_and_its_context(pair):
    ours, judge = pair
    assert ours.encode("Who?", "A girl.") == judge.encode("Who?", "A girl.")
    assert ours.tokenize("Who?", "A girl.", add_special_tokens=True) == judge.tokenize(
        "Who?", "A girl.", add_special_tokens=True
    )
    equal(ours(text="Who?", text_pair="A girl."), judge(text="Who?", text_pair="A girl."))
    equal(ours("Who?", "A girl.", return_tensors="np"), judge("Who?", "A girl.", return_tensors="np"))
    assert sorted(ours("Who?", "A girl.")) == ["attention_mask", "input_ids"] == sorted(judge("Who?", "A girl."))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "max_length", "max_length": 9},
        {"pad_to_multiple_of": 8},
        {"padding": False},
        {"padding": "longest", "padding_side": "right", "return_tensors": "np"},
        {"return_attention_mask": False},
    ],
)
def test_what_is_encoded_already_is_filled_up(pair, options):
    ours, judge = pair
    texts = ["hi", "hello <s> you"]
    batch = ours(texts, return_special_tokens_mask=True, return_token_type_ids=True)
    for given_rows in (batch, {"input_ids": batch["input_ids"]}, [ours(text) for text in texts]):
        if options.get("return_attention_mask") is False and (given_rows is batch or isinstance(given_rows, list)):
            continue  # the judge fills the ids alone and leaves a mask of another length behind
        copies = [dict(row) for row in given_rows] if isinstance(given_rows, list) else dict(given_rows)
        equal(ours.pad(given_rows, **options), judge.pad(copies, **options))
    equal(ours.pad(ours("hi"), pad_to_multiple_of=8), judge.pad(dict(judge("hi")), pad_to_multiple_of=8))
    arrays = [np.array(ours(text).input_ids) for text in texts]
    equal(ours.pad({"input_ids": arrays}), judge.pad({"input_ids": list(arrays)}))


# Special tokens


@EXAMPLES
@given(text=TEXTS, more=TEXTS)
def test_special_tokens_stay_text_where_asked(pair, text, more):
    ours, judge = pair
    ids = judge.encode(text, split_special_tokens=True)
    assert ours.encode(text, split_special_tokens=True) == ids
    assert (
        ours(text, more, split_special_tokens=True).input_ids == judge(text, more, split_special_tokens=True).input_ids
    )
    plain = ours.plain_ids(text)
    assert plain == judge._encode_without_added_tokens(text)
    assert not set(plain) & set(ours.added_tokens_decoder)


def test_the_setting_is_for_all_calls_and_is_saved(folder, tmp_path):
    ours = LlamaTokenizer.from_pretrained(folder, split_special_tokens=True)
    judge = transformers.LlamaTokenizerFast.from_pretrained(folder, split_special_tokens=True)
    for tokenizer in (ours, judge):
        assert tokenizer.encode("a<s>b") == [1, *tokenizer.encode("a<s>b", add_special_tokens=False)]
    assert ours.encode("a</s>b") == judge.encode("a</s>b")
    ours.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again.encode("a</s>b") == ours.encode("a</s>b")


def test_tokens_added_later(folder, tmp_path):
    ours, judge = LlamaTokenizer.from_pretrained(folder), transformers.LlamaTokenizerFast.from_pretrained(folder)
    plain = {"content": "<y>", "lstrip": True, "special": False}
    steps = [
        lambda tokenizer, token: tokenizer.add_tokens(["<x>", "the", "<x>"]),
        lambda tokenizer, token: tokenizer.add_tokens(token(**plain)),
        lambda tokenizer, token: tokenizer.add_tokens(["[INST]"], special_tokens=True),
        lambda tokenizer, token: tokenizer.add_special_tokens({"pad_token": "<pad>"}),
        lambda tokenizer, token: tokenizer.add_special_tokens({"extra_special_tokens": ["<a>", "<b>"]}),
        lambda tokenizer, token: tokenizer.add_tokens([]),
    ]
    for step in steps:
        assert step(ours, AddedToken) == step(judge, transformers.AddedToken)
        assert len(ours) == len(judge)
        assert ours.get_added_vocab() == judge.get_added_vocab()
    assert ours.pad_token_id == judge.pad_token_id
    texts = ["x <x> the <y>[INST]", "  <a>the<pad><b> <y> theatre", "<x><x>", "the"]
    for text in texts:
        for split in (False, True):
            ids = judge.encode(text, split_special_tokens=split)
            assert ours.encode(text, split_special_tokens=split) == ids, text
            assert ours.decode(ids, split) == judge.decode(ids, skip_special_tokens=split)
    ours.save_pretrained(tmp_path)
    again = LlamaTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in texts:
        assert again.encode(text) == ours.encode(text) == theirs.encode(text)


def test_special_tokens_masks(pair):
    ours, judge = pair
    for tokenizer in pair:
        with pytest.raises(ValueError):
            tokenizer.get_special_tokens_mask([1], [2], already_has_special_tokens=True)
    ids = judge.encode("a<s>b")
    formatted = {"already_has_special_tokens": True}
    assert ours.get_special_tokens_mask(ids, **formatted) == judge.get_special_tokens_mask(ids, **formatted)
    # transformers documents the other two, and has given them up; its own calls still say what the masks are.
    one, two = (ours.encode(text, add_special_tokens=False) for text in ("hello you", "a dog"))
    mask = judge("hello you", return_special_tokens_mask=True)["special_tokens_mask"]
    assert ours.get_special_tokens_mask(token_ids_0=one) == mask
    mask = judge("hello you", "a dog", return_special_tokens_mask=True)["special_tokens_mask"]
    assert ours.get_special_tokens_mask(token_ids_0=one, token_ids_1=two) == mask


def test_spaces_are_not_cleaned_up(folder):
    said = {"clean_up_tokenization_spaces": True}
    ours = LlamaTokenizer.from_pretrained(folder, **said)
    judge = transformers.LlamaTokenizerFast.from_pretrained(folder, **said)
    ids = judge.encode("I 'm here . Do n't go , please !")
    assert ours.decode(ids) == judge.decode(ids)
    assert ours.decode(ids, clean_up_tokenization_spaces=True) == judge.decode(ids, clean_up_tokenization_spaces=True)
    assert ours.clean_up_tokenization_spaces is judge.clean_up_tokenization_spaces is True


def test_what_we_save_loads_there(folder, tmp_path):
    ours = LlamaTokenizer.from_pretrained(folder, add_eos_token=True, add_bos_token=True)
    written = ours.save_pretrained(tmp_path)
    assert sorted(Path(path).name for path in written) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    judge = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(judge).__name__ == "LlamaTokenizer"

    @EXAMPLES
    @given(text=TEXTS)
    def test(text):
        assert judge.encode(text) == ours.encode(text)
        assert judge.decode(ours.encode(text)) == ours.decode(ours.encode(text))

    test()
