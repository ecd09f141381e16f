"""Each of our blocks, given what Transformers' own block was given inside a running model."""

from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from numpy_llama import LlamaConfig
from numpy_llama.reference.by_block import record_blocks, run_ours

# Two-byte dtypes: sums are added up in float32 by both, in another order, so results next to a midpoint round to
# another neighbour: once in a thousand in float16, which is 2^13 times coarser than float32 but whose sums cancel, and
# more rarely in bfloat16, which is 2^16 times coarser. A rounding too many or too few changes a tenth to a half.
SINGLE = 0.99
# An MLP is three products one after the other, each of which hands its different bits to the next.
CHAINED = {"mlp": 0.95, "attention": 0.98}

# No two-byte rounding here: the error of some hundred float roundings, relative to the largest number of the array.
RELATIVE = {"float32": 3e-6, "float64": 3e-14}

WITH_BIASES = LlamaConfig(
    vocab_size=300,
    hidden_size=96,
    intermediate_size=200,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=20,
    max_position_embeddings=200,
    attention_bias=True,
    mlp_bias=True,
    rope_parameters={
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
)


@pytest.fixture(params=["storyteller", "with biases"])
def find_model(request, make_pair, storytellers):
    """find_model(dtype): Transformers' model and its vocabulary's size."""

    def find(dtype: str):
        ours, theirs = storytellers(dtype) if request.param == "storyteller" else make_pair(WITH_BIASES, dtype, 3)
        return theirs, ours.config.vocab_size

    return find


def recorded(model, vocab_size: int):
    """A prefill of two rows, then a decode step of one token: BLAS and torch take other ways for a single row."""
    from transformers import DynamicCache

    generator = np.random.default_rng(0)
    cache = DynamicCache(config=model.config)
    yield from record_blocks(model, generator.integers(0, vocab_size, (2, 50)), past_key_values=cache)
    for _ in range(4):
        yield from record_blocks(model, generator.integers(0, vocab_size, (2, 1)), past_key_values=cache)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_two_byte_blocks_give_the_same_bits(find_model, dtype, record_property):
    equal = defaultdict(list)
    for call in recorded(*find_model(dtype)):
        ours = run_ours(call)
        assert (ours.dtype, ours.shape) == (call.output.dtype, call.output.shape), call.name
        equal[call.kind].append(np.ravel(ours == call.output))
    shares = {kind: float(np.concatenate(same).mean()) for kind, same in equal.items()}
    record_property("share of equal numbers", shares)
    print(dtype, {kind: round(share, 5) for kind, share in shares.items()})
    assert not {kind: share for kind, share in shares.items() if share < CHAINED.get(kind, SINGLE)}


@pytest.mark.parametrize("dtype", RELATIVE)
def test_wide_blocks_agree(find_model, dtype):
    for call in recorded(*find_model(dtype)):
        if call.kind == "rope_tables" and dtype == "float64":
            continue  # the recorded frequencies are Transformers' float32 ones, which `lifted` doesn't use
        ours = run_ours(call)
        assert (ours.dtype, ours.shape) == (call.output.dtype, call.output.shape), call.name
        limit = RELATIVE[dtype] * np.abs(call.output[np.abs(call.output) < 1e30]).max()  # past masked scores
        np.testing.assert_allclose(ours, call.output, rtol=RELATIVE[dtype], atol=limit, err_msg=call.name)
