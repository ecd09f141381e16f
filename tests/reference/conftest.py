"""Pairs of models, ours and Transformers', from the same folder. Without the `reference` extra all is skipped."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the reference extra: make reference")
transformers = pytest.importorskip("transformers", reason="needs the reference extra: make reference")

from numpy_llama import LlamaConfig, LlamaForCausalLM, embedded_model_folder  # noqa: E402
from numpy_llama.model.weights import tensor_shapes  # noqa: E402
from numpy_llama.precision import float_dtype  # noqa: E402
from numpy_llama.reference.record import load  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Sums over several threads may be added up in another order each time, and small models gain nothing by them."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def quiet():
    """No progress bars, and no warnings about configs that are drawn on purpose."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@pytest.fixture(scope="session")
def make_pair(tmp_path_factory):
    """make_pair(config, dtype, seed): the same random weights in ours and in Transformers, by way of a folder of ours.

    Norm weights are drawn around 1, biases around 0, and neither stays there: a bias forgotten or a norm weight left
    out would otherwise go unseen.
    """

    def make(config: LlamaConfig, dtype: str = "float32", seed: int = 0):
        generator = np.random.default_rng(seed)
        tensors = {}
        for name, shape in tensor_shapes(config):
            spread = 0.5 if len(shape) == 1 else 1 / np.sqrt(shape[-1])
            values = generator.standard_normal(shape) * spread + name.endswith("norm.weight")
            tensors[name] = values.astype(float_dtype(dtype))
        folder = tmp_path_factory.mktemp("pair")
        LlamaForCausalLM(config, tensors).save_pretrained(folder)
        return LlamaForCausalLM.from_pretrained(folder, dtype), load(folder, dtype)

    return make


@pytest.fixture(scope="session")
def storytellers():
    """storytellers(dtype): the embedded model, ours and Transformers'."""
    return lambda dtype: (
        LlamaForCausalLM.from_pretrained(embedded_model_folder(), dtype),
        load(embedded_model_folder(), dtype),
    )
