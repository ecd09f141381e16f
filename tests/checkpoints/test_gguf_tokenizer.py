"""The tokenizer in a GGUF file: the same ids as the `tokenizers` library makes of the same lists."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numpy_llama import AutoTokenizer, LlamaError, LlamaTokenizer
from numpy_llama.checkpoints.embedded import embedded_model_folder
from numpy_llama.checkpoints.gguf_tokenizer import gguf_tokenizer, merges_by_score
from numpy_llama.tokenizer.byte_level_bpe import BYTE_CHARACTERS
from numpy_llama.tokenizer.sentencepiece_model import read_sentencepiece_model

gguf = pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")

TEXTS = st.text(st.one_of(st.sampled_from("abc 012 \n'<|>é🦙"), st.characters(exclude_categories=["Cs"])), max_size=40)
MERGES = ["a b", "Ġ a", "Ġ Ġ", "ab c", "1 2", "Ġ 1", "Ã ©", "Ġ ab"]
CONTROL = ["<|start|>", "<|end|>"]


def byte_level_tokens():
    return [*CONTROL, "<think>", *BYTE_CHARACTERS, *("".join(merge.split(" ")) for merge in MERGES)]


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """write(kind, tokens, …): a GGUF file with nothing but a tokenizer."""

    def written(kind, tokens, *, types=None, merges=None, scores=None, extra=lambda writer: None):
        path = tmp_path_factory.mktemp("tokenizer") / "vocabulary.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tokenizer_model(kind)
        writer.add_token_list(tokens)
        if types is not None:
            writer.add_token_types(types)
        if merges is not None:
            writer.add_token_merges(merges)
        if scores is not None:
            writer.add_token_scores(scores)
        extra(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return written


@pytest.fixture(scope="module")
def byte_level_file(write):
    def file(pre, extra=lambda writer: None):
        def both(writer):
            if pre is not None:
                writer.add_tokenizer_pre(pre)
            writer.add_bos_token_id(0)
            writer.add_eos_token_id(1)
            extra(writer)

        tokens = byte_level_tokens()
        return write("gpt2", tokens, types=[3, 3, 4] + [1] * (len(tokens) - 3), merges=MERGES, extra=both)

    return file


def judge(pre):
    """The same vocabulary in the tokenizers library, cut as the models' own tokenizer.json says."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    vocab = {token: index for index, token in enumerate(byte_level_tokens())}
    whole_words = pre == "llama-bpe"
    model = models.BPE(vocab, [tuple(merge.split(" ")) for merge in MERGES], ignore_merges=whole_words)
    tokenizer = Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre != "llama-bpe")
    first = {
        "gpt-2": [],
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "llama-bpe": [
            pre_tokenizers.Split(
                Regex(
                    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
                ),
                "isolated",
            )
        ],
    }[pre]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, byte_level])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROL])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    return tokenizer


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe"])
def test_byte_level_ids_are_those_of_the_tokenizers_library(byte_level_file, pre):
    ours, theirs = gguf_tokenizer(byte_level_file(pre)), judge(pre)
    begin = [0] if pre == "llama-bpe" else []

    @given(TEXTS | st.sampled_from(["<|start|>a<|end|>", "a  12", " abc<think> 1 2"]))
    @settings(max_examples=200)
    def same(text):
        assert ours.encode(text) == begin + theirs.encode(text).ids
        assert ours.decode(ours.encode(text, add_special_tokens=False)) == text

    same()


def test_settings_come_from_the_file_and_overrides_go_first(byte_level_file):
    def extra(writer):
        writer.add_pad_token_id(1)
        writer.add_add_bos_token(True)
        writer.add_chat_template("{{ messages }}")

    path = byte_level_file("smollm", extra)
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|start|>", "<|end|>", "<|end|>")
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.encode("a")[0] == 0
    assert gguf_tokenizer(path, add_bos_token=False).encode("a")[0] != 0
    assert gguf_tokenizer(path.parent, pad_token="<|start|>").pad_token == "<|start|>"
    with pytest.raises(LlamaError, match="no such setting"):
        gguf_tokenizer(path, colour="red")


