"""How a text is cut into words before anything is merged; no token ever reaches across such a cut.

    Llama 3     "It's 12345 o'clock"    →    It 's ␣ 123 45 ␣o 'clock
    SmolLM2     "It's 12345 o'clock"    →    It 's ␣ 1 2 3 4 5 ␣o ' clock

Each step takes pieces of text and gives smaller ones, so steps can follow each other. A tokenizer.json names them:

    Split        at the matches of a pattern (Llama 3's one long pattern)
    Digits       numbers apart from the rest, or each digit on its own (SmolLM2's first step)
    ByteLevel    at GPT-2's pattern, unless use_regex is false; a space first, where add_prefix_space says so
    Sequence     one after the other

The patterns need Unicode's categories (\\p{L} a letter, \\p{N} a number), which the `regex` package has. It and the
libraries know another edition of Unicode each, so a letter that was given its number in the last few years may be cut
off as a sign by one of them and kept in its word by the other.

Sources: the pre-tokenizers of the `tokenizers` library; Meta's Llama 3; llama.cpp for the names in GGUF files.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from numpy_llama.errors import LlamaError

PreTokenizer = Callable[[list[str]], list[str]]

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # the end of a contraction
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word, with the one character before it
    r"|\p{N}{1,3}"  # up to three digits
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # signs, with the line breaks after them
    r"|\s*[\r\n]+"  # line breaks, with the white space before them
    r"|\s+(?!\S)"  # white space, but for the last one, which goes with the next word
    r"|\s+"
)
BYTES_ONLY = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = BYTES_ONLY | {"use_regex": True}
LLAMA3 = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": LLAMA3_PATTERN}, "behavior": "Isolated", "invert": False},
        BYTES_ONLY,
    ],
}
SMOLLM = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, GPT2]}
# By the name that a GGUF file gives (tokenizer.ggml.pre).
NAMED = {
    "gpt-2": GPT2,
    "smollm": SMOLLM,
    "llama-bpe": LLAMA3,
    "llama3": LLAMA3,
    "llama-v3": LLAMA3,
}

PATTERN_LIMIT = 10_000  # characters
DEPTH_LIMIT = 4
# How long a pattern may search: real ones take 0.3 s for a megabyte, a hostile one could take for ever.
SECONDS, SECONDS_PER_CHARACTER = 10.0, 20e-6


def read_pre_tokenizer(described: object, where: str, depth: int = 0) -> PreTokenizer:
    """The function that a tokenizer.json's pre_tokenizer describes.

    described  the JSON object
    where      its place, for error messages
    returns    pieces of text → smaller pieces, none of them empty
    raises     LlamaError where the kind or a field is unknown, or a pattern is none
    """
    kind = described.get("type") if isinstance(described, dict) else None
    if not isinstance(described, dict) or not isinstance(kind, str):
        raise LlamaError("no pre-tokenizer", where=where, expected="an object with a type", found=_short(described))
    if kind not in _KINDS:
        raise LlamaError("no such pre-tokenizer here", where=where, expected=", ".join(_KINDS), found=repr(kind)[:80])
    if depth > DEPTH_LIMIT:
        raise LlamaError("nested too deeply", where=where, expected=f"at most {DEPTH_LIMIT} levels")
    return _KINDS[kind](described, where, depth)


def is_byte_level(described: object) -> bool:
    """Whether a pre_tokenizer ends in bytes: it is ByteLevel, or a sequence that has it."""
    if not isinstance(described, dict):
        return False
    steps = described.get("pretokenizers")
    return described.get("type") == "ByteLevel" or (
        described.get("type") == "Sequence"
        and isinstance(steps, list)
        and any(isinstance(step, dict) and step.get("type") == "ByteLevel" for step in steps)
    )


def compiled(pattern: str, where: str) -> Any:
    """A pattern of the `regex` package.

    raises  LlamaError where it is none, or uses what the two languages of patterns read differently
    """
    import regex  # a Llama 2 tokenizer has no use for it

    if len(pattern) > PATTERN_LIMIT:
        raise LlamaError("too long a pattern", where=where, expected=f"at most {PATTERN_LIMIT} characters")
    foreign = next((part for part in _PARTS.findall(pattern) if _FOREIGN.match(part)), None)
    if foreign is not None:
        raise LlamaError("a pattern with something that isn't read here", where=where, found=repr(foreign)[:80])
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise LlamaError(f"no pattern ({error})", where=where, found=repr(pattern)[:80]) from None


# tokenizers' Oniguruma and Python's regex agree on what real files use, and not on these: {1,3}+ (repeated there,
# possessive here), classes within classes, ^ and $ (of a line, of the text), \w and \b (which characters make words),
# escapes by most letters, inline options but (?i:…).
_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}\+|\(\?<?.|\(\*|.", re.DOTALL)
_FOREIGN = re.compile(
    r"\\[^pPsSdDrnt\W]|\\_|\{\d*,?\d*\}\+|\^|\$|\(\?(?![:i=!]|<[=!])|\(\*|\[\^?\]?(?:\\.|[^\\])*(?:\[|&&|\\[wWbBhHRXKG])"
)


def _split(described: Mapping[str, Any], where: str, _depth: int) -> PreTokenizer:
    pattern, behavior = described.get("pattern"), described.get("behavior", "Isolated")
    kind, text = next(iter(pattern.items())) if isinstance(pattern, dict) and len(pattern) == 1 else (None, None)
    if kind not in ("Regex", "String") or not isinstance(text, str) or not text:
        raise LlamaError("no pattern", where=f"{where}.pattern", expected="a Regex or a String", found=_short(pattern))
    if behavior not in ("Isolated", "Removed"):
        raise LlamaError(
            "this isn't done here", where=f"{where}.behavior", expected="Isolated or Removed", found=_short(behavior)
        )
    search = compiled(text if kind == "Regex" else re.escape(text), f"{where}.pattern")
    kept = [True, True]  # what stands between the matches, the matches
    if behavior == "Removed":
        kept[0 if _flag(described, "invert", False, where) else 1] = False
    between, matches = kept
    return lambda pieces: [part for piece in pieces for part in _parts(search, piece, between, matches, where)]


def _digits(described: Mapping[str, Any], where: str, _depth: int) -> PreTokenizer:
    apart = _flag(described, "individual_digits", False, where)
    search = compiled(r"\p{N}|\P{N}+" if apart else r"\p{N}+|\P{N}+", where)
    return lambda pieces: [part for piece in pieces for part in search.findall(piece)]


def _byte_level(described: Mapping[str, Any], where: str, _depth: int) -> PreTokenizer:
    prefix = _flag(described, "add_prefix_space", True, where)
    search = compiled(GPT2_PATTERN, where) if _flag(described, "use_regex", True, where) else None

    def cut(pieces: list[str]) -> list[str]:
        if prefix:
            pieces = [piece if piece.startswith(" ") else " " + piece for piece in pieces]
        return pieces if search is None else [part for piece in pieces for part in search.findall(piece)]

    return cut


def _sequence(described: Mapping[str, Any], where: str, depth: int) -> PreTokenizer:
    listed = described.get("pretokenizers")
    if not isinstance(listed, list) or len(listed) > 100:
        raise LlamaError("no steps", where=f"{where}.pretokenizers", expected="a list", found=_short(listed))
    steps = [read_pre_tokenizer(step, f"{where}.pretokenizers[{i}]", depth + 1) for i, step in enumerate(listed)]

    def cut(pieces: list[str]) -> list[str]:
        for step in steps:
            pieces = step(pieces)
        return pieces

    return cut


_KINDS: dict[str, Callable[[Mapping[str, Any], str, int], PreTokenizer]] = {
    "ByteLevel": _byte_level,
    "Split": _split,
    "Digits": _digits,
    "Sequence": _sequence,
}


def _parts(search: Any, piece: str, between: bool, matches: bool, where: str) -> list[str]:
    """The matches, and what stands between them, in order; only what is to be kept, and nothing empty."""
    parts: list[str] = []
    done = 0
    try:
        for match in search.finditer(piece, timeout=SECONDS + SECONDS_PER_CHARACTER * len(piece)):
            start, stop = match.span()
            if between and done < start:
                parts.append(piece[done:start])
            if matches and start < stop:
                parts.append(match.group())
            done = stop
    except TimeoutError:
        raise LlamaError("the pattern takes for ever on this text", where=where, found=repr(piece)[:80]) from None
    if between and done < len(piece):
        parts.append(piece[done:])
    return parts


def _flag(described: Mapping[str, Any], name: str, default: bool, where: str) -> bool:
    value = described.get(name, default)
    if not isinstance(value, bool):
        raise LlamaError("wrong kind", where=f"{where}.{name}", expected="true or false", found=_short(value))
    return value


def _short(value: object) -> str:
    return repr(value)[:80]
