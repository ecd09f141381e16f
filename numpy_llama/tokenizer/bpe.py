"""Byte-pair encoding: start from single characters, and merge the best neighbouring pair until none is left.

    ▁ l o w e r    →    ▁ l o w er    →    ▁ lo w er    →    ▁lo w er    →    ▁lo wer    →    ▁lower

Which pair is best is all that a trained vocabulary decides, so it is a function handed to the one merge loop:

    rank_by_score    sentencepiece, Meta's Llama, llama.cpp: the pair whose piece has the highest score,
                     wherever the cut between its halves is; the leftmost of equals
    rank_by_merges   transformers 5: a list of merges made from the vocabulary, ordered by the number of the
                     piece, then by the length of the left half; the leftmost of equals

The two agree but for pieces whose number and score are at odds. In Llama's vocabulary those are the runs of spaces,
with low numbers and the lowest scores: sentencepiece merges them last (▁ ▁hi), transformers 5 first (▁▁ hi).

Searching all pairs again for each merge would take n² steps. Here the candidates wait in a heap: n log n.

Sources: Sennrich, Haddow & Birch 2016; Kudo & Richardson 2018; bpe_model.cc of sentencepiece; the
`tokenizers` pipeline that transformers' LlamaTokenizer builds.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from numpy_llama.tokenizer.piece_list import PieceList
from numpy_llama.tokenizer.sentencepiece_model import PieceType, SentencePieceModel, byte_piece
from numpy_llama.tokenizer.word_cache import WordCache

SPACE = "\u2581"  # ▁, how a vocabulary writes a space
Rank = Callable[[str, str], int | None]  # of two neighbours: lower is merged sooner, None is never merged

POSITION_BITS = 32
POSITION_MASK = (1 << POSITION_BITS) - 1


def merge(symbols: list[str], rank: Rank, on_candidate: Callable[[str, str], None] | None = None) -> list[str]:
    """Merge the best-ranked neighbours, again and again, until no two neighbours have a rank.

    symbols       n non-empty strings
    rank          of two neighbours, see Rank
    on_candidate  told each pair that becomes a candidate
    returns       at most n strings, the same text when joined
    cost          n log n steps, no recursion
    """
    n = len(symbols)
    symbols = list(symbols)
    after = array("i", range(1, n + 1))  # a linked list of the symbols still alive; n is the end
    before = array("i", range(-1, n - 1))

    def candidate(left: int) -> int | None:
        """Rank and position in one number: it sorts as the pair would, and takes a third of the memory."""
        pair_rank = rank(symbols[left], symbols[after[left]])
        if pair_rank is None:
            return None
        if on_candidate is not None:
            on_candidate(symbols[left], symbols[after[left]])
        return pair_rank << POSITION_BITS | left

    candidates = [found for left in range(n - 1) if (found := candidate(left)) is not None]
    heapify(candidates)
    while candidates:
        best = heappop(candidates)
        left = best & POSITION_MASK
        right = after[left]
        # A candidate is out of date once one of its two symbols was merged with another neighbour.
        if not symbols[left] or right == n or rank(symbols[left], symbols[right]) != best >> POSITION_BITS:
            continue
        symbols[left] += symbols[right]
        symbols[right] = ""
        after[left] = after[right]
        if after[left] < n:
            before[after[left]] = left
        if before[left] >= 0 and (found := candidate(before[left])) is not None:
            heappush(candidates, found)
        if after[left] < n and (found := candidate(left)) is not None:
            heappush(candidates, found)
    return [symbol for symbol in symbols if symbol]


def rank_by_score(model: SentencePieceModel) -> Rank:
    """sentencepiece's order: high scores first. Two halves count if together they spell a piece of text."""
    order = {score: place for place, score in enumerate(sorted(set(model.scores), reverse=True))}
    text_types = (PieceType.NORMAL, PieceType.USER_DEFINED, PieceType.UNUSED)
    facts = zip(model.pieces, model.scores, model.types, strict=True)
    ranks = {piece: order[score] for piece, score, kind in facts if kind in text_types}
    return lambda left, right: ranks.get(left + right)


def rank_by_merges(model: SentencePieceModel | PieceList) -> Rank:
    """transformers 5's order: low piece numbers first, then short left halves. Scores don't count."""
    longest = max(map(len, model.pieces))
    ranks = {piece: number * (longest + 1) for number, piece in enumerate(model.pieces)}

    def rank(left: str, right: str) -> int | None:
        first = ranks.get(left + right)
        return None if first is None else first + len(left)

    return rank


def rank_by_list(merges: Iterable[tuple[str, str]]) -> Rank:
    """The order of a written list, best first, as a tokenizer.json holds it."""
    places = {pair: place for place, pair in enumerate(merges)}
    return lambda left, right: places.get((left, right))