def sentencepiece_file(write, model, extra=lambda writer: None):
    def both(writer):
        writer.add_bos_token_id(model.bos_id)
        writer.add_eos_token_id(model.eos_id)
        extra(writer)

    return write("llama", model.pieces, types=model.types, scores=model.scores, extra=both)


@pytest.fixture(scope="module")
def embedded():
    return read_sentencepiece_model(embedded_model_folder() / "tokenizer.model")


@given(TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sentencepiece_in_legacy_mode_is_that_of_tokenizer_model(write, embedded, text):
    """The file holds all that sentencepiece needs: piece by piece, score by score."""
    path = sentencepiece_file(write, embedded)
    ours = gguf_tokenizer(path, legacy=True)
    of_model = LlamaTokenizer(embedded, legacy=True)
    assert ours.encode(text) == of_model.encode(text)
    assert ours.decode(ours.encode(text)) == of_model.decode(of_model.encode(text))


def test_sentencepiece_merges_by_score(write, embedded):
    """As llama.cpp's vocabulary merges, whatever the numbers of its pieces: a run of spaces last."""
    tokenizer = gguf_tokenizer(sentencepiece_file(write, embedded))
    assert tokenizer.bos_token_id == embedded.bos_id
    assert tokenizer.encode("Once upon a time") == LlamaTokenizer(embedded).encode("Once upon a time")
    without_space = gguf_tokenizer(
        sentencepiece_file(write, embedded, lambda writer: writer.add_add_space_prefix(False)), add_bos_token=False
    )
    assert without_space.decode(without_space.encode("Once")) == "Once"
    assert without_space.tokenize("Once")[0][0] == "O"


def test_of_two_ways_to_make_a_piece_the_better_and_then_the_longer_left_half_goes_first():
    pieces = ["<unk>", "a", "b", "c", "ab", "bc", "abc"]
    scores = [0.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0]
    assert merges_by_score(pieces, scores) == [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]
    with pytest.raises(LlamaError, match="piece 1 is too long"):
        merges_by_score(["a", "b" * 10_000], [0.0, 0.0])


@pytest.mark.parametrize(
    ("kind", "changes", "match"),
    [
        ("bert", {}, "tokenizer.ggml.model: a tokenizer that isn't read; expected 'llama' or 'gpt2', found 'bert'"),
        ("gpt2", {"pre": "qwen2"}, "tokenizer.ggml.pre: unknown pre-tokenizer; .* found 'qwen2'"),
        ("gpt2", {"merges": ["a z z"]}, "merges, number 0: no merge"),
        ("gpt2", {"types": [1]}, "token_type: wrong vocabulary size; expected 4 integers"),
        ("gpt2", {"tokens": ["a", "a", "b", "c"]}, "there twice"),
        ("gpt2", {"bos": 4}, "bos_token_id: no such token; expected 0 to 3, found 4"),
        ("llama", {}, "tokenizer.ggml.scores: missing metadata"),
        ("llama", {"scores": [0.0]}, "scores: wrong vocabulary size; expected 4 floats, one for each token, found 1"),
        ("llama", {"scores": [0.0, np.nan, 0.0, 0.0]}, "no usable score"),
        ("llama", {"scores": [0.0] * 4, "types": [1] * 4}, "unknown pieces"),
    ],
)
def test_vocabularies_that_can_not_be_are_refused(write, kind, changes, match):
    def extra(writer):
        writer.add_tokenizer_pre(changes.get("pre", "smollm"))
        if "bos" in changes:
            writer.add_bos_token_id(changes["bos"])

    types = changes.get("types", [2, 1, 1, 1])
    tokens = changes.get("tokens", ["a", "b", "c", "d"])
    merges = changes.get("merges", ["a b"])
    path = write(kind, tokens, types=types, merges=merges, scores=changes.get("scores"), extra=extra)
    with pytest.raises(LlamaError, match=match) as caught:
        gguf_tokenizer(path)
    assert "vocabulary.gguf" in str(caught.value)


def test_without_the_name_of_a_pre_tokenizer_text_is_cut_as_gpt_2_does_and_we_say_so(byte_level_file):
    with pytest.warns(UserWarning, match="doesn't say how text is cut"):
        tokenizer = gguf_tokenizer(byte_level_file(None))
    assert tokenizer.encode("a 12") == judge("gpt-2").encode("a 12").ids
