"""What goes around a text, or around two: special tokens, and which of the two texts a token belongs to.

    single   <s> A              [1, 15043]                 what most Llamas do
    pair     <s> A <s> B        [1, 15043, 1, 3186]        types 0 0 1 1

A tokenizer.json writes the two templates out (its post_processor); a tokenizer.model leaves them to the settings
add_bos_token and add_eos_token.

source  TemplateProcessing of the `tokenizers` library
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy_llama.errors import LlamaError

Part = tuple[int | str, int]  # a token's id, or "A" or "B" for a text; and the type of what it makes
STEPS_WITHOUT_TOKENS = ("ByteLevel",)  # a post-processor that only moves offsets


@dataclass(frozen=True)
class Filled:
    """A filled template: three lists (T,) of int."""

    ids: list[int]
    types: list[int]
    special: list[int]  # 1 for what the template added


@dataclass(frozen=True)
class Template:
    """The parts of one text's template, and of two texts'."""

    single: tuple[Part, ...] = (("A", 0),)
    pair: tuple[Part, ...] = (("A", 0), ("B", 1))

    @classmethod
    def around(cls, before: Sequence[int], after: Sequence[int]) -> "Template":
        """The same tokens around each text."""
        first: list[Part] = [*((token, 0) for token in before), ("A", 0), *((token, 0) for token in after)]
        second: list[Part] = [*((token, 1) for token in before), ("B", 1), *((token, 1) for token in after)]
        return cls(tuple(first), tuple(first + second))

    def added(self, pair: bool = False) -> int:
        """How many tokens it adds."""
        return sum(isinstance(part, int) for part, _ in (self.pair if pair else self.single))

    def fill(self, ids: Sequence[int], more_ids: Sequence[int] | None = None) -> Filled:
        """One text's ids put into the single template, or two texts' into the pair's."""
        texts = {"A": ids, "B": more_ids or ()}
        filled = Filled([], [], [])
        for part, kind in self.single if more_ids is None else self.pair:
            put = [part] if isinstance(part, int) else texts[part]
            filled.ids.extend(put)
            filled.types.extend([kind] * len(put))
            filled.special.extend([int(isinstance(part, int))] * len(put))
        return filled


def read_template(processor: object, where: str) -> Template | None:
    """The template in the post_processor of a tokenizer.json; None where that adds nothing of its own.

    raises  LlamaError where it is of another kind, or none
    """
    if processor is None:
        return None
    kind = processor.get("type") if isinstance(processor, dict) else None
    if not isinstance(processor, dict) or not isinstance(kind, str):
        raise LlamaError("no post-processor", where=where, expected="an object with a type", found=repr(processor)[:80])
    if kind == "Sequence":
        steps = processor.get("processors")
        if not isinstance(steps, list):
            raise LlamaError("no list", where=f"{where}.processors", found=repr(steps)[:80])
        # One level, as every file has it: a sequence of sequences could be of any depth.
        nested = [step for step in steps if isinstance(step, dict) and step.get("type") == "Sequence"]
        if nested:
            raise LlamaError("a sequence in a sequence", where=where)
        found = [template for step in steps if (template := read_template(step, where)) is not None]
        if len(found) > 1:
            raise LlamaError("more than one template", where=where, expected="one TemplateProcessing", found=len(found))
        return found[0] if found else None
    if kind in STEPS_WITHOUT_TOKENS:
        return None
    if kind != "TemplateProcessing":
        expected = "TemplateProcessing, or a Sequence with one"
        raise LlamaError("another kind of post-processor", where=where, expected=expected, found=kind)
    special = processor.get("special_tokens")
    special = special if isinstance(special, dict) else {}
    return Template(
        _parts(processor.get("single"), special, ("A",), f"{where}.single"),
        _parts(processor.get("pair"), special, ("A", "B"), f"{where}.pair"),
    )


def write_template(template: Template, tokens: Sequence[str]) -> dict[str, Any]:
    """The post_processor of a tokenizer.json that says the same; tokens: the vocabulary, by id."""

    def written(part: int | str, kind: int) -> dict[str, Any]:
        if isinstance(part, int):
            return {"SpecialToken": {"id": tokens[part], "type_id": kind}}
        return {"Sequence": {"id": part, "type_id": kind}}

    ids = sorted({part for part, _ in (*template.single, *template.pair) if isinstance(part, int)})
    return {
        "type": "TemplateProcessing",
        "single": [written(*part) for part in template.single],
        "pair": [written(*part) for part in template.pair],
        "special_tokens": {tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]} for i in ids},
    }


def _parts(listed: object, special: dict[str, Any], texts: tuple[str, ...], where: str) -> tuple[Part, ...]:
    """One of the two templates."""
    if not isinstance(listed, list):
        raise LlamaError("no template", where=where, expected="a list of parts", found=repr(listed)[:80])
    parts: list[Part] = []
    for piece in listed:
        name, inside = next(iter(piece.items())) if isinstance(piece, dict) and len(piece) == 1 else (None, None)
        kind, token = (inside.get("type_id"), inside.get("id")) if isinstance(inside, dict) else (None, None)
        if not isinstance(kind, int) or isinstance(kind, bool) or not 0 <= kind < 2**31 or not isinstance(token, str):
            raise LlamaError("no part of a template", where=where, found=repr(piece)[:80])
        if name == "Sequence" and token in texts:
            parts.append((token, kind))
        elif name == "SpecialToken":
            known = special.get(token)
            ids = known.get("ids") if isinstance(known, dict) else None
            if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < 2**31 for i in ids):
                raise LlamaError("a special token without ids", where=where, found=repr(token)[:80])
            parts.extend((i, kind) for i in ids)
        else:
            raise LlamaError("no part of a template", where=where, found=repr(piece)[:80])
    put_in = [part for part, _ in parts if isinstance(part, str)]
    if "A" not in put_in or len(put_in) != len(set(put_in)):
        raise LlamaError("a template puts each text in once", where=where, expected=" ".join(texts), found=put_in)
    return tuple(parts)
