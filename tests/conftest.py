"""What several tests share: small models with nothing left at its default, and the embedded one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from numpy_llama import LlamaConfig, LlamaForCausalLM, embedded_model_folder
from numpy_llama.checkpoints.gguf_file import IN_A_LAYER, WHOLE_NAMES
from numpy_llama.checkpoints.rope_layout import neighbours_from_halves
from numpy_llama.precision import float_dtype

settings.register_profile("project", deadline=None, derandomize=True, database=None, max_examples=30)
settings.load_profile("project")


@pytest.fixture(scope="session")
def storyteller() -> LlamaForCausalLM:
    """The embedded model in float32."""
    return LlamaForCausalLM.from_pretrained(embedded_model_folder())


@pytest.fixture(scope="session")
def make_model():
    """make_model(dtype=…, **config): a small Llama with random weights, biases and norm weights far from 0 and 1."""

    def make(dtype: str = "float32", seed: int = 0, model_class=LlamaForCausalLM, **changes):
        config = LlamaConfig(**{**SMALL, **changes})
        generator = np.random.default_rng(seed)
        tensors = {}
        for name, shape in model_class.tensor_shapes(config).items():
            spread = 0.5 if len(shape) == 1 else 1 / np.sqrt(shape[-1])
            values = generator.standard_normal(shape) * spread + (name.endswith("norm.weight"))
            tensors[name] = values.astype(float_dtype(dtype))
        return model_class(config, tensors)

    return make


SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
    "attention_bias": True,
    "mlp_bias": True,
}


@pytest.fixture(scope="session")
def write_gguf():
    """write_gguf(path, model, kind="Q4_1", extra=…): a model as a GGUF file, by the gguf package's own writer."""
    pytest.importorskip("gguf")
    return _write_gguf


THEIR_NAMES = {ours: theirs for theirs, ours in WHOLE_NAMES.items()}
IN_THEIR_LAYER = {ours: theirs for theirs, ours in IN_A_LAYER.items()}


def _their_name(name: str) -> str:
    if name in THEIR_NAMES:
        return THEIR_NAMES[name]
    _, _, layer, inside = name.split(".", 3)
    stem, suffix = inside.rsplit(".", 1)
    return f"blk.{layer}.{IN_THEIR_LAYER[stem]}.{suffix}"


def _write_gguf(path: Path, model, kind: str = "F32", extra=None, tokens=None, stated=True) -> dict[str, np.ndarray]:
    """A model as a GGUF file, as llama.cpp's converter writes it: matrices of a type, vectors in F32.

    extra    called with the writer, before it writes
    stated   False: leave out what has a default
    returns  the tensors as whoever reads the file should find them, in Hugging Face's order of rows
    """
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    if stated:
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_vocab_size(config.vocab_size)
    if tokens is not None:
        writer.add_token_list(tokens)
    if extra is not None:
        extra(writer)
    expected = {}
    for name, tensor in model.tensors.items():
        rows = tensor.astype(np.float32)
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                rows = neighbours_from_halves(rows, heads)
        quantization = gguf.GGMLQuantizationType[kind if tensor.ndim > 1 else "F32"]
        stored = gguf.quantize(np.ascontiguousarray(rows), quantization)
        writer.add_tensor(_their_name(name), stored, raw_dtype=quantization)
        found = gguf.dequantize(stored, quantization)
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                found = found.reshape(heads, -1, 2, *found.shape[1:]).swapaxes(1, 2).reshape(found.shape)
        expected[name] = found
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected
