"""A tokenizer's folder: what is read, what is written, and what is wrong with it."""

import json
import shutil

import pytest

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.tokenizer import LlamaTokenizer, SentencePieceModel
from numpy_llama.tokenizer.added_tokens import AddedToken


@pytest.fixture
def folder(tmp_path, embedded):
    shutil.copy(embedded.path, tmp_path / "tokenizer.model")
    return tmp_path


def write(folder, name="tokenizer_config.json", **content):
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def test_the_file_alone_is_enough(folder):
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    assert (tokenizer.legacy, tokenizer.add_bos_token, tokenizer.add_eos_token) == (False, True, False)
    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("left", "right")
    assert tokenizer.model_max_length == int(1e30)


def test_settings_are_honoured_and_overrides_go_first(folder):
    write(
        folder,
        legacy=True,
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        truncation_side="left",
        model_max_length=512,
        bos_token={"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": True},
        pad_token="</s>",
        chat_template="{{ x }}",
        sp_model_kwargs={},
    )
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    assert (tokenizer.legacy, tokenizer.add_bos_token, tokenizer.add_eos_token) == (True, False, True)
    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("right", "left")
    assert (tokenizer.model_max_length, tokenizer.pad_token_id, tokenizer.bos_token) == (512, 2, "<s>")
    assert tokenizer.kept == {"chat_template": "{{ x }}", "sp_model_kwargs": {}}
    other = LlamaTokenizer.from_pretrained(folder, legacy=False, add_bos_token=True, pad_token="<unk>")
    assert (other.legacy, other.add_bos_token, other.pad_token_id) == (False, True, 0)


def test_null_is_no_setting_but_null_bos_is_no_bos(folder):
    write(folder, legacy=None, add_prefix_space=None, model_max_length=1e30, pad_token=None, bos_token=None)
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    assert (tokenizer.legacy, tokenizer.add_prefix_space) == (False, True)
    assert tokenizer.bos_token is None
    assert tokenizer.encode("hi")[:1] != [1]


def test_older_folders(folder):
    write(folder, "special_tokens_map.json", eos_token={"content": "<end>", "lstrip": False}, pad_token="<unk>")
    size = LlamaTokenizer.from_pretrained(folder / "tokenizer.model").vocab_size
    write(folder, "added_tokens.json", **{"<end>": size, "<more>": size + 1})
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)) == (size, 0, size + 2)
    assert tokenizer.encode("<more>", add_special_tokens=False) == [size + 1]


def test_declared_added_tokens(folder):
    size = LlamaTokenizer.from_pretrained(folder).vocab_size
    declared = {str(size): {"content": "<x>", "special": False}, "1": {"content": "<s>", "special": True}}
    write(folder, added_tokens_decoder=declared, additional_special_tokens=["<y>"])
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    assert tokenizer.convert_tokens_to_ids(["<x>", "<y>"]) == [size, size + 1]
    assert tokenizer.decode([size, size + 1], skip_special_tokens=True) == "<x>"
    write(folder, added_tokens_decoder={str(size + 5): {"content": "<x>"}})
    with pytest.raises(LlamaError, match=f"can't have this id; expected {size}, found {size + 5}"):
        LlamaTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("legacy", [True, False])
def test_saved_and_read_again_it_is_the_same(folder, tmp_path, embedded, legacy):
    write(folder, chat_template="{{ y }}", legacy=legacy)
    tokenizer = LlamaTokenizer.from_pretrained(folder, padding_side="right", add_eos_token=True, model_max_length=99)
    tokenizer.pad_token = "</s>"
    written = tokenizer.save_pretrained(tmp_path / "new" / "place")
    assert len(written) == 3
    again = LlamaTokenizer.from_pretrained(tmp_path / "new" / "place")
    assert (tmp_path / "new" / "place" / "tokenizer.model").read_bytes() == embedded.data
    for name in ("legacy", "add_bos_token", "add_eos_token", "padding_side", "model_max_length", "kept"):
        assert getattr(again, name) == getattr(tokenizer, name), name
    assert again.special_tokens_map == tokenizer.special_tokens_map
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder
    for text in ("  hi <s> there", "é\n\n", ""):
        assert again.encode(text) == tokenizer.encode(text)
    assert sorted(path.name for path in (tmp_path / "new" / "place").iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]


