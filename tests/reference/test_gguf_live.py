"""GGUF beside Transformers' own loader, on the same files."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numpy_llama import AutoTokenizer, LlamaError, LlamaForCausalLM, embedded_model_folder
from numpy_llama.checkpoints.gguf_config import ROPE_FREQS
from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.tokenizer.sentencepiece_model import read_sentencepiece_model

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate", reason="Transformers loads no GGUF without it")

WIDE = {
    "rms_norm_eps": 2**-10,
    "hidden_size": 256,
    "intermediate_size": 512,
    "head_dim": 64,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "attention_bias": False,
    "mlp_bias": False,
}
K_TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
TEXTS = st.text(st.one_of(st.sampled_from("abc 012 \n'<|>é🦙"), st.characters(exclude_categories=["Cs"])), max_size=40)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def with_tokens(writer):
    """Transformers asks every file for a vocabulary."""
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{i}" for i in range(61)])


def both_logits(path, ids=((5, 3, 60, 0, 17, 17, 2),)):
    where = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    return LlamaForCausalLM.from_pretrained(path)(ids).logits, expected


def assert_near(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_those_of_transformers(make_model, write_gguf, path, kind, tied):
    write_gguf(path, make_model(**WIDE, tie_word_embeddings=tied), kind, extra=with_tokens)
    assert_near(*both_logits(path))


@pytest.mark.parametrize("kind", K_TYPES)
def test_logits_of_k_types_are_those_of_transformers(make_model, write_gguf, path, kind, monkeypatch):
    """gguf can't quantize to these; any blocks will do whose scales are small."""
    generator = np.random.default_rng(0)
    quantize = gguf.quantize

    def any_blocks(rows, quantization):
        if quantization.name != kind:
            return quantize(rows, quantization)
        block, size = gguf.GGML_QUANT_SIZES[quantization]
        blocks = generator.integers(0, 256, (*rows.shape[:-1], rows.shape[-1] // block, size), dtype=np.uint8)
        scale = np.float16(1e-4).tobytes()
        for first in {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}[kind]:
            blocks[..., first : first + 2] = np.frombuffer(scale, np.uint8)
        return blocks.reshape(*rows.shape[:-1], -1)

    monkeypatch.setattr(gguf, "quantize", any_blocks)
    expected = write_gguf(path, make_model(**WIDE), kind, extra=with_tokens)
    assert 0 < np.abs(expected["model.layers.0.mlp.up_proj.weight"]).max() < 1
    assert_near(*both_logits(path))


def test_where_we_leave_transformers_it_passes_over_what_the_file_says(make_model, write_gguf, path):
    """rope_freqs turn slower; Transformers' loader doesn't read them. If it learns to, this test says so."""
    divisors = np.full(32, 4.0, np.float32)

    def extra(writer):
        with_tokens(writer)
        writer.add_tensor(ROPE_FREQS, divisors)

    model = make_model(**WIDE)
    write_gguf(path, model, extra=extra)
    ours, theirs = both_logits(path)
    assert_near(theirs, model([[5, 3, 60, 0, 17, 17, 2]]).logits)
    slowed = make_model(**WIDE, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})
    assert_near(ours, slowed([[5, 3, 60, 0, 17, 17, 2]]).logits)


@pytest.fixture(scope="module")
def sentencepiece_file(tmp_path_factory):
    model = read_sentencepiece_model(embedded_model_folder() / "tokenizer.model")
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(model.pieces)
    writer.add_token_types(model.types)
    writer.add_token_scores(model.scores)
    writer.add_bos_token_id(model.bos_id)
    writer.add_eos_token_id(model.eos_id)
    writer.add_unk_token_id(model.unk_id)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def their_tokenizer(path):
    _, described, _ = transformers.integrations.gguf.get_gguf_tokenizer(str(path))
    backend, _ = transformers.integrations.gguf.convert_gguf_tokenizer("llama", described)
    return backend


def test_sentencepiece_ids_are_those_of_transformers(sentencepiece_file):
    ours, theirs = AutoTokenizer.from_pretrained(sentencepiece_file), their_tokenizer(sentencepiece_file)

    @given(TEXTS | st.sampled_from(["Once upon a time", "a  b   c", "  hi", "<s>hi</s>"]))
    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def same(text):
        assert ours.encode(text, add_special_tokens=False) == theirs.encode(text, add_special_tokens=False).ids

    same()


def test_smollm2_ids_are_those_of_transformers_where_it_cuts_digits_alike():
    """Transformers doesn't know the name `smollm`: it leaves numbers in one word. Texts without digits are the same."""
    try:
        path = checkpoint_path("smollm2")
    except LlamaError as error:
        pytest.skip(str(error))
    ours, theirs = AutoTokenizer.from_pretrained(path), their_tokenizer(path)

    @given(TEXTS.filter(lambda text: not any(character.isnumeric() for character in text)))
    @settings(max_examples=200)
    def same(text):
        assert ours.encode(text) == theirs.encode(text).ids

    same()
