"""A small model, and traces of it to change."""

import numpy as np
import pytest

from numpy_llama.study.trace import patch, trace

CHANGES = {"num_hidden_layers": 2, "vocab_size": 48}


@pytest.fixture(scope="session")
def small(make_model):
    return make_model(**CHANGES)


def padded_calls(model, dtype_model=None, patches=None):
    """A batch of two rows, the first padded on the left: prefill, then a decode step."""
    computing = dtype_model or model
    generator = np.random.default_rng(3)
    ids, new = generator.integers(0, 48, (2, 6)), generator.integers(0, 48, (2, 1))
    mask = np.ones((2, 6), int)
    mask[0, :2] = 0
    with patch(patches or {}), trace() as recorded:
        output = computing(ids, attention_mask=mask, use_cache=True)
        computing(new, np.pad(mask, ((0, 0), (0, 1)), constant_values=1), past_key_values=output.past_key_values)
    return recorded


@pytest.fixture(scope="session")
def run(small):
    """run({pattern: change}): a trace of the small model with values changed on their way."""
    return lambda patches=None: padded_calls(small, patches=patches)
