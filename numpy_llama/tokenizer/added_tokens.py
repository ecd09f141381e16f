"""Tokens that are cut out of the text before it is merged: <s>, </s>, and what a folder adds to its vocabulary.

    "a<s>b"    →    ["a", 1, "b"]

Only the newer behaviour (legacy=False) does this. sentencepiece knows no such thing: there "<s>" in a text is
three characters like any other, and nobody can slip a control token into a prompt.

Source: AddedToken and AddedVocabulary of the `tokenizers` library.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Unicode's White_Space, what lstrip and rstrip take. (Python's own class of spaces takes four control characters more.)
_WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES_AFTER = re.compile(f"[{_WHITE}]*")


@dataclass(frozen=True)
class AddedToken:
    """One such token, with Hugging Face's fields.

    content         its text
    special         left out by decode(skip_special_tokens=True)
    lstrip, rstrip  white space before, after it in the text belongs to it
    normalized      looked for only after those that aren't
    """

    content: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class AddedTokens:
    """Cuts texts at added tokens: at the leftmost one, and of those that start there at the longest."""

    def __init__(self, tokens: dict[int, AddedToken]):
        self.tokens = tokens
        self._id_of = {token.content: index for index, token in tokens.items()}
        self._searches = [
            re.compile("|".join(map(re.escape, sorted(contents, key=len, reverse=True))))
            for normalized in (False, True)
            if (contents := [token.content for token in tokens.values() if token.normalized == normalized])
        ]

    def split(self, text: str) -> list[tuple[int, str | int]]:
        """(offset in the text, stretch of text or token id), in order; no stretch is empty."""
        parts: list[tuple[int, str | int]] = [(0, text)] if text else []
        for search in self._searches:
            parts = [piece for offset, part in parts for piece in self._split_one(offset, part, search)]
        return parts

    def _split_one(self, offset: int, part: str | int, search: re.Pattern[str]) -> Iterable[tuple[int, str | int]]:
        if isinstance(part, int):
            yield offset, part
            return
        done = 0
        for match in search.finditer(part):
            index = self._id_of[match.group()]
            start, stop = match.span()
            if self.tokens[index].lstrip:
                start = max(_spaces_start(part, start), done)
            if self.tokens[index].rstrip:
                stop = _SPACES_AFTER.match(part, stop).end()  # type: ignore[union-attr]  # it always matches
            if done < start:
                yield offset + done, part[done:start]
            yield offset + start, index
            done = stop
        if done < len(part):
            yield offset + done, part[done:]


def _spaces_start(text: str, end: int) -> int:
    """Where the white space that ends at `end` begins."""
    while end and _SPACES_AFTER.fullmatch(text[end - 1]):
        end -= 1
    return end