def test_a_vocabulary_that_came_from_no_file_can_be_saved(tmp_path, judges):
    model = SentencePieceModel(["<unk>", "<s>", "</s>", "▁", "a"], [0.0] * 5, [2, 3, 3, 1, 1], byte_fallback=False)
    tokenizer = LlamaTokenizer(model, legacy=True, added_tokens=[AddedToken("<x>", special=False, lstrip=True)])
    tokenizer.save_pretrained(tmp_path)
    again = LlamaTokenizer.from_pretrained(tmp_path)
    assert again.encode("aa a?") == tokenizer.encode("aa a?") == [1, 3, 4, 4, 3, 4, 0]
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder


def test_saving_leaves_the_old_file_where_it_fails(folder, monkeypatch):
    before = (folder / "tokenizer.model").read_bytes()
    tokenizer = LlamaTokenizer.from_pretrained(folder)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(LlamaError, match="disk full"):
        tokenizer.save_pretrained(folder)
    assert (folder / "tokenizer.model").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["tokenizer.model"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"add_bos_token": "yes"}, "add_bos_token: wrong kind; expected true or false, found 'yes'"),
        ({"model_max_length": -1}, "model_max_length: wrong kind"),
        ({"padding_side": "up"}, "padding_side: no such side"),
        ({"bos_token": 5}, "bos_token: no token"),
        ({"bos_token": ""}, "bos_token: no token"),
        ({"added_tokens_decoder": []}, "added_tokens_decoder: wrong kind"),
        ({"added_tokens_decoder": {"x": "<y>"}}, "no token id"),
        ({"additional_special_tokens": "<y>"}, "additional_special_tokens: wrong kind"),
    ],
)
def test_bad_settings_are_named(folder, content, message):
    write(folder, **content)
    with pytest.raises(LlamaError, match=message):
        LlamaTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\x00", "[" * 100_000])
def test_settings_that_are_no_json_object_are_refused(folder, text):
    (folder / "tokenizer_config.json").write_text(text)
    with pytest.raises(LlamaError, match=r"tokenizer_config\.json"):
        LlamaTokenizer.from_pretrained(folder)


def test_what_isnt_there_is_named(tmp_path, folder):
    with pytest.raises(LlamaError, match="nowhere: no such folder"):
        LlamaTokenizer.from_pretrained(tmp_path / "nowhere")
    (folder / "tokenizer.model").rename(folder / "tokenizer.old")
    with pytest.raises(LlamaError, match=r"tokenizer\.model: no such file.*found tokenizer\.old"):
        LlamaTokenizer.from_pretrained(folder)
    (folder / "tokenizer.old").rename(folder / "tokenizer.json")
    with pytest.raises(LlamaError, match=r"tokenizer\.json: not valid JSON"):
        LlamaTokenizer.from_pretrained(folder)


def test_a_setting_that_there_isnt_is_refused(folder):
    with pytest.raises(LlamaError, match="vocab: no such setting"):
        LlamaTokenizer.from_pretrained(folder, vocab=3)


# A tokenizer.json beside the tokenizer.model


def tokenizer_json(vocabulary, judges, by_score: bool = True, around: dict | None = None) -> dict:
    """What transformers 4 wrote: the same merges as the judge's, but in order of the scores."""
    content = json.loads(judges["tokenizers"](vocabulary.data).to_str())
    if by_score:
        judge = vocabulary.sentencepiece
        score = {judge.id_to_piece(index): judge.get_score(index) for index in range(judge.get_piece_size())}
        content["model"]["merges"].sort(key=lambda pair: -score["".join(pair)])
    content["post_processor"] = around
    return content


def template(*parts: str) -> dict:
    single = [{"Sequence": {"id": "A", "type_id": 0}} if part == "A" else part_of(part) for part in parts]
    special = {
        part: {"id": part, "ids": [1 if part == "<s>" else 2], "tokens": [part]} for part in parts if part != "A"
    }
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}


