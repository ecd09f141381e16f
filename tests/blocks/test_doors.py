"""What blocks refuse, and how the record hands a swapped block on to those made of it."""

import numpy as np
import pytest

from numpy_llama.blocks import Blocks, attention, linear, rms_norm, sample, softmax
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.errors import LlamaError


def test_rms_norm_names_the_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"weight \(3,\) doesn't fit vectors of 4 channels"):
        rms_norm(np.ones((2, 4)), np.ones(3), 1e-5)


def test_attention_refuses_heads_that_cannot_be_shared():
    with pytest.raises(ValueError, match="3 query heads can't share 2"):
        attention(np.ones((1, 3, 1, 2)), np.ones((1, 2, 1, 2)), np.ones((1, 2, 1, 2)))


def test_linear_refuses_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="mismatch"):
        linear(np.ones((1, 3)), np.ones((2, 4)))


def test_sample_takes_its_numbers_from_a_generator():
    logits = np.zeros((5, 100))
    drawn = sample(logits, np.random.default_rng(3))
    np.testing.assert_array_equal(drawn, sample(logits, np.random.default_rng(3).random(5)))
    assert len(set(drawn.tolist())) > 1


def test_swap_refuses_a_name_that_is_no_block():
    with pytest.raises(LlamaError, match="no such block"):
        Blocks().swap(rmsnorm=rms_norm)


def test_a_swapped_softmax_reaches_attention():
    """With all weights equal, whatever the scores, the context is the mean of the values."""

    def even(scores):
        return np.full_like(scores, 1 / scores.shape[-1])

    query = key = np.eye(2)[None, None]
    value = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    context = Blocks().swap(softmax=even).attention(query, key, value)
    np.testing.assert_array_equal(context, [[[[2.0, 3.0], [2.0, 3.0]]]])


def test_a_swapped_linear_and_activation_reach_the_mlp():
    one = np.ones((1, 1))
    assert Blocks().swap(activation=lambda x: 3 * x).mlp(one, one, one, one) == 3
    assert Blocks().swap(linear=lambda x, w, b=None: x + w, activation=lambda x: x).mlp(one, one, one, one) == 5


def test_a_given_attention_is_taken_as_it_is():
    mine = object()
    assert Blocks().swap(softmax=softmax, attention=mine).attention is mine


def test_swap_leaves_the_record_it_came_from_alone():
    blocks = Blocks()
    blocks.swap(rms_norm=lambda x, weight, eps: x)
    assert blocks == Blocks()


def test_the_cache_copies_no_past_token_to_make_room_for_one():
    """After the first growth a hundred single tokens go into the same buffer; over 2,000 it grows a few times only."""
    cache, buffers = KVCache(1, capacity=8), set()
    token = np.zeros((1, 1, 1, 2), np.float32)
    for _ in range(2000):
        keys, _ = cache.update(token, token, 0)
        buffers.add(id(keys.base))
    assert len(cache) == 2000
    assert len(buffers) <= 10


def test_the_cache_counts_the_bytes_that_it_holds():
    cache = KVCache(3, capacity=50)
    token = np.zeros((2, 1, 4, 8), np.float16)
    for layer in range(3):
        cache.update(token, token, layer)
    assert cache.nbytes == 3 * 2 * token.nbytes
    assert cache.batch_size == 2
