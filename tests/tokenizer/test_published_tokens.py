"""Ids that others published or computed, kept in data/published_tokens."""

import hashlib
import json
from pathlib import Path

import pytest

from numpy_llama.tokenizer import LlamaTokenizer

FOLDER = Path(__file__).resolve().parents[2] / "data" / "published_tokens"
PUBLISHED = json.loads((FOLDER / "llama-tokenizer.json").read_text())["cases"]
EDGE_CASES = json.loads((FOLDER / "edge_cases.json").read_text())


@pytest.mark.parametrize("case", PUBLISHED, ids=[f"{case['text']} {case['add_prefix_space']}" for case in PUBLISHED])
@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "default"])
def test_ids_that_hugging_face_publishes(llama2, case, legacy):
    tokenizer = LlamaTokenizer.from_pretrained(llama2.path, legacy=legacy, add_prefix_space=case["add_prefix_space"])
    assert tokenizer.encode(case["text"]) == case["ids"]


@pytest.mark.parametrize("mode", ["legacy", "default"])
def test_edge_cases(llama2, mode):
    assert hashlib.sha256(llama2.data).hexdigest() == EDGE_CASES["tokenizer_model_sha256"]
    tokenizer = getattr(llama2, mode)
    for case in EDGE_CASES["table"]:
        assert tokenizer.encode(case["text"]) == case[mode]["ids"], case["text"]
        assert tokenizer.decode(case[mode]["ids"]) == case[mode]["decoded"], case["text"]


def test_the_examples_in_the_docstring(llama2):
    for text, legacy, default in (
        ("  hi", [259, 7251], [259, 2918]),
        ("a  b", [263, 29871, 289], [263, 259, 29890]),
        ("<s>", [529, 29879, 29958], [1]),
        ("Hello world", [15043, 3186], [15043, 3186]),
    ):
        assert llama2.legacy.encode(text) == legacy
        assert llama2.default.encode(text) == default
    assert llama2.default.decode([15043, 3186]) == "Hello world"


def test_the_table_says_how_many_differ():
    table = EDGE_CASES["table"]
    assert len(table) == EDGE_CASES["cases"]
    differing = [case for case in table if case["legacy"]["ids"] != case["default"]["ids"]]
    assert len(differing) == EDGE_CASES["cases_that_differ"]
