"""Which known mistake of a tokenizer makes somebody else's ids what they are: each is planted in ours, then by twos.

Ids are equal or not, so a verdict is plain: a mistake is blamed where with it every text has their ids, and without it
some have not. The fewest mistakes are preferred; those that change none of the texts are never blamed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path
from numpy_llama.study.diagnose.encoding import Encoding
from numpy_llama.study.diagnose.token_mistakes import TOKEN_MISTAKES, TokenMistake
from numpy_llama.tokenizer.base import Tokenizer

LARGEST_FILE = 64 * 2**20  # bytes
SHOWN = 8  # tokens of an example
Found = tuple[str, str, Encoding, list[list[int]]]  # key, label, how it encodes, the ids of every text


@dataclass(frozen=True)
class Sample:
    """A text and the ids that another tokenizer gave it."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class TokenDiagnosis:
    """Which known mistake makes another tokenizer's ids what they are.

    verdict     agrees: every text has our ids; mistake, pair: with it planted, every text has theirs; partly: more
                texts have them with it than without; unknown: none of that
    blamed      the mistakes, and `labels`, which variant of each
    equals      keys of others that give the same ids for these texts
    texts       how many there are
    differing   how many have other ids than ours
    explained   how many of all have their ids with the mistake planted
    example     the first text that differs: its number, where, the ids and pieces from there on; None where none does
    candidates  key → how many texts it explains, the most first
    unseen      keys of mistakes that change none of these texts
    """

    verdict: Literal["agrees", "mistake", "pair", "partly", "unknown"]
    blamed: tuple[TokenMistake, ...]
    labels: tuple[str, ...]
    equals: tuple[str, ...]
    texts: int
    differing: int
    explained: int
    example: dict[str, Any] | None
    candidates: dict[str, int]
    unseen: tuple[str, ...]

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The keys of what is blamed."""
        return tuple(mistake.key for mistake in self.blamed)

    def sentence(self) -> str:
        """The verdict, for a person."""
        if self.verdict == "agrees":
            return f"No mistake found: all {self.texts} texts have the ids that this model's tokenizer gives them."
        says = ", and ".join(
            mistake.says + (f" ({label})" if label else "")
            for mistake, label in zip(self.blamed, self.labels, strict=True)
        )
        count = f"{self.differing} of {self.texts} texts have other ids than this model's tokenizer gives them"
        if self.verdict == "unknown":
            return f"{count}, and no mistake of the catalogue, nor two of them, explains it."
        if self.verdict == "partly":
            left = self.texts - self.explained
            return f"A suspicion: a tokenizer {says}. {count}; with that mistake, {left} of {self.texts}."
        other = "; or ".join(TOKEN_MISTAKES[key].says for key in self.equals)
        either = f" Or of one {other}: these texts can't tell." if other else ""
        return f"Your ids are those of a tokenizer {says}.{either} {count}; with that planted, none."

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        facts = {name: value for name, value in vars(self).items() if name != "blamed"}
        return {"verdict": self.verdict, "mistakes": self.mistakes, "sentence": self.sentence(), **facts}


def diagnose_tokens(tokenizer: Tokenizer, samples: Sequence[Sample], around: bool = True) -> TokenDiagnosis:
    """Say which known mistake, or pair of them, gives these texts these ids.

    tokenizer  the model's own
    around     whether the ids were made with the special tokens that go around a text
    raises     LlamaError where there are no texts, or an id isn't in the vocabulary: it is another model's
    """
    if not samples:
        raise LlamaError("no texts", expected="at least one text and its ids")
    for number, sample in enumerate(samples):
        wrong = next((token for token in sample.ids if not 0 <= token < len(tokenizer)), None)
        if wrong is not None:
            expected = f"0 … {len(tokenizer) - 1}, as in this model's vocabulary"
            raise LlamaError("no such token id", where=f"text {number}", expected=expected, found=wrong)
    plain = Encoding(tokenizer, around=around)
    theirs = [list(sample.ids) for sample in samples]
    ours = [plain.ids(sample.text) for sample in samples]
    found = _planted(plain, samples)
    seen = [one for one in found if one[3] != ours]
    unseen = tuple(key for key in TOKEN_MISTAKES if all(key != one[0] for one in seen))
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    facts: dict[str, Any] = {"texts": len(samples), "differing": differing, "unseen": unseen}
    if not differing:
        return TokenDiagnosis("agrees", (), (), (), explained=len(samples), example=None, candidates={}, **facts)
    facts["example"] = _example(tokenizer, samples, ours)
    explains = {id(one): sum(a == b for a, b in zip(one[3], theirs, strict=True)) for one in seen}
    ranked = sorted(seen, key=lambda one: -explains[id(one)])
    facts["candidates"] = {}
    for one in ranked:
        if explains[id(one)] > len(samples) - differing and len(facts["candidates"]) < 5:
            facts["candidates"].setdefault(one[0], explains[id(one)])
    whole = [one for one in ranked if one[3] == theirs]
    if whole:
        key, label, _, _ = whole[0]
        facts["candidates"].pop(key, None)
        equals = tuple(dict.fromkeys(one[0] for one in whole if one[0] != key))
        return TokenDiagnosis("mistake", (TOKEN_MISTAKES[key],), (label,), equals, explained=len(samples), **facts)
    for first in seen:
        for second in _planted(first[2], samples, without=first[0]):
            if second[3] == theirs:
                blamed = (TOKEN_MISTAKES[first[0]], TOKEN_MISTAKES[second[0]])
                return TokenDiagnosis("pair", blamed, (first[1], second[1]), (), explained=len(samples), **facts)
    best = ranked[0] if facts["candidates"] else None
    if best is None:
        return TokenDiagnosis("unknown", (), (), (), explained=len(samples) - differing, **facts)
    return TokenDiagnosis("partly", (TOKEN_MISTAKES[best[0]],), (best[1],), (), explained=explains[id(best)], **facts)


def _planted(encoding: Encoding, samples: Sequence[Sample], without: str = "") -> list[Found]:
    """Every variant of every mistake, and the ids that the texts then have."""
    return [
        (key, label, planted, [planted.ids(sample.text) for sample in samples])
        for key, mistake in TOKEN_MISTAKES.items()
        if key != without
        for label, planted in mistake.plant(encoding)
    ]


def _example(tokenizer: Tokenizer, samples: Sequence[Sample], ours: Sequence[list[int]]) -> dict[str, Any]:
    number = next(number for number, sample in enumerate(samples) if list(sample.ids) != ours[number])
    ids, theirs = ours[number], list(samples[number].ids)
    pairs = enumerate(zip(ids, theirs, strict=False))
    at = next((place for place, (a, b) in pairs if a != b), min(len(ids), len(theirs)))
    few = slice(at, at + SHOWN)
    return {
        "number": number,
        "text": samples[number].text,
        "token": at,
        "ours": ids[few],
        "our_pieces": tokenizer.convert_ids_to_tokens(ids[few]),
        "theirs": theirs[few],
        "their_pieces": tokenizer.convert_ids_to_tokens(theirs[few]),
    }


def read_tokens(path: str | Path) -> list[Sample]:
    """Texts and their ids: a JSON list of {"text": …, "ids": [...]}, or one such object a line.

    raises  LlamaError naming the file and the item that isn't one
    """
    path = as_path(path)
    if path.stat().st_size > LARGEST_FILE:
        raise LlamaError("too large", where=path, expected=f"at most {LARGEST_FILE >> 20} MiB of texts")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LlamaError("not valid UTF-8", where=f"{path}, byte {error.start}") from None
    if content.lstrip()[:1] == "[":
        items = _parsed(content, str(path))
    else:
        lines = enumerate(content.split("\n"), start=1)  # a text may hold other line ends
        items = [_parsed(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    if not items:
        raise LlamaError("no texts", where=path, expected='{"text": "…", "ids": [1, 2, …]}, one or more')
    return [_sample(item, f"{path}: text {number}") for number, item in enumerate(items)]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LlamaError(f"no JSON ({error})", where=where, expected='a list of {"text": …, "ids": […]}') from None


def _sample(item: object, where: str) -> Sample:
    expected = '{"text": "…", "ids": [1, 2, …]}'
    if not isinstance(item, Mapping):
        raise LlamaError("no text with its ids", where=where, expected=expected, found=repr(item)[:80])
    text, ids = item.get("text"), item.get("ids", item.get("input_ids"))
    if not isinstance(text, str) or any("\ud800" <= character <= "\udfff" for character in text):
        raise LlamaError("no text", where=f"{where}.text", expected="a string", found=repr(text)[:80])
    if not isinstance(ids, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in ids):
        raise LlamaError("no ids", where=f"{where}.ids", expected="a list of integers", found=repr(ids)[:80])
    return Sample(text, tuple(ids))
