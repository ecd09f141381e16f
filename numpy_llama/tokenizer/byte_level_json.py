"""A tokenizer.json of Llama 3's and SmolLM2's kind: what it says, and how to write it.

    normalizer       none, or NFC
    pre_tokenizer    how a text is cut into words (pre_tokenizers.py); ByteLevel in it is what the kind is known by
    model            BPE: vocab, merges, ignore_merges, unk_token
    post_processor   the special tokens around a text (template.py)
    decoder          ByteLevel
    added_tokens     what texts are cut at; those beyond the vocabulary follow it without a gap

Anything else is refused by name: to leave it out would give other ids in silence.

Source: the files of meta-llama/Llama-3.x and HuggingFaceTB/SmolLM2; the `tokenizers` library.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.folder_settings import written_token
from numpy_llama.tokenizer.pre_tokenizers import is_byte_level
from numpy_llama.tokenizer.template import Template, read_template, write_template
from numpy_llama.tokenizer.tokenizer_json import read_added

if TYPE_CHECKING:
    from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer

FLAGS = ("ignore_merges", "fuse_unk")
NOT_HERE = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")  # null, false or ""


@dataclass(frozen=True)
class ByteLevelJson:
    """What the file says.

    arguments  of ByteLevelTokenizer: vocab, merges, pre_tokenizer, nfc, ignore_merges, unknown, fuse_unknown, source
    added      {id: token} of the added tokens
    template   what goes around a text
    """

    arguments: dict[str, Any]
    added: dict[int, AddedToken]
    template: Template


def read_byte_level_json(path: Path) -> ByteLevelJson:
    """Read such a tokenizer.json.

    raises  LlamaError naming file and field, where the file is damaged or asks for what isn't done here
    """
    content = read_json(path)
    model = content.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE":
        raise LlamaError(
            "another kind of tokenizer", where=f"{path}: model.type", expected="BPE", found=repr(kind)[:80]
        )
    if not is_byte_level(content.get("pre_tokenizer")):
        found = repr(content.get("pre_tokenizer"))[:80]
        raise LlamaError("no byte-level tokenizer", where=f"{path}: pre_tokenizer", expected="ByteLevel", found=found)
    for name in NOT_HERE:
        if model.get(name):
            raise LlamaError("this isn't done here", where=f"{path}: model.{name}", found=repr(model[name])[:80])
    for name in FLAGS:
        if not isinstance(model.get(name, False), bool):
            found = repr(model[name])[:80]
            raise LlamaError("wrong kind", where=f"{path}: model.{name}", expected="true or false", found=found)
    unknown = model.get("unk_token")
    if unknown is not None and not isinstance(unknown, str):
        raise LlamaError("no token", where=f"{path}: model.unk_token", found=repr(unknown)[:80])
    decoder = content.get("decoder")
    if not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel":
        found = repr(decoder)[:80]
        raise LlamaError("another kind of decoder", where=f"{path}: decoder", expected="ByteLevel", found=found)
    if not isinstance(model.get("vocab"), dict):
        found = type(model.get("vocab")).__name__
        raise LlamaError("no vocabulary", where=f"{path}: model.vocab", expected="{token: id}", found=found)
    if not isinstance(model.get("merges"), list):
        found = type(model.get("merges")).__name__
        raise LlamaError("no list", where=f"{path}: model.merges", expected="a list of pairs", found=found)
    arguments = {
        "vocab": model["vocab"],
        "merges": model["merges"],
        "pre_tokenizer": content["pre_tokenizer"],
        "nfc": _nfc(content.get("normalizer"), f"{path}: normalizer"),
        "ignore_merges": model.get("ignore_merges", False),
        "unknown": unknown,
        "fuse_unknown": model.get("fuse_unk", False),
        "source": str(path),
    }
    added = read_added(content.get("added_tokens"), path)
    template = read_template(content.get("post_processor"), f"{path}: post_processor") or Template()
    return ByteLevelJson(arguments, added, template)


def byte_level_json_bytes(tokenizer: "ByteLevelTokenizer") -> bytes:
    """The tokenizer.json of a tokenizer, as the `tokenizers` library reads it."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    vocab = {token: index for index, token in enumerate(tokens[: tokenizer.vocab_size])}
    merges = merges_by_number(vocab) if tokenizer.merges is None else tokenizer.merges
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, **written_token(token)} for index, token in tokenizer.added_tokens_decoder.items()
        ],
        "normalizer": {"type": "NFC"} if tokenizer.nfc else None,
        "pre_tokenizer": tokenizer.pre_tokenizer,
        "post_processor": write_template(tokenizer._template(), tokens),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": tokenizer.unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": tokenizer.fuse_unknown,
            "byte_fallback": False,
            "ignore_merges": tokenizer.ignore_merges,
            "vocab": vocab,
            "merges": [list(pair) for pair in merges],
        },
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def merges_by_number(id_of: Mapping[str, int]) -> list[tuple[str, str]]:
    """A list of merges for a vocabulary that merges by number (tiktoken's): every way to make each token of two.

    In order of the token, then of its left half, then of its right one: as transformers converts such files. It merges
    as the numbers do, but where one token can be made in two ways that overlap in a text (aa a, a aa).
    """
    merges = []
    for token in sorted(id_of, key=id_of.__getitem__):
        cuts = ((token[:place], token[place:]) for place in range(1, len(token)))
        merges += sorted(
            (id_of[left], id_of[right], left, right) for left, right in cuts if left in id_of and right in id_of
        )
    return [(left, right) for _, _, left, right in merges]


def _nfc(normalizer: object, where: str) -> bool:
    """Whether texts are normalized to NFC.

    raises  LlamaError where they are normalized otherwise
    """
    if normalizer is None:
        return False
    kind = normalizer.get("type") if isinstance(normalizer, dict) else None
    if isinstance(normalizer, dict) and kind == "Sequence":
        steps = normalizer.get("normalizers")
        if not isinstance(steps, list) or any(
            isinstance(step, dict) and step.get("type") == "Sequence" for step in steps
        ):
            raise LlamaError("no list of normalizers", where=where, found=repr(steps)[:80])
        said = [_nfc(step, where) for step in steps]  # each is checked
        return any(said)
    if kind != "NFC":
        found = repr(normalizer if kind is None else kind)[:80]
        raise LlamaError("no such normalizer here", where=where, expected="NFC or null", found=found)
    return True
