"""The mistakes of tokenizers, as changes to an Encoding. Each yields nothing where it can't be made."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from numpy_llama.study.diagnose.encoding import Encoding, Pieces, plain_vocabulary
from numpy_llama.tokenizer.bpe import Rank, merge
from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer
from numpy_llama.tokenizer.llama_tokenizer import LlamaTokenizer
from numpy_llama.tokenizer.pre_tokenizers import BYTES_ONLY, GPT2, LLAMA3, SMOLLM, read_pre_tokenizer

Variants = Iterator[tuple[str, Encoding]]

# Around the text


def without_first(encoding: Encoding) -> Variants:
    """BOS missing."""
    bos = encoding.tokenizer.bos_token_id
    if _begins_with(encoding, bos):
        yield "", encoding.ids_changed(lambda ids: ids[1:] if ids[:1] == [bos] else ids)


def first_twice(encoding: Encoding) -> Variants:
    """BOS doubled."""
    bos = encoding.tokenizer.bos_token_id
    if bos is not None and _begins_with(encoding, bos):
        yield "", encoding.ids_changed(lambda ids: [bos, *ids])


def first_added(encoding: Encoding) -> Variants:
    """BOS where there should be none."""
    bos = encoding.tokenizer.bos_token_id
    if bos is not None and not _begins_with(encoding, bos):
        yield "", encoding.ids_changed(lambda ids: [bos, *ids])


def last_added(encoding: Encoding) -> Variants:
    """EOS where there should be none."""
    eos = encoding.tokenizer.eos_token_id
    if eos is not None and encoding.ids("")[-1:] != [eos]:
        yield "", encoding.ids_changed(lambda ids: [*ids, eos])


def _begins_with(encoding: Encoding, token: int | None) -> bool:
    return token is not None and encoding.ids("")[:1] == [token]


# The space before a text


def no_prefix_space(encoding: Encoding) -> Variants:
    """No space put before the text."""
    if isinstance(encoding.tokenizer, LlamaTokenizer) and encoding.tokenizer.add_prefix_space:
        yield "", encoding.tokenizer_changed(add_prefix_space=False)


def one_space_more(encoding: Encoding) -> Variants:
    """A space of one's own before the text."""
    yield "", encoding.text_changed(lambda text: f" {text}" if text else text)


def a_space_for_each_stretch(encoding: Encoding) -> Variants:
    """A space after each special token, too."""
    tokenizer = encoding.tokenizer
    if isinstance(tokenizer, LlamaTokenizer) and not tokenizer.legacy and tokenizer.prepend == "first":
        yield "", encoding.tokenizer_changed(prepend="always")


def other_legacy(encoding: Encoding) -> Variants:
    """sentencepiece's way in place of Transformers', or the other way round."""
    tokenizer = encoding.tokenizer
    if isinstance(tokenizer, LlamaTokenizer) and tokenizer.model is not None:
        label = "not legacy" if tokenizer.legacy else "legacy"
        yield label, encoding.tokenizer_changed(legacy=not tokenizer.legacy)


# Merging


def by_number(encoding: Encoding) -> Variants:
    """The pair first that makes the piece with the lowest id."""
    id_of = plain_vocabulary(encoding.tokenizer)
    yield "", encoding.merging_changed(_merged(lambda left, right: id_of.get(left + right)))


def by_number_backwards(encoding: Encoding) -> Variants:
    """The pair first that makes the piece with the highest id: scores taken with the wrong sign."""
    id_of = plain_vocabulary(encoding.tokenizer)
    highest = max(id_of.values(), default=0)

    def rank(left: str, right: str) -> int | None:
        found = id_of.get(left + right)
        return None if found is None else highest - found

    yield "", encoding.merging_changed(_merged(rank))


def longest_first(encoding: Encoding) -> Variants:
    """The longest piece that the rest of the text begins with, again and again."""
    id_of = plain_vocabulary(encoding.tokenizer)
    longest = max(map(len, id_of), default=1)

    def pieces(symbols: list[str]) -> list[str]:
        word, found, at = "".join(symbols), [], 0
        while at < len(word):
            lengths = range(min(longest, len(word) - at), 1, -1)
            size = next((size for size in lengths if word[at : at + size] in id_of), 1)
            found.append(word[at : at + size])
            at += size
        return found

    yield "", encoding.merging_changed(pieces)


def left_to_right(encoding: Encoding) -> Variants:
    """The leftmost pair first, whatever its rank."""
    id_of = plain_vocabulary(encoding.tokenizer)

    def pieces(symbols: list[str]) -> list[str]:
        found: list[str] = []
        for symbol in symbols:
            found.append(symbol)
            while len(found) > 1 and found[-2] + found[-1] in id_of:
                found[-2:] = [found[-2] + found[-1]]
        return found

    yield "", encoding.merging_changed(pieces)


def nothing_merged(encoding: Encoding) -> Variants:
    """Single characters, or bytes."""
    yield "", encoding.merging_changed(lambda symbols: symbols)


def whole_words(encoding: Encoding) -> Variants:
    """A word that is a token is merged like any other, or the other way round."""
    tokenizer = encoding.tokenizer
    if isinstance(tokenizer, ByteLevelTokenizer):
        label = "words are merged that are tokens" if tokenizer.ignore_merges else "words that are tokens aren't merged"
        yield label, encoding.tokenizer_changed(ignore_merges=not tokenizer.ignore_merges)


def _merged(rank: Rank) -> Pieces:
    return lambda symbols: merge(symbols, rank)


# What the vocabulary lacks