def part_of(token: str) -> dict:
    return {"SpecialToken": {"id": token, "type_id": 0}}


@pytest.mark.parametrize("by_score", [True, False])
def test_its_order_of_merging_counts(tmp_path, vocabulary, judges, texts, by_score):
    from hypothesis import given, settings
    from hypothesis import strategies as st
    from tokenizers import Tokenizer

    content = tokenizer_json(vocabulary, judges, by_score)
    shutil.copy(vocabulary.path, tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    judge = Tokenizer.from_str(json.dumps(content))
    ours = LlamaTokenizer.from_pretrained(tmp_path, add_bos_token=False)

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test(data):
        text = data.draw(texts)
        assert ours.encode(text) == judge.encode(text).ids

    test()
    if not by_score:
        assert ours.encode("a  b if x:\n    y") == vocabulary.default.encode("a  b if x:\n    y")


def test_in_order_of_score_spaces_merge_as_in_sentencepiece(tmp_path, llama2, judges):
    content = tokenizer_json(llama2, judges)
    shutil.copy(llama2.path, tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    ours = LlamaTokenizer.from_pretrained(tmp_path, add_bos_token=False)
    assert ours.encode("a  b") == [263, 29871, 289] == llama2.legacy.encode("a  b")
    assert llama2.default.encode("a  b") == [263, 259, 29890]


def test_its_special_tokens_around_a_text_count(folder, embedded, judges):
    for parts, expected in (
        (("<s>", "A"), (True, False)),
        (("<s>", "A", "</s>"), (True, True)),
        (("A",), (False, False)),
    ):
        content = tokenizer_json(embedded, judges, around=template(*parts))
        (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        write(folder, add_bos_token=not expected[0])
        tokenizer = LlamaTokenizer.from_pretrained(folder)
        assert (tokenizer.add_bos_token, tokenizer.add_eos_token) == expected


def test_it_is_saved_with_what_changed(folder, tmp_path, embedded, judges):
    content = tokenizer_json(embedded, judges, around=template("<s>", "A"))
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.add_bos_token, tokenizer.add_eos_token = False, True
    assert len(tokenizer.save_pretrained(tmp_path / "new")) == 4
    saved = json.loads((tmp_path / "new" / "tokenizer.json").read_text(encoding="utf-8"))
    assert saved["model"] == content["model"]
    again = LlamaTokenizer.from_pretrained(tmp_path / "new")
    assert (again.add_bos_token, again.add_eos_token, again.merges) == (False, True, tokenizer.merges)
    from tokenizers import Tokenizer

    judge = Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json"))
    assert judge.encode("hi  you").ids == again.encode("hi  you")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "type"), "Unigram", "expected BPE, found Unigram"),
        (("model", "vocab"), {"a": 0}, "another vocabulary"),
        (("model", "merges"), None, "merges: no list"),
        (("model", "merges"), [["a", "no such"]], "number 0: no merge"),
        (("model", "merges"), ["a"], "number 0: no merge"),
        (("model", "merges"), [5], "number 0: no merge"),
        (("model",), 5, "expected BPE"),
    ],
)
def test_one_that_doesnt_fit_is_refused(folder, embedded, judges, path, value, message):
    content = tokenizer_json(embedded, judges, by_score=False)
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LlamaError, match=message):
        LlamaTokenizer.from_pretrained(folder)


def test_another_class_of_tokenizer_is_warned_of(folder):
    write(folder, tokenizer_class="GemmaTokenizer")
    with pytest.warns(LlamaWarning, match="GemmaTokenizer"):
        LlamaTokenizer.from_pretrained(folder)