class BytePairEncoding:
    """Text, with ▁ for its spaces, to ids. The two subclasses are the two behaviours.

    A piece of Llama's vocabulary has ▁ at its start or nowhere, so no merge reaches from a letter to a
    following ▁. Text can be cut there, word by word, and a word that was merged before needn't be merged
    again: English is encoded ten times faster. A vocabulary with other pieces is noticed, and then the text
    is merged in one.
    """

    def __init__(self, model: SentencePieceModel | PieceList, rank: Rank):
        self.rank = rank
        self.id_of = {piece: index for index, piece in enumerate(model.pieces)}
        crossing = re.compile(f"[^{SPACE}]{SPACE}").search
        self._one_by_one = SPACE in self.id_of and not any(map(crossing, model.pieces))
        self._cache = WordCache(self.encode_word)

    def encode(self, text: str) -> list[int]:
        """The ids of a text whose spaces are already ▁. No special tokens are added or looked for."""
        return self._cache.ids_of(self._words(text))

    def encode_word(self, word: str) -> list[int]:
        """The ids of a text, merged in one."""
        raise NotImplementedError

    def _words(self, text: str) -> Iterator[str]:
        if not self._one_by_one:
            return iter([text] if text else [])
        return (match.group() for match in re.finditer(f"{SPACE}*[^{SPACE}]+|{SPACE}+", text))


class SentencePieceBPE(BytePairEncoding):
    """sentencepiece exactly (legacy=True).

    A character that no piece spells may still become part of a longer piece; if it doesn't, it turns into
    bytes in the end, or into one unknown piece for each run of such characters. Two rare types of pieces have
    rules of their own: a user-defined piece is cut out first and never merges; an UNUSED one helps to form
    longer pieces, falls back into its two halves where it is left over, and is unknown where it has none.
    """

    def __init__(self, model: SentencePieceModel):
        super().__init__(model, rank_by_score(model))
        self.model = model
        self._kept_whole = {model.pieces[i] for i in model.ids_of(PieceType.USER_DEFINED)}
        longest_first = sorted(self._kept_whole, key=len, reverse=True)
        self._symbol = re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)
        self._unused = {model.pieces[i] for i in model.ids_of(PieceType.UNUSED)}
        # Both types look past the end of a word.
        self._one_by_one = self._one_by_one and not self._kept_whole and not self._unused
        self._unk_id = model.unk_id

    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        if self.model.byte_fallback:
            return ids
        unk = self._unk_id  # a run of unknown characters is one unknown piece
        return [found for i, found in enumerate(ids) if found != unk or i == 0 or ids[i - 1] != unk]

    def encode_word(self, word: str) -> list[int]:
        if self._kept_whole or self._unused:
            return self._ids(self._merge_with_rare_types(word))
        return self._ids(merge(list(word), self.rank))

    def _merge_with_rare_types(self, text: str) -> list[str]:
        # Of each unused piece: its latest two halves that were seen side by side.
        halves: dict[str, tuple[str, str]] = {}

        def rank(left: str, right: str) -> int | None:
            kept_whole = left in self._kept_whole or right in self._kept_whole
            return None if kept_whole else self.rank(left, right)

        def remember_halves(left: str, right: str) -> None:
            if left + right in self._unused:
                halves[left + right] = left, right

        waiting = merge(self._symbol.findall(text), rank, remember_halves)[::-1]
        symbols: list[str] = []
        while waiting:
            symbol = waiting.pop()
            if symbol in halves:
                waiting += halves[symbol][::-1]
            else:
                symbols.append(symbol)
        return symbols

    def _ids(self, symbols: list[str]) -> list[int]:
        ids: list[int] = []
        for symbol in symbols:
            found = self._unk_id if symbol in self._unused else self.id_of.get(symbol, self._unk_id)
            if found == self._unk_id and self.model.byte_fallback:
                ids += [self.id_of[byte_piece(byte)] for byte in symbol.encode("utf-8")]
            else:
                ids.append(found)
        return ids


class MergeListBPE(BytePairEncoding):
    """What transformers 5 does with the same file (legacy=False).

    Characters become bytes before the merging, not after. Where the vocabulary has no bytes, an unknown
    character is dropped without a trace.

    merges  best first; None: the order that transformers makes of a tokenizer.model
    never   ids of pieces that no text may become, though it spells them: "<s>" stays < s >
    """

    def __init__(
        self,
        model: SentencePieceModel | PieceList,
        merges: Iterable[tuple[str, str]] | None = None,
        never: Iterable[int] = (),
    ):
        by_order = rank_by_merges(model) if merges is None else rank_by_list(merges)
        forbidden = frozenset(model.pieces[index] for index in never if index < len(model.pieces))
        rank = by_order if not forbidden else _without(by_order, forbidden)
        super().__init__(model, rank)
        self._characters = {piece for piece in self.id_of if len(piece) == 1} - forbidden
        # A dropped character brings its neighbours together, across the end of a word if need be.
        self._one_by_one = self._one_by_one and model.byte_fallback

    def encode_word(self, word: str) -> list[int]:
        symbols: list[str] = []
        for character in word:
            if character in self._characters:
                symbols.append(character)
            else:
                spelled = [byte_piece(byte) for byte in character.encode("utf-8")]
                symbols += spelled if all(piece in self.id_of for piece in spelled) else []
        return [self.id_of[symbol] for symbol in merge(symbols, self.rank)]


def _without(rank: Rank, forbidden: frozenset[str]) -> Rank:
    """The same order, but some pieces are never made."""
    return lambda left, right: None if left + right in forbidden else rank(left, right)
