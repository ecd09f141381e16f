"""LlamaTokenizer beside the class of the same name in transformers, on any text and any ids."""

import importlib.util
import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

from numpy_llama.tokenizer import LlamaTokenizer  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
AWKWARD = [
    *(
        " ",
        "  ",
        "   ",
        "\t",
        "\n",
        "\u00a0",
        "\u2581",
        "\x00",
        "\u200d",
        "<s>",
        "</s>",
        "<unk>",
        " <s> ",
        "<s",
        "<0x41>",
    ),
    *("the", "hello", "once upon a time", "return", "12", "é", "e\u0301", "日本", "😀", "//", "    return x\n"),
]


def models() -> list[Path]:
    """Every tokenizer.model that is there: the embedded one, mistral-common's, Llama 2's."""
    found = [ROOT / "data" / "storyteller" / "tokenizer.model"]
    spec = importlib.util.find_spec("mistral_common")
    if spec is not None:
        found += [Path(folder) / "data" / "tokenizer.model.v1" for folder in spec.submodule_search_locations or ()]
    found += [folder / "shared" / "published" / "llama2-tokenizer.model" for folder in ROOT.parents]
    return [path for path in found if path.is_file()]


@pytest.fixture(params=models(), ids=lambda path: path.name)
def folder(request, tmp_path, monkeypatch):
    """A folder with nothing but one of them."""
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    shutil.copy(request.param, tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.model").chmod(0o644)
    return tmp_path


def texts(count: int, seed: int) -> list[str]:
    """Awkward texts, the same ones every time. (hypothesis explores the same property in tests/tokenizer.)"""
    choose = random.Random(seed)

    def anything() -> str:
        return chr(choose.choice([choose.randrange(0xD800), choose.randrange(0xE000, sys.maxunicode + 1)]))

    pieces = [lambda: choose.choice(AWKWARD), lambda: choose.choice(AWKWARD), anything]
    return ["".join(choose.choice(pieces)() for _ in range(choose.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize("add_prefix_space", [None, True, False])
def test_text_to_ids_and_back(folder, add_prefix_space):
    judge = transformers.LlamaTokenizer.from_pretrained(folder, add_prefix_space=add_prefix_space)
    ours = LlamaTokenizer.from_pretrained(folder, add_prefix_space=add_prefix_space, add_bos_token=False)
    for text in texts(1500, seed=1):
        ids = judge.encode(text)
        assert ours.encode(text) == ids, text
        assert ours.tokenize(text) == judge.tokenize(text), text
        for skip in (False, True):
            assert ours.decode(ids, skip) == judge.decode(ids, skip_special_tokens=skip), text
    choose = random.Random(2)
    for _ in range(1500):
        ids = [choose.randrange(choose.choice([260, len(ours)])) for _ in range(choose.randrange(10))]
        for skip in (False, True):
            assert ours.decode(ids, skip) == judge.decode(ids, skip_special_tokens=skip), ids


def test_calls(folder):
    options = {"add_bos_token": True, "add_eos_token": True, "pad_token": "</s>", "model_max_length": 12}
    judge = transformers.LlamaTokenizer.from_pretrained(folder, **options)
    ours = LlamaTokenizer.from_pretrained(folder, **options)
    batch = ["hi", "hello <s> you", "  there was a girl and a boy and a dog", ""]
    for call in (
        {},
        {"padding": True},
        {"padding": "longest", "return_tensors": "np"},
        {"padding": "max_length"},
        {"padding": "max_length", "max_length": 9},
        {"truncation": True},
        {"truncation": True, "max_length": 6},
        {"max_length": 6},
        {"truncation": True, "max_length": 6, "padding": True, "return_tensors": "np"},
        {"truncation": True, "max_length": 2},
        {"add_special_tokens": False, "truncation": True, "max_length": 3},
        {"padding": True, "padding_side": "right", "return_special_tokens_mask": True},
    ):
        for side in ("right", "left"):
            judge.truncation_side = ours.truncation_side = side
            found, expected = ours(batch, **call), judge(batch, **call)
            assert sorted(found) == sorted(expected)
            for key, value in expected.items():
                assert (found[key] == value) if isinstance(value, list) else (found[key] == value).all(), (call, key)
            if "padding" not in call:
                assert dict(ours(batch[1], **call)) == dict(judge(batch[1], **call))
    ids = [1, 5, 2, 0, 300]
    formatted = {"already_has_special_tokens": True}
    assert ours.get_special_tokens_mask(ids, **formatted) == judge.get_special_tokens_mask(ids, **formatted)
    assert ours.convert_ids_to_tokens(ids) == judge.convert_ids_to_tokens(ids)
    assert ours.convert_ids_to_tokens(ids, True) == judge.convert_ids_to_tokens(ids, skip_special_tokens=True)
    assert ours.convert_tokens_to_ids(["<s>", "▁the", "no such"]) == judge.convert_tokens_to_ids(
        ["<s>", "▁the", "no such"]
    )
    assert sorted(ours.all_special_ids) == sorted(judge.all_special_ids)
    assert ours.get_vocab() == judge.get_vocab()
    assert (len(ours), ours.vocab_size, ours.padding_side) == (len(judge), judge.vocab_size, judge.padding_side)


@pytest.mark.parametrize("changes", [{}, {"add_eos_token": True, "add_bos_token": False}, {"add_prefix_space": False}])
def test_autotokenizer_loads_what_is_saved(folder, tmp_path, changes):
    ours = LlamaTokenizer.from_pretrained(
        folder, pad_token="<pad>", padding_side="right", model_max_length=77, **changes
    )
    ours.save_pretrained(tmp_path / "saved")
    judge = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert type(judge).__name__ == "LlamaTokenizer"
    assert (judge.pad_token_id, judge.padding_side, judge.model_max_length) == (ours.pad_token_id, "right", 77)
    assert (judge.bos_token_id, judge.eos_token_id, judge.unk_token_id) == (1, 2, 0)
    for text in [*texts(300, seed=3), "a<pad>b"]:
        assert ours.encode(text) == judge.encode(text), text
        assert ours.decode(ours.encode(text), True) == judge.decode(judge.encode(text), skip_special_tokens=True)
    assert ours(["hi", "hello you"], padding=True).input_ids == judge(["hi", "hello you"], padding=True).input_ids


@pytest.mark.parametrize(
    ("by_score", "add_bos", "add_eos"), [(True, True, False), (True, False, False), (False, False, True)]
)
def test_we_load_what_transformers_saved(folder, tmp_path, by_score, add_bos, add_eos):
    """by_score: the merges in transformers 4's order, not in transformers 5's."""
    judge = transformers.LlamaTokenizer.from_pretrained(
        folder, add_bos_token=add_bos, add_eos_token=add_eos, pad_token="</s>"
    )
    judge.save_pretrained(tmp_path / "saved")
    shutil.copy(folder / "tokenizer.model", tmp_path / "saved")  # transformers 5 leaves it out
    if by_score:
        path = tmp_path / "saved" / "tokenizer.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = LlamaTokenizer.from_pretrained(folder).model.scores
        content["model"]["merges"].sort(key=lambda pair: -scores[content["model"]["vocab"]["".join(pair)]])
        path.write_text(json.dumps(content), encoding="utf-8")
        judge = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    ours = LlamaTokenizer.from_pretrained(tmp_path / "saved")
    assert ours.pad_token_id == judge.pad_token_id
    for text in texts(300, seed=4):
        assert ours.encode(text) == judge.encode(text), text
    ours.add_eos_token = not add_eos
    ours.save_pretrained(tmp_path / "again")
    judge = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    for text in texts(100, seed=5):
        assert ours.encode(text) == judge.encode(text), text
