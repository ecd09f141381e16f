"""What several tests share: small models with nothing left at its default, and the embedded one."""

import numpy as np
import pytest
from hypothesis import settings

from numpy_llama import LlamaConfig, LlamaForCausalLM, embedded_model_folder
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
