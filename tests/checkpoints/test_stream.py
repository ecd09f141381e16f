"""weights="stream": what is on disk and what is in memory give the same numbers to the last bit."""

import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from numpy_llama import (
    Blocks,
    LlamaConfig,
    LlamaError,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaModel,
    embedded_model_folder,
    observe,
)
from numpy_llama.model.streamed_tensor import StreamedTensor
from numpy_llama.model.streamed_weights import StreamedLayers
from numpy_llama.precision import DTYPES

MATRIX = "model.layers.1.mlp.down_proj.weight"


def same(ours, theirs):
    """Whether two arrays are the same, bit for bit."""
    return ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


def both(folder, dtype="float32", model_class=LlamaForCausalLM, **options):
    """The model of a folder, in memory and streamed."""
    return [model_class.from_pretrained(folder, dtype, weights=way, **options) for way in ("load", "stream")]


def assert_same_calls(loaded, streamed):
    """A prompt of two rows, three decode steps and a chunk after it."""
    ids = np.random.default_rng(0).integers(0, loaded.config.vocab_size, (2, 12))
    caches = [None, None]
    for piece in (ids[:, :6], ids[:, 6:7], ids[:, 7:8], ids[:, 8:9], ids[:, 9:]):
        ours = streamed(piece, past_key_values=caches[1], output_hidden_states=True)
        theirs = loaded(piece, past_key_values=caches[0], output_hidden_states=True)
        caches = [theirs.past_key_values, ours.past_key_values]
        assert same(ours.logits, theirs.logits)
        assert all(same(*pair) for pair in zip(ours.hidden_states, theirs.hidden_states, strict=True))


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "shards"])
@pytest.mark.parametrize("computed", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_streamed_equals_loaded_in_every_dtype(tmp_path, make_model, stored, computed, sharded):
    model = make_model(stored, num_hidden_layers=3)
    model.save_pretrained(tmp_path, max_shard_size=8000 if sharded else "5GB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 or not sharded
    assert_same_calls(*both(tmp_path, computed))


@given(
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (4, 1), (6, 3)]),
    head_dim=st.sampled_from([2, 6, 8]),
    widths=st.tuples(st.integers(1, 5), st.integers(1, 90), st.integers(3, 200)),
    layers=st.integers(1, 4),
    biased=st.booleans(),
    tied=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_streamed_equals_loaded_for_every_shape(
    tmp_path_factory, make_model, heads, head_dim, widths, layers, biased, tied, seed
):
    model = make_model(
        "bfloat16",
        seed,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=head_dim,
        hidden_size=heads[0] * widths[0],
        intermediate_size=widths[1],
        vocab_size=widths[2],
        num_hidden_layers=layers,
        attention_bias=biased,
        mlp_bias=biased,
        tie_word_embeddings=tied,
    )
    folder = tmp_path_factory.mktemp("drawn")
    model.save_pretrained(folder)
    assert_same_calls(*both(folder))


@pytest.mark.parametrize("model_class", [LlamaModel, LlamaForSequenceClassification, LlamaForQuestionAnswering])
def test_the_other_models_stream_too(tmp_path, make_model, model_class):
    make_model(model_class=model_class, pad_token_id=0).save_pretrained(tmp_path)
    loaded, streamed = both(tmp_path, model_class=model_class)
    ids = [[5, 9, 33, 7]]
    for ours, theirs in zip(streamed(ids).to_tuple(), loaded(ids).to_tuple(), strict=True):
        assert not isinstance(theirs, np.ndarray) or same(ours, theirs)


def test_the_embedded_model_tells_the_same_story():
    loaded, streamed = both(embedded_model_folder())
    stories = [model.generate([[1, 306]], max_new_tokens=30, do_sample=False) for model in (loaded, streamed)]
    np.testing.assert_array_equal(*stories)
    assert streamed.num_parameters() == loaded.num_parameters()


def test_layers_share_one_room_and_keep_no_copy(tmp_path, make_model):
    """The point of streaming: a model of many layers holds one of them."""
    make_model(num_hidden_layers=4).save_pretrained(tmp_path)
    streamed = LlamaForCausalLM.from_pretrained(tmp_path, weights="stream")
    layers = streamed.model.layers
    assert isinstance(layers, StreamedLayers)
    assert len({weights.qkv_proj.ctypes.data for _ in range(3) for weights in layers}) == 1
    assert all(isinstance(tensor, StreamedTensor) for tensor in streamed.tensors.values() if tensor.ndim > 1)


def test_memory_is_that_of_a_layer_and_not_of_the_model(tmp_path, make_model):
    """16 layers of 3.2 MB each, 51 MB in all: a call that keeps no more than two of them, and the head."""
    sizes = {"hidden_size": 256, "intermediate_size": 704, "head_dim": 64, "num_hidden_layers": 16, "vocab_size": 1000}
    make_model("bfloat16", **sizes).save_pretrained(tmp_path)
    tracemalloc.start()
    model = LlamaForCausalLM.from_pretrained(tmp_path, weights="stream")
    opened = tracemalloc.get_traced_memory()[1]
    cache = model([[1, 2, 3]]).past_key_values
    model([[4]], past_key_values=cache)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert opened < 1e6
    assert used < 2 * 3.3e6 + 2e6


def test_a_layer_by_its_number_stays_as_it_is(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    loaded, streamed = both(tmp_path)
    layers = [streamed.model.layers[0], streamed.model.layers[-1]]
    streamed([[1, 2]])
    for ours, theirs in zip(layers, loaded.model.layers, strict=True):
        assert same(ours.gate_up_proj, theirs.gate_up_proj)
    assert len(streamed.model.layers[:5]) == 2
    with pytest.raises(IndexError):
        streamed.model.layers[2]


def test_a_call_inside_another_one_does_not_disturb_it(tmp_path, make_model):
    """An observer may ask the model something else between two layers: two loops must not share a room."""
    make_model(num_hidden_layers=3).save_pretrained(tmp_path)
    loaded, streamed = both(tmp_path)
    inner = []

    def ask(name, value, call):
        if name == "model.layers.1.input_layernorm" and call.new == 3:
            inner.append(streamed([[7, 8]]).logits)

    with observe(ask):
        outer = streamed([[1, 2, 3]]).logits
    assert same(outer, loaded([[1, 2, 3]]).logits)
    assert same(inner[0], loaded([[7, 8]]).logits)


def test_two_threads_do_not_disturb_each_other(tmp_path, make_model):
    make_model(num_hidden_layers=4, hidden_size=64, intermediate_size=300).save_pretrained(tmp_path)
    loaded, streamed = both(tmp_path)
    prompts = [[[i, i + 1, i + 2]] for i in range(20)]
    wrong = []

    def ask(mine):
        for prompt in mine:
            if not same(streamed(prompt).logits, loaded(prompt).logits):
                wrong.append(prompt)

    threads = [threading.Thread(target=ask, args=(prompts[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_after_a_call_that_fails_the_next_one_is_right(tmp_path, make_model):
    make_model(num_hidden_layers=3).save_pretrained(tmp_path)
    loaded, streamed = both(tmp_path)

    def stop(name, value, call):
        if name == "model.layers.1.mlp":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), observe(stop):
        streamed([[1, 2]])
    assert same(streamed([[1, 2]]).logits, loaded([[1, 2]]).logits)


def test_a_students_blocks_get_what_they_would_get_of_a_loaded_model(tmp_path, make_model):
    """Products spelled in other ways than ours; a matrix that is on disk must take part in all of them."""
    make_model().save_pretrained(tmp_path)
    spelled = {
        "einsum": Blocks().swap(linear=lambda x, w, b=None: np.einsum("...i,oi->...o", x, w) + (0 if b is None else b)),
        "dot": Blocks().swap(linear=lambda x, w, b=None: np.dot(x, w.T) + (0 if b is None else b)),
        "matmul": Blocks().swap(linear=lambda x, w, b=None: np.matmul(x, w.T) + (0 if b is None else b)),
        "take": Blocks().swap(embedding=lambda ids, table: np.take(table, ids, axis=0)),
    }
    for name, blocks in spelled.items():
        loaded, streamed = both(tmp_path, blocks=blocks)
        assert same(streamed([[1, 2, 3]]).logits, loaded([[1, 2, 3]]).logits), name


@given(row=st.integers(0, 60), columns=st.slices(32))
def test_a_streamed_matrix_behaves_as_the_array_it_stands_for(tmp_path_factory, make_model, row, columns):
    folder = tmp_path_factory.mktemp("matrix")
    make_model("bfloat16").save_pretrained(folder)
    loaded, streamed = both(folder)
    array, matrix = loaded.lm_head, streamed.lm_head
    assert (matrix.shape, matrix.T.shape, matrix.dtype, matrix.ndim) == (array.shape, array.T.shape, array.dtype, 2)
    assert (matrix.size, matrix.nbytes, len(matrix)) == (array.size, array.nbytes, len(array))
    assert same(matrix[row], array[row])
    assert same(matrix[[row, 0]], array[[row, 0]])
    assert same(matrix[row, columns], array[row, columns])
    assert same(matrix.T[columns], array.T[columns])
    assert same(np.asarray(matrix.T), array.T.copy(order="K"))
    assert same(2 * matrix - matrix, array)
    assert same(matrix.astype(np.float64), array.astype(np.float64))
    with pytest.raises(ValueError, match="copy"):
        np.array(matrix, copy=False)


def test_saving_a_streamed_model_writes_what_loading_it_would(tmp_path, make_model):
    make_model("bfloat16").save_pretrained(tmp_path / "source")
    for model, name in zip(both(tmp_path / "source"), ("loaded", "streamed"), strict=True):
        model.save_pretrained(tmp_path / name)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("loaded", "streamed")]
    assert files[0] == files[1]
    loaded, streamed = both(tmp_path / "source")
    assert same(streamed.to_grouped_query(1)([[1, 2]]).logits, loaded.to_grouped_query(1)([[1, 2]]).logits)


def test_saving_over_the_folder_that_is_being_streamed_is_safe(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    loaded, streamed = both(tmp_path)
    streamed.save_pretrained(tmp_path)
    assert same(streamed([[1, 2]]).logits, loaded([[1, 2]]).logits)
    assert same(both(tmp_path)[1]([[1, 2]]).logits, loaded([[1, 2]]).logits)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["Stream", "mmap", None, True, 3])
def test_another_way_to_hold_weights_is_refused(tmp_path, make_model, way):
    make_model().save_pretrained(tmp_path)
    with pytest.raises(LlamaError, match="weights: no such way to hold weights"):
        LlamaForCausalLM.from_pretrained(tmp_path, weights=way)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [MATRIX, "lm_head.weight", "model.layers.0.self_attn.v_proj.weight"])
def test_a_weight_that_is_no_number_is_named_when_it_is_used(tmp_path, make_model, name, number):
    make_model().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[name][7, 3] = number
    save_file(tensors, tmp_path / "model.safetensors")
    model = LlamaForCausalLM.from_pretrained(tmp_path, weights="stream")
    for _ in range(2):  # not the first time alone
        with pytest.raises(LlamaError) as caught:
            model([[1, 2]])
        assert name in str(caught.value)
        assert "[7, 3]" in str(caught.value)


def test_an_embedding_that_is_no_number_is_named_when_its_token_comes(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.embed_tokens.weight"][7] = np.nan
    save_file(tensors, tmp_path / "model.safetensors")
    model = LlamaForCausalLM.from_pretrained(tmp_path, weights="stream")
    model([[1, 2]])
    with pytest.raises(LlamaError, match=r"embed_tokens\.weight"):
        model([[1, 7]])


def test_a_norm_that_is_no_number_and_a_wrong_shape_show_at_once(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "model.norm.weight": tensors["model.norm.weight"] * np.nan}, tmp_path / "model.safetensors")
    with pytest.raises(LlamaError, match=r"model\.norm\.weight"):
        LlamaForCausalLM.from_pretrained(tmp_path, weights="stream")
    save_file({**tensors, MATRIX: tensors[MATRIX][:-1].copy()}, tmp_path / "model.safetensors")
    with pytest.raises(LlamaError, match=MATRIX.replace(".", r"\.")):
        LlamaForCausalLM.from_pretrained(tmp_path, weights="stream")


def test_a_config_too_large_for_the_file_is_refused_before_room_is_made(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    LlamaConfig(vocab_size=61, hidden_size=2**20, num_attention_heads=2**10).save_pretrained(tmp_path)
    with pytest.raises(LlamaError):
        LlamaForCausalLM.from_pretrained(tmp_path, weights="stream")
