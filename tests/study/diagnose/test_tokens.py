"""From texts and ids: the tokenizer's mistake that was planted is named, and none where none was."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError, embedded_model_folder
from numpy_llama.study.diagnose.encoding import Encoding
from numpy_llama.study.diagnose.token_mistakes import TOKEN_MISTAKES
from numpy_llama.study.diagnose.tokens import Sample, diagnose_tokens, read_tokens
from numpy_llama.tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.byte_level_bpe import BYTE_CHARACTERS
from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer
from numpy_llama.tokenizer.pre_tokenizers import LLAMA3

TEXTS = (
    "Hello world, it's 12345 o'clock.",
    "  Two  spaces\r\nand a line\n\n\n break ",
    "naïve café 😀 ﬁne ２",
    "e\u0301tude <s> inside </s> the end",
    "unbelievable implementations don't straightforwardly tokenize",
    "DON'T SHOUT 2024",
    "the clock",
    "lock<s>lock",
    "",
)


def byte_level():
    """A vocabulary of bytes, and of what a few merges make of them, whole words among them."""
    merges = ["Ġ t", "h e", "Ġt he", "i n", "1 2", "3 4", "12 34", "e n", "Ġ e", "Ġe n", "n d", "en d", "' t", "o n"]
    merges += ["D O", "N '", "\n \n".replace("\n", "Ċ"), "Ġ Ġ"]
    tokens = [*BYTE_CHARACTERS, *(merge.replace(" ", "") for merge in merges), "lock"]
    return ByteLevelTokenizer(
        tokens, merges, pre_tokenizer=LLAMA3, bos_token="<s>", eos_token="</s>", add_bos_token=True,
        added_tokens=[AddedToken("<s>"), AddedToken("</s>")], ignore_merges=True,
    )  # fmt: skip


TOKENIZERS = {
    "llama": lambda: LlamaTokenizer.from_pretrained(embedded_model_folder()),
    "legacy": lambda: LlamaTokenizer.from_pretrained(embedded_model_folder(), legacy=True),
    "byte level": byte_level,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def ids_of(encoding, texts=TEXTS):
    return [Sample(text, tuple(encoding.ids(text))) for text in texts]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_no_mistake_is_blamed_where_there_is_none(texts):
    for make in TOKENIZERS.values():
        tokenizer = make() if make is byte_level else CACHE.setdefault(make, make())
        found = diagnose_tokens(tokenizer, ids_of(Encoding(tokenizer), texts))
        assert (found.verdict, found.mistakes, found.differing) == ("agrees", (), 0)


CACHE: dict = {}


def test_every_mistake_is_named_or_cannot_be_seen(tokenizer):
    named = 0
    for key, mistake in TOKEN_MISTAKES.items():
        for label, planted in mistake.plant(Encoding(tokenizer)):
            samples = ids_of(planted)
            found = diagnose_tokens(tokenizer, samples)
            if samples == ids_of(Encoding(tokenizer)):
                assert found.verdict == "agrees", (key, label)
                continue
            assert found.verdict == "mistake" and key in (*found.mistakes, *found.equals), (key, label, found)
            assert found.differing > 0 and found.explained == len(TEXTS)
            named += 1
    assert named >= 14


def test_every_mistake_shows_with_some_tokenizer():
    """But for two that need another vocabulary: one with ids and merges at odds, one without BOS."""
    shown = set()
    for make in TOKENIZERS.values():
        plain = Encoding(make())
        for key, mistake in TOKEN_MISTAKES.items():
            if any(ids_of(planted) != ids_of(plain) for _, planted in mistake.plant(plain)):
                shown.add(key)
    assert len(TOKEN_MISTAKES) >= 12
    assert set(TOKEN_MISTAKES) - shown <= {"merged-by-id", "bos-added"}


def test_two_mistakes_are_named_together(tokenizer):
    for first, second in (("bos-doubled", "lowercased"), ("prefix-space-added", "nfkc")):
        planted = Encoding(tokenizer)
        for key in (first, second):
            planted = next(iter(TOKEN_MISTAKES[key].plant(planted)))[1]
        found = diagnose_tokens(tokenizer, ids_of(planted))
        assert found.verdict == "pair" and set(found.mistakes) == {first, second}


def test_ids_that_no_mistake_explains_get_no_name(tokenizer):
    samples = [Sample(one.text, one.ids[::-1]) for one in ids_of(Encoding(tokenizer))]
    found = diagnose_tokens(tokenizer, samples)
    assert (found.verdict, found.mistakes) == ("unknown", ())
    assert found.example["number"] == 0 and "other ids" in found.sentence()


def test_ids_without_special_tokens_agree_where_that_is_said(tokenizer):
    samples = ids_of(Encoding(tokenizer, around=False))
    assert diagnose_tokens(tokenizer, samples, around=False).verdict == "agrees"
    assert diagnose_tokens(tokenizer, samples).mistakes == ("bos-missing",)


def test_texts_are_read_from_a_list_or_from_lines(tmp_path):
    items = [{"text": "a\u2028b", "ids": [1, 2]}, {"text": "", "input_ids": []}]
    listed, lines = tmp_path / "list.json", tmp_path / "lines.jsonl"
    listed.write_text(json.dumps(items, indent=1), encoding="utf-8-sig")
    lines.write_text("\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n", encoding="utf-8")
    assert read_tokens(listed) == read_tokens(lines) == [Sample("a\u2028b", (1, 2)), Sample("", ())]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no texts"),
        (b"[]", "no texts"),
        (b"[" * 100_000, "no JSON"),
        (b"{'text'}", "line 1: no JSON"),
        (b"\xff", "not valid UTF-8"),
        (b'["a"]', "text 0: no text with its ids"),
        (b'[{"text": 1, "ids": []}]', "text 0.text: no text"),
        (b'[{"text": "\\ud800", "ids": []}]', "text 0.text: no text"),
        (b'[{"text": "a"}]', "text 0.ids: no ids"),
        (b'[{"text": "a", "ids": [1.5]}]', "text 0.ids: no ids"),
        (b'[{"text": "a", "ids": [true]}]', "text 0.ids: no ids"),
    ],
)
def test_a_file_that_holds_no_texts_is_an_error_of_one_line(tmp_path: Path, content, says):
    path = tmp_path / "texts.json"
    path.write_bytes(content)
    with pytest.raises(LlamaError) as error:
        read_tokens(path)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_ids_of_another_vocabulary_are_an_error(tokenizer):
    with pytest.raises(LlamaError, match="text 1: no such token id"):
        diagnose_tokens(tokenizer, [Sample("a", ()), Sample("b", (10**9,))])
