"""The libraries as judges, and the vocabularies and texts they judge on.

Every property in this folder holds for each vocabulary that is there: the embedded one, the one of 32,000 pieces that
the mistral-common wheel ships, and Llama 2's where somebody put it beside the repository.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from numpy_llama.tokenizer import LlamaTokenizer

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "data" / "storyteller" / "tokenizer.model"
PUBLISHED = ROOT / "data" / "published_tokens"
SPACE = "\u2581"


def llama2_path() -> Path | None:
    """Llama 2's own tokenizer.model, where somebody put it beside the repository."""
    for folder in ROOT.parents:
        path = folder / "shared" / "published" / "llama2-tokenizer.model"
        if path.is_file():
            return path
    return None


def mistral_path() -> Path | None:
    """A real vocabulary of 32,000 pieces, shipped by the mistral-common wheel, which isn't imported."""
    spec = importlib.util.find_spec("mistral_common")
    for folder in spec.submodule_search_locations or [] if spec else []:
        path = Path(folder) / "data" / "tokenizer.model.v1"
        if path.is_file():
            return path
    return None


def vocabularies() -> Iterator[tuple[str, Path]]:
    """(name, path) of each vocabulary that is there."""
    found = {"embedded": EMBEDDED, "mistral": mistral_path(), "llama2": llama2_path()}
    for name, path in found.items():
        if path is not None and path.is_file():
            yield name, path


def sentencepiece_judge(data: bytes) -> sentencepiece.SentencePieceProcessor:
    """sentencepiece with a tokenizer.model."""
    return sentencepiece.SentencePieceProcessor(model_proto=data)


def tokenizers_judge(data: bytes, add_prefix_space: bool = True) -> Tokenizer:
    """The pipeline that transformers' LlamaTokenizer builds from a tokenizer.model, by `tokenizers` alone.

    Merges: every way to cut a piece into two pieces, ordered by the number of the whole, then the length of
    the left part. tests/reference holds this equal to the class itself.
    """
    judge = sentencepiece_judge(data)
    pieces = [judge.id_to_piece(index) for index in range(judge.get_piece_size())]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, fuse_unk=True, byte_fallback=True))
    # An unknown character's bytes are looked for whether the vocabulary has them or not.
    scheme = "first" if add_prefix_space else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if add_prefix_space:
        steps.append(decoders.Strip(content=" ", left=1))
    tokenizer.decoder = decoders.Sequence(steps)
    special = [index for index in range(len(pieces)) if judge.is_control(index) or judge.is_unknown(index)]
    tokenizer.add_tokens([AddedToken(pieces[index], special=True, normalized=False) for index in special])
    return tokenizer


@dataclass
class Vocabulary:
    """One tokenizer.model, with its judges and with ours."""

    name: str
    path: Path

    @cached_property
    def data(self) -> bytes:
        return self.path.read_bytes()

    @cached_property
    def sentencepiece(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece_judge(self.data)

    @cached_property
    def tokenizers(self) -> Tokenizer:
        return tokenizers_judge(self.data)

    @cached_property
    def legacy(self) -> LlamaTokenizer:
        return LlamaTokenizer.from_pretrained(self.path, legacy=True, add_bos_token=False)

    @cached_property
    def default(self) -> LlamaTokenizer:
        return LlamaTokenizer.from_pretrained(self.path, add_bos_token=False)


FOUND = [Vocabulary(name, path) for name, path in vocabularies()]


@pytest.fixture(scope="session", params=FOUND, ids=[vocabulary.name for vocabulary in FOUND])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    """Each vocabulary that is there."""
    return request.param


@pytest.fixture(scope="session")
def embedded() -> Vocabulary:
    """The embedded model's vocabulary."""
    return FOUND[0]


@pytest.fixture(scope="session")
def llama2() -> Vocabulary:
    """Llama 2's vocabulary; the test is skipped where it isn't there."""
    for found in FOUND:
        if found.name == "llama2":
            return found
    pytest.skip("Llama 2's tokenizer.model isn't beside this repository")


@pytest.fixture(scope="session")
def judges() -> dict[str, object]:
    """The judges of any tokenizer.model, by name."""
    return {"sentencepiece": sentencepiece_judge, "tokenizers": tokenizers_judge}


AWKWARD = (
    *(" ", "  ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", SPACE, "\x00", "\x7f", "\u200d", "\ufeff"),
    *("<s>", "</s>", "<unk>", " <s>", "<s", "<pad>", "<0x41>", "<0xE2>", "<0x", ">"),
    *("the", "hello", "once upon", "re", "turn", "a", "aa", "12", "0", "é", "e\u0301", "ß", "日本", "😀", "//", "--"),
)


@pytest.fixture(scope="session")
def texts() -> st.SearchStrategy[str]:
    """Any text of Unicode characters, and texts stitched together from what is known to be awkward."""
    stitched = st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=4)), max_size=12).map("".join)
    return st.one_of(st.text(), stitched)


@pytest.fixture(scope="session")
def id_lists(vocabulary: Vocabulary) -> st.SearchStrategy[list[int]]:
    """Any ids, with many of the byte pieces and the special tokens (their numbers are low)."""
    size = len(vocabulary.default)
    return st.lists(st.one_of(st.integers(0, 260), st.integers(0, size - 1)), max_size=16)