def unknown_in_place_of_bytes(encoding: Encoding) -> Variants:
    """One unknown token for a character that no piece spells."""
    unknown = encoding.tokenizer.unk_token_id
    if unknown is not None and _has_bytes(encoding):
        yield "", _bytes_changed(encoding, lambda data, first: [unknown] if data else [])


def bytes_dropped(encoding: Encoding) -> Variants:
    """Nothing for a character that no piece spells."""
    if _has_bytes(encoding):
        yield "", _bytes_changed(encoding, lambda data, first: [])


def bytes_without_offset(encoding: Encoding) -> Variants:
    """The byte itself as the id, though the first byte's piece has a later one."""
    if _has_bytes(encoding):
        yield "", _bytes_changed(encoding, lambda data, first: [token - first for token in data])


def _has_bytes(encoding: Encoding) -> bool:
    return "<0x00>" in encoding.tokenizer.get_vocab()


def _bytes_changed(encoding: Encoding, change: Callable[[list[int], int], list[int]]) -> Encoding:
    """Other ids in the place of the byte pieces of each character."""
    id_of: Mapping[str, int] = encoding.tokenizer.get_vocab()
    first = id_of["<0x00>"]
    is_byte = {id_of[name]: byte for byte in range(256) if (name := f"<0x{byte:02X}>") in id_of}

    def changed(ids: list[int]) -> list[int]:
        found: list[int] = []
        held: list[int] = []
        for token in [*ids, -1]:
            begins = is_byte.get(token, 0) & 0xC0 != 0x80  # a UTF-8 character begins with any other byte than 10……
            if begins and held:
                found += change(held, first)
                held = []
            if token in is_byte:
                held.append(token)
            elif token >= 0:
                found.append(token)
        return found

    return encoding.ids_changed(changed)


# Cutting into words


def other_pattern(encoding: Encoding) -> Variants:
    """Another model's pre-tokenizer."""
    tokenizer = encoding.tokenizer
    if isinstance(tokenizer, ByteLevelTokenizer):
        patterns = {"GPT-2's": GPT2, "Llama 3's": LLAMA3, "SmolLM's, each digit apart": SMOLLM, "none": BYTES_ONLY}
        for label, described in patterns.items():
            if described != tokenizer.pre_tokenizer:
                yield label, encoding.tokenizer_changed(_cut=read_pre_tokenizer(described, "pre_tokenizer"))


def digits_apart(encoding: Encoding) -> Variants:
    """Each digit a token of its own, in whatever vocabulary."""
    if isinstance(encoding.tokenizer, LlamaTokenizer):
        id_of = plain_vocabulary(encoding.tokenizer)
        if any(piece.isdecimal() and len(piece) > 1 for piece in id_of):
            split = _split_digits(encoding)
            yield "", encoding.ids_changed(split)
    elif isinstance(encoding.tokenizer, ByteLevelTokenizer):
        described = {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, encoding.tokenizer.pre_tokenizer],
        }
        if described != encoding.tokenizer.pre_tokenizer:
            yield "", encoding.tokenizer_changed(_cut=read_pre_tokenizer(described, "pre_tokenizer"))


def _split_digits(encoding: Encoding) -> Callable[[list[int]], list[int]]:
    id_of = encoding.tokenizer.get_vocab()
    name_of = {index: piece for piece, index in id_of.items()}

    def split(ids: list[int]) -> list[int]:
        found: list[int] = []
        for token in ids:
            piece = name_of.get(token, "")
            parts = list(piece) if piece.isdecimal() and all(one in id_of for one in piece) else []
            found += [id_of[one] for one in parts] or [token]
        return found

    return split


# Special tokens in a text


def special_as_text(encoding: Encoding) -> Variants:
    """<s> in a text is three characters."""
    tokenizer = encoding.tokenizer
    if not (isinstance(tokenizer, LlamaTokenizer) and tokenizer.legacy):
        yield "", replace(encoding, split=True)


def text_as_special(encoding: Encoding) -> Variants:
    """<s> in a text is the control token, though it should be text."""
    tokenizer = encoding.tokenizer
    if isinstance(tokenizer, LlamaTokenizer) and tokenizer.legacy:
        special = {tokenizer.convert_ids_to_tokens(index): index for index in tokenizer.all_special_ids}
        cut = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
        plain = tokenizer.plain_ids

        def text_ids(text: str, split_special_tokens: bool | None = None) -> list[int]:
            ids: list[int] = []
            done = 0
            for match in cut.finditer(text):
                ids += plain(text[done : match.start()]) if done < match.start() else []
                ids.append(special[match.group()])
                done = match.end()
            return ids + (plain(text[done:]) if done < len(text) or not text else [])

        yield "", encoding.tokenizer_changed(_text_ids=text_ids)


# The text itself


def normalized(form: Literal["NFC", "NFD", "NFKC"]) -> Callable[[Encoding], Variants]:
    """The text brought to one of Unicode's forms first."""

    def plant(encoding: Encoding) -> Variants:
        if not (form == "NFC" and getattr(encoding.tokenizer, "nfc", False)):
            yield "", encoding.text_changed(lambda text: unicodedata.normalize(form, text))

    return plant


def on_text(change: Callable[[str], str]) -> Callable[[Encoding], Variants]:
    """The text changed first."""

    def plant(encoding: Encoding) -> Variants:
        yield "", encoding.text_changed(change)

    return plant


def collapsed(text: str) -> str:
    """Each run of spaces as one."""
    return re.sub(" +", " ", text)


def one_line(text: str) -> str:
    """Line ends as \\n."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_as_latin1(text: str) -> str:
    """UTF-8 read as Latin-1: é becomes Ã©."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")
