"""What a tokenizer.json beside the tokenizer.model changes, by transformers' rules.

transformers 5 prefers that file, and takes two things from it that change ids:

    model.merges     the order of merging. A file that transformers 4 wrote is in order of score, as sentencepiece is:
                     "a  b" is ▁a ▁ ▁b. From the tokenizer.model alone transformers 5 makes another: ▁a ▁▁ b
    post_processor   the special tokens around a text; add_bos_token and add_eos_token of the settings don't count

The rest of the file says again what tokenizer.model says, or is replaced by what the class LlamaTokenizer does.
"""

import json
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json
from numpy_llama.tokenizer.sentencepiece_model import SentencePieceModel

TOKENIZER_JSON = "tokenizer.json"


def read_tokenizer_json(path: Path, model: SentencePieceModel) -> tuple[list[tuple[str, str]], dict[str, bool]]:
    """The merges, best first, and add_bos_token and add_eos_token where the file says something about them.

    raises  LlamaError where the file is another kind of tokenizer, or doesn't fit the tokenizer.model
    """
    content = read_json(path)
    inside = content.get("model")
    kind = inside.get("type") if isinstance(inside, dict) else None
    if not isinstance(inside, dict) or kind != "BPE":
        raise LlamaError("another kind of tokenizer", where=f"{path}: model.type", expected="BPE", found=kind)
    if inside.get("vocab") != {piece: index for index, piece in enumerate(model.pieces)}:
        raise LlamaError("another vocabulary than the tokenizer.model beside it", where=f"{path}: model.vocab")
    written = inside.get("merges")
    if not isinstance(written, list):
        raise LlamaError("no list", where=f"{path}: model.merges", found=type(written).__name__)
    known = set(model.pieces)
    merges = []
    for place, pair in enumerate(written):
        halves = pair.split(" ") if isinstance(pair, str) else pair
        if (
            not isinstance(halves, list)
            or len(halves) != 2
            or not all(isinstance(half, str) for half in halves)
            or not known.issuperset((*halves, halves[0] + halves[1]))
        ):
            where = f"{path}: model.merges, number {place}"
            raise LlamaError("no merge", where=where, expected="two pieces that make a third", found=repr(pair)[:80])
        merges.append((halves[0], halves[1]))
    return merges, _around(content.get("post_processor"))


def with_special_tokens_around(data: bytes, bos: tuple[str, int] | None, eos: tuple[str, int] | None) -> bytes:
    """The file's bytes again, with these tokens before and after a text."""
    content = json.loads(data)

    def special(token: tuple[str, int] | None, part: int) -> list[dict[str, Any]]:
        return [] if token is None else [{"SpecialToken": {"id": token[0], "type_id": part}}]

    def sequence(name: str, part: int) -> list[dict[str, Any]]:
        return [*special(bos, part), {"Sequence": {"id": name, "type_id": part}}, *special(eos, part)]

    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": [*sequence("A", 0), *sequence("B", 1)],
        "special_tokens": {
            token[0]: {"id": token[0], "ids": [token[1]], "tokens": [token[0]]}
            for token in (bos, eos)
            if token is not None
        },
    }
    return json.dumps(content, ensure_ascii=False).encode("utf-8")


def _around(processor: object) -> dict[str, bool]:
    """add_bos_token and add_eos_token, from the template of a single text."""
    template = processor.get("single") if isinstance(processor, dict) else None
    if not isinstance(template, list):
        return {}
    kinds = ["Sequence" in part for part in template if isinstance(part, dict)]
    if True not in kinds:
        return {}
    return {"add_bos_token": not kinds[0], "add_eos_token": not kinds[-1]}
