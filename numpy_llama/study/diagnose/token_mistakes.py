"""The catalogue of tokenizers' mistakes: what each looks like, where it was made, how to mend it."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy_llama.study.diagnose import token_changes as change
from numpy_llama.study.diagnose.encoding import Encoding

ISSUES = "https://github.com/"


@dataclass(frozen=True)
class TokenMistake:
    """A mistake that ports of Llama's tokenizers make.

    key         a slug: "bos-doubled"
    says        ends the sentence "Your ids are those of a tokenizer …"
    looks_like  what somebody sees who has made it
    mend        what to change
    wild        where it was made
    shown_by    which texts show it, in words
    plant       (label, encoding) for each variant; nothing where it can't be made
    """

    key: str
    says: str
    looks_like: str
    mend: str
    wild: tuple[str, ...]
    shown_by: str
    plant: Callable[[Encoding], change.Variants]


def _wild(path: str, words: str) -> str:
    return f"{ISSUES}{path} ({words})"


_LISTED = (
    TokenMistake(
        "bos-missing",
        "that puts no token for the beginning before a text",
        "the first id is missing; answers are a little worse, and the first token's attention finds nowhere to rest",
        "add_bos_token=True, or put bos_token_id in front; nothing to mend where it was left out on purpose "
        "(--no-special)",
        (_wild("ggml-org/llama.cpp/issues/6854", "add_special has no effect"),),
        "any text",
        change.without_first,
    ),
    TokenMistake(
        "bos-doubled",
        "that puts the token for the beginning before a text twice",
        "two equal ids in front: the chat template wrote one and the tokenizer added one; every position is one off",
        "add_special_tokens=False for text that comes from a chat template",
        (
            _wild("ggml-org/llama.cpp/pull/7332", "a warning, since it happens so often"),
            _wild("vllm-project/vllm/pull/16976", "chat template and tokenizer each add one"),
        ),
        "any text",
        change.first_twice,
    ),
    TokenMistake(
        "bos-added",
        "that puts a token for the beginning before a text, which this model's doesn't",
        "one id more in front",
        "add_bos_token=False, as the model's tokenizer_config.json says",
        (),
        "any text",
        change.first_added,
    ),
    TokenMistake(
        "eos-added",
        "that puts the token for the end behind a text",
        "one id more at the end; a prompt that has ended is answered with nothing, or with another text",
        "add_eos_token=False",
        (_wild("huggingface/transformers/issues/22794", "one of two tokenizers obeyed add_eos_token"),),
        "any text",
        change.last_added,
    ),
    TokenMistake(
        "prefix-space-missing",
        "that puts no space before a text",
        "the first word has another id, without ▁; all others are right",
        "put a ▁ before the text: add_prefix_space (add_dummy_prefix of sentencepiece) is on",
        (
            _wild("ggml-org/llama.cpp/issues/167", "This is 4013 where it should be 910"),
            _wild("wangzhaode/llm-export/issues/28", "▁ replaced by a space in the vocabulary"),
        ),
        "any text that begins with a letter",
        change.no_prefix_space,
    ),
    TokenMistake(
        "prefix-space-added",
        "that gets a text with one space more in front",
        "the first word has another id, or a ▁ stands before it",
        "hand the text over as it is: the tokenizer adds the space itself, or wants none",
        (_wild("huggingface/transformers/issues/26273", "29871, the single ▁, comes from nowhere"),),
        "any text",
        change.one_space_more,
    ),
    TokenMistake(
        "prefix-space-everywhere",
        "that puts a space after each special token, too",
        "after <s> in the middle of a text the next word has another id",
        'prepend_scheme "first", legacy=False',
        (
            _wild("huggingface/transformers/issues/31513", "spaces appear after special tokens"),
            _wild("ggml-org/llama.cpp/issues/7094", "with legacy they should, and don't"),
        ),
        "a special token inside a text",
        change.a_space_for_each_stretch,
    ),
    TokenMistake(
        "other-legacy",
        "of the other of two behaviours: sentencepiece's (legacy) and Transformers' (not legacy)",
        "runs of spaces, and spaces in front, have other ids; <s> in a text is a token or three characters",
        "set `legacy` as the model's tokenizer_config.json has it",
        (_wild("huggingface/transformers/pull/28010", "an option against the extra space"),),
        "two spaces in a row, a space in front, or <s> in a text",
        change.other_legacy,
    ),
    TokenMistake(
        "merged-by-id",
        "that merges the pair first whose piece has the lowest id",
        "most words are right; runs of spaces and some rare words aren't",
        "take the order that the vocabulary has: the scores of tokenizer.model, the merges of tokenizer.json",
        (_wild("ggml-org/llama.cpp/pull/252", "what sentencepiece's order is"),),
        "runs of spaces, long words",
        change.by_number,
    ),
    TokenMistake(
        "merged-backwards",
        "that merges the pair with the worst score first",
        "many words fall into odd pieces",
        "scores are negative: the highest is the one nearest to zero",
        (),
        "words of several letters",
        change.by_number_backwards,
    ),
    TokenMistake(
        "longest-match",
        "that takes the longest piece the rest of the text begins with, instead of merging pairs",
        "as many tokens as there should be, or fewer; long words are cut in other places",
        "merge neighbouring pairs, the best first, until none is left",
        (
            _wild("ggml-org/llama.cpp/pull/242", "longest matches"),
            _wild("ggml-org/llama.cpp/issues/2820", "a greedy search is proposed"),
        ),
        "long words",
        change.longest_first,
    ),
    TokenMistake(
        "merged-left-to-right",
        "that merges the leftmost pair first, whatever its rank",
        "about half of all words are cut in other places, and decode to the same text",
        "merge the pair with the best rank first, wherever it stands",
        (
            _wild("ztxz16/fastllm/pull/715", "58 % of words cut in another way"),
            _wild("joshcarp/llm.go/issues/2", "merge order not respected"),
        ),
        "words of several letters",
        change.left_to_right,
    ),
    TokenMistake(
        "nothing-merged",
        "that merges nothing",
        "one id for each character or byte: many more tokens than there should be",
        "read the merges or the scores; an empty list of them is no error to many programs",
        (),
        "any text",
        change.nothing_merged,
    ),
    TokenMistake(
        "whole-words-merged",
        "that treats words which are tokens as a whole in the other way than this vocabulary wants",
        "a few rare words fall into pieces, though the vocabulary has them",
        "ignore_merges: look each word up in the vocabulary before merging, where tokenizer.json says so",
        (
            _wild("ggml-org/llama.cpp/pull/7193", "Việt is one token in Llama 3"),
            _wild("robertknight/rten/pull/1043", "ignore_merges"),
        ),
        "words that are tokens but that no merges make",
        change.whole_words,
    ),
    TokenMistake(
        "byte-fallback-missing",
        "that has an unknown token for a character where it should spell its bytes",
        "<unk> in the ids; emoji and rare letters are lost",
        "byte_fallback: the pieces <0x00> … <0xFF>, one for each byte of the character's UTF-8",
        (
            _wild("zml/zml/pull/37", "a line break becomes <unk>"),
            _wild("huggingface/tokenizers/pull/1183", "where byte_fallback came from"),
        ),
        "a character that the vocabulary lacks: an emoji",
        change.unknown_in_place_of_bytes,
    ),
    TokenMistake(
        "unknown-dropped",
        "that drops characters which the vocabulary lacks",
        "fewer ids than there should be; emoji and rare letters are lost",
        "byte_fallback: the pieces <0x00> … <0xFF>, one for each byte of the character's UTF-8",
        (),
        "a character that the vocabulary lacks: an emoji",
        change.bytes_dropped,
    ),
    TokenMistake(
        "bytes-without-offset",
        "that takes a byte itself for its id",
        "each byte's id is too low by the same number, 3 for Llama: <unk>, <s> and </s> stand before the bytes",
        "look <0x..> up in the vocabulary, or add 3",
        (),
        "a character that the vocabulary lacks: an emoji",
        change.bytes_without_offset,
    ),
    TokenMistake(
        "other-pre-tokenizer",
        "that cuts a text into words by another model's pattern",
        "numbers, contractions, capital letters after an apostrophe, and line breaks have other ids",
        "the pattern of the model's own tokenizer.json; in a GGUF file, the name in tokenizer.ggml.pre",
        (
            _wild("ggml-org/llama.cpp/pull/6920", "Llama 3 was read with GPT-2's pattern"),
            _wild("ggml-org/llama.cpp/issues/3502", "Falcon's pattern isn't GPT-2's"),
        ),
        "numbers of several digits, don't, several line breaks",
        change.other_pattern,
    ),
    TokenMistake(
        "digits-apart",
        "that makes each digit a token of its own",
        "numbers have more ids than they should",
        "leave numbers to the merges, or to the pattern of the model's own tokenizer.json",
        (_wild("ggml-org/llama.cpp/pull/7063", "which models cut digits apart"),),
        "numbers of several digits",
        change.digits_apart,
    ),
    TokenMistake(
        "special-tokens-as-text",
        "that reads special tokens in a text as plain text",
        "<s> or <|eot_id|> in a prompt becomes several ids; a chat's turns don't end",
        "cut the text at special tokens before merging (parse_special), where the text is your own template",
        (
            _wild("QwenLM/Qwen/issues/24", "done on purpose, against injection"),
            _wild("ggml-org/llama.cpp/issues/2820", "special tokens of converted models"),
        ),
        "a special token inside a text",
        change.special_as_text,
    ),
    TokenMistake(
        "text-as-special-tokens",
        "that reads <s> in a text as the control token, which sentencepiece never does",
        "what a user types can end a turn",
        "don't cut text that you didn't write at special tokens",
        (_wild("ggml-org/llama.cpp/issues/12743", "control tokens come out though parse_special is off"),),
        "a special token inside a text",
        change.text_as_special,
    ),
    TokenMistake(
        "nfkc",
        "that brings a text to Unicode's form NFKC first",
        "ﬁ, ², full-width letters and … have the ids of fi, 2, plain letters and three points",
        "no normalization: Llama's vocabularies were made with the text as it stands (identity)",
        (_wild("ggml-org/llama.cpp/issues/2023", "NFKC is proposed"),),
        "ligatures, superscripts, full-width letters",
        change.normalized("NFKC"),
    ),
    TokenMistake(
        "nfc",
        "that brings a text to Unicode's form NFC first",
        "an e with a combining accent has the id of é",
        "no normalization: Llama's vocabularies were made with the text as it stands",
        (),
        "letters with combining accents",
        change.normalized("NFC"),
    ),
    TokenMistake(
        "nfd",
        "that takes letters and their accents apart first",
        "é has the ids of e and of a combining accent",
        "no normalization: Llama's vocabularies were made with the text as it stands",
        (_wild("ggml-org/llama.cpp/pull/24371", "NFD was applied always"),),
        "letters with accents",
        change.normalized("NFD"),
    ),
    TokenMistake(
        "lowercased",
        "that writes a text in small letters first",
        "words with capital letters have the ids of those without",
        "no normalization; lowercase=True belongs to BERT",
        (_wild("ggml-org/llama.cpp/pull/23899", "everything lowercased"),),
        "capital letters",
        change.on_text(str.lower),
    ),
    TokenMistake(
        "stripped",
        "that takes the white space off both ends of a text",
        "a text that begins or ends with a space or a line break has fewer ids",
        "hand the text over as it is; a prompt that ends with a space is another prompt",
        (),
        "a space or line break at the end",
        change.on_text(str.strip),
    ),
    TokenMistake(
        "spaces-collapsed",
        "that makes one space of several",
        "indented code loses its indentation",
        "remove_extra_whitespaces is false for Llama",
        (),
        "two spaces in a row",
        change.on_text(change.collapsed),
    ),
    TokenMistake(
        "line-ends-changed",
        "that gets \\n for \\r\\n",
        "the id of \\r is missing",
        'open the file with newline=""',
        (),
        "a text with \\r",
        change.on_text(change.one_line),
    ),
    TokenMistake(
        "utf-8-as-latin-1",
        "that reads UTF-8 as Latin-1",
        "é has the ids of Ã and ©; each letter outside ASCII becomes two or three",
        'read the text with encoding="utf-8"',
        (),
        "a letter outside ASCII",
        change.on_text(change.read_as_latin1),
    ),
)  # fmt: skip

TOKEN_MISTAKES: dict[str, TokenMistake] = {mistake.key: mistake for mistake in _LISTED}
