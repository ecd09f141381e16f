"""The exported folder, read with nothing but the standard library: it holds what the model card promises."""

import itertools
import json
import struct
from pathlib import Path

import pytest

from data.training.plots import GRAMMAR

FOLDER = Path(__file__).resolve().parents[2] / "data" / "storyteller"


def read(name: str) -> dict:
    return json.loads((FOLDER / name).read_text())


def test_the_weights_are_small_and_of_two_bytes() -> None:
    data = (FOLDER / "model.safetensors").read_bytes()
    assert len(data) <= 4_000_000
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    assert {entry["dtype"] for entry in header.values()} <= {"F16", "BF16"}
    offsets = [entry["data_offsets"] for entry in header.values()]
    assert sum(end - start for start, end in offsets) // 2 <= 2_000_000


def test_the_network_is_a_llama_with_grouped_queries() -> None:
    config = read("config.json")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["num_attention_heads"] >= 2 * config["num_key_value_heads"]
    assert config["max_position_embeddings"] == 512
    assert 1024 <= config["vocab_size"] <= 2048


def test_the_folder_is_complete() -> None:
    for name in ["generation_config.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"]:
        assert (FOLDER / name).exists(), name
    assert (FOLDER / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_measured_figures_keep_the_promise() -> None:
    figures = read("evaluation.json")
    assert figures["held_out"]["excess"] <= 0.03
    assert figures["sampled"]["stories"] == 200
    assert figures["sampled"]["share"] >= 0.95


def test_the_figures_belong_to_this_grammar() -> None:
    figures = read("evaluation.json")
    entropy, distinct = GRAMMAR.spread()
    assert figures["corpus"]["nats_per_story"] == pytest.approx(entropy, abs=1e-4)
    assert figures["corpus"]["stories"] == distinct
    slips = {failure["text"] for failure in figures["sampled"]["failures"]}
    assert figures["sampled"]["obey"] == 200 - len(figures["sampled"]["failures"])
    assert all(GRAMMAR.judge(text).obeys == (text not in slips) for text in figures["sampled"]["samples"])


def test_the_tokenizer_spells_stories_and_gives_them_back() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / "tokenizer.model"))
    assert [tokenizer.id_to_piece(i) for i in range(3)] == ["<unk>", "<s>", "</s>"]
    for story in itertools.islice(GRAMMAR.stories(seed=4), 50):
        ids = tokenizer.encode(story.text)
        assert tokenizer.decode(ids) == story.text
        assert len(ids) < 510
    assert not any(tokenizer.is_byte(i) for i in tokenizer.encode("The quick brown Fox: 4 + 5 = 9; {~}"))
