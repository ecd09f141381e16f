"""The storyteller's tokenizer: SentencePiece BPE with the settings of Llama's own, trained on the grammar's stories."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import sentencepiece

from .plots import GRAMMAR

VOCAB_SIZE = 1536
CORPUS_SEED = 3  # stories for the tokenizer; the network is trained and tested on others
CORPUS_STORIES = 20_000
PRINTABLE_ASCII = "".join(map(chr, range(33, 127)))

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
UNK_ID, BOS_ID, EOS_ID = 0, 1, 2

SPECIAL_TOKENS = {"bos_token": BOS, "eos_token": EOS, "unk_token": UNK}


def train_tokenizer() -> bytes:
    """Train on the first stories of the tokenizer's own stream; returns the bytes of tokenizer.model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(story.text for story in itertools.islice(GRAMMAR.stories(CORPUS_SEED), CORPUS_STORIES)),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        normalization_rule_name="identity",  # text comes back as it went in
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,  # the first word gets its space, and so the same piece as anywhere else
        allow_whitespace_only_pieces=True,
        split_digits=True,
        byte_fallback=True,  # what no piece spells is spelled in bytes
        character_coverage=1.0,
        required_chars=PRINTABLE_ASCII,  # so that any English text is spelled in characters, not in bytes
        unk_id=UNK_ID,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        pad_id=-1,
        num_threads=2,
        minloglevel=1,
    )
    return model.getvalue()


def write_tokenizer(model: bytes, folder: Path) -> None:
    """Write tokenizer.model and the settings that Hugging Face keeps beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    settings: dict[str, object] = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        **SPECIAL_TOKENS,
        "pad_token": None,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "sp_model_kwargs": {},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(SPECIAL_TOKENS, indent=2) + "\n")


def load_tokenizer(folder: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
