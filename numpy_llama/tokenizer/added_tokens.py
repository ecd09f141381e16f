"""Tokens that are cut out of the text before it is merged: <s>, </s>, and what a folder adds to its vocabulary.

    "a<s>b"    →    ["a", 1, "b"]

Only the newer behaviour (legacy=False) does this. sentencepiece knows no such thing: there "<s>" in a text is
three characters like any other, and nobody can slip a control token into a prompt.

Source: AddedToken and AddedVocabulary of the `tokenizers` library.
"""

import re
from collections.abc import Callable, Iterable
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
    normalized      looked for only after those that aren't, and in the normalized text
    single_word     only where no letter, number or mark stands right before or after it
    """

    content: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    single_word: bool = False


class AddedTokens:
    """Cuts texts at added tokens: at the leftmost one, and of those that start there at the longest."""

    def __init__(self, tokens: dict[int, AddedToken], normalize: Callable[[str], str] = str):
        self.tokens = tokens
        self._normalize = normalize
        self._id_of: dict[str, int] = {}
        searches: list[re.Pattern[str] | None] = []
        for normalized in (False, True):
            kind = {index: token.content for index, token in tokens.items() if token.normalized == normalized}
            spelled = {normalize(content) if normalized else content: index for index, content in kind.items()}
            self._id_of |= spelled
            longest_first = sorted(spelled, key=len, reverse=True)
            searches.append(re.compile("|".join(map(re.escape, longest_first))) if spelled else None)
        self._raw_search, self._normalized_search = searches

    def split(self, text: str, keep_special: bool = True) -> list[tuple[int, str | int]]:
        """(offset in the text, stretch of text or token id), in order; no stretch is empty.

        keep_special  False: a special token found in the text stays text (split_special_tokens)
        """
        parts: list[tuple[int, str | int]] = [(0, text)] if text else []
        parts = self._split_all(parts, self._raw_search, keep_special)
        parts = [(offset, self._normalize(part) if isinstance(part, str) else part) for offset, part in parts]
        return self._split_all(parts, self._normalized_search, keep_special)

    def _split_all(
        self, parts: list[tuple[int, str | int]], search: re.Pattern[str] | None, keep_special: bool
    ) -> list[tuple[int, str | int]]:
        if search is None:
            return parts
        return [piece for offset, part in parts for piece in self._split_one(offset, part, search, keep_special)]

    def _split_one(
        self, offset: int, part: str | int, search: re.Pattern[str], keep_special: bool
    ) -> Iterable[tuple[int, str | int]]:
        if isinstance(part, int):
            yield offset, part
            return
        done = 0
        for match in search.finditer(part):
            index = self._id_of[match.group()]
            if self.tokens[index].special and not keep_special:
                continue
            start, stop = match.span()
            if self.tokens[index].single_word and _touches_a_word(part, start, stop):
                continue
            if self.tokens[index].lstrip:
                start = max(_spaces_start(part, start), done)
            if self.tokens[index].rstrip:
                stop = _SPACES_AFTER.match(part, stop).end()  # type: ignore[union-attr]  # it always matches
            if start >= stop:  # white space that the token before it has taken already
                continue
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


def _touches_a_word(text: str, start: int, stop: int) -> bool:
    """Whether what a word is made of stands right before or after this stretch."""
    import regex  # only few vocabularies ask for it

    in_a_word = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]").match
    return bool((start and in_a_word(text[start - 1])) or (stop < len(text) and in_a_word(text[stop])))
