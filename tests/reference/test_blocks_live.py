"""Each of our blocks, given what Transformers' own block was given inside a running model."""

from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from numpy_llama import LlamaConfig
from numpy_llama.blocks.attention import attention
from numpy_llama.blocks.fused_attention import fused_attention
from numpy_llama.precision import DTYPES, lowest
from numpy_llama.reference.by_block import record_blocks, run_ours
from numpy_llama.reference.record import to_numpy, to_torch

# Two-byte dtypes: torch adds products up in float32, in an order of its own, so results next to a midpoint round to
# another neighbour: in float16, which is 2^13 times coarser than float32 but whose sums cancel, once or twice in a
# thousand, and more rarely in bfloat16, which is 2^16 times coarser. An MLP is three products one after the other, each
# of which hands its different bits to the next. A rounding too many or too few changes a tenth to a half.
SAME_BITS, POOLED = 0.99, 100_000

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


def recorded(model, vocab_size: int, batches: int = 1, rows: int = 2, tokens: int = 50):
    """Batches of rows: prefill, then decode steps of one token: BLAS and torch take other ways for a single one.

    Each row has positions of its own.
    """
    from transformers import DynamicCache

    generator = np.random.default_rng(0)
    for _ in range(batches):
        cache = DynamicCache(config=model.config)
        first = torch.from_numpy(generator.integers(0, 50, (rows, 1)))
        for new in (tokens, 1, 1, 1, 1):
            positions = first + torch.arange(new)
            ids = generator.integers(0, vocab_size, (rows, new))
            yield from record_blocks(model, ids, past_key_values=cache, position_ids=positions)
            first = first + new


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_two_byte_blocks_give_the_same_bits(find_model, dtype, record_property):
    equal = defaultdict(list)
    for call in recorded(*find_model(dtype), batches=8, rows=4, tokens=100):
        ours = run_ours(call)
        assert (ours.dtype, ours.shape) == (call.output.dtype, call.output.shape), call.name
        equal[call.kind].append(np.ravel(ours == call.output))
    pools = {kind: np.concatenate(same) for kind, same in equal.items()}
    shares = {kind: float(pool.mean()) for kind, pool in pools.items()}
    record_property("share of equal numbers", shares)
    print(dtype, {kind: round(share, 5) for kind, share in shares.items()})
    assert min(pool.size for pool in pools.values()) >= POOLED
    assert not {kind: share for kind, share in shares.items() if share < SAME_BITS}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_fused_attention_is_as_near_to_the_truth_as_torch_s_kernel(dtype):
    """It stands in where a mask is boolean. Bits differ in more places than elsewhere: exponentials are rounded before
    they are normalised, so the last bits of exp show. How far both are from the truth is the same, and less than eager
    attention is."""
    generator = np.random.default_rng(0)
    query, key, value = (generator.standard_normal((4, heads, 200, 16)).astype(DTYPES[dtype]) for heads in (8, 2, 2))
    sees = np.tril(generator.integers(0, 4, (4, 1, 200, 200)) > 0) | np.eye(200, dtype=bool)
    mask = np.where(sees, 0, lowest(DTYPES[dtype])).astype(DTYPES[dtype])
    truth = attention(*(x.astype(np.float64) for x in (query, key, value, mask)))
    tensors = [to_torch(x) for x in (query, np.repeat(key, 4, axis=1), np.repeat(value, 4, axis=1), sees)]
    theirs = to_numpy(torch.nn.functional.scaled_dot_product_attention(*tensors[:3], attn_mask=tensors[3]))

    def distance(context):
        return np.linalg.norm(context.astype(np.float64) - truth)

    ours = fused_attention(query, key, value, mask)
    assert ours.size >= POOLED
    assert np.mean(ours == theirs) > 2 / 3
    assert 1 / 1.02 <= distance(ours) / distance(theirs) <= 1.02
    assert distance(attention(query, key, value, mask)) > 1.2 * distance(theirs)


@pytest.mark.parametrize("dtype", RELATIVE)
def test_wide_blocks_agree(find_model, dtype):
    for call in recorded(*find_model(dtype)):
        if call.kind == "rope_tables" and dtype == "float64":
            continue  # the recorded frequencies are Transformers' float32 ones, which `lifted` doesn't use
        ours = run_ours(call)
        assert (ours.dtype, ours.shape) == (call.output.dtype, call.output.shape), call.name
        limit = RELATIVE[dtype] * np.abs(call.output[np.abs(call.output) < 1e30]).max()  # past masked scores
        np.testing.assert_allclose(ours, call.output, rtol=RELATIVE[dtype], atol=limit, err_msg=call.name)
