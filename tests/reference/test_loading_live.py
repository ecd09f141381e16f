"""Checkpoints of one class loaded in another: ours in Transformers and Transformers' in ours."""

import warnings
from itertools import product

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

import numpy_llama
from numpy_llama import LlamaConfig, LlamaError, LlamaWarning
from numpy_llama.reference.case import small_config
from numpy_llama.reference.case_drawn import CLASSES
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.record import to_numpy

PAIRS = list(product(CLASSES, CLASSES))
IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
FLOAT32 = 1e-5
# The body's names begin with `transformer.` in one class, with `model.` in three and with nothing in LlamaModel's own
# files. Between the two prefixes Transformers finds nothing, and computes with a body of fresh random weights.
QUESTIONS = "LlamaForQuestionAnswering"
LOST_BY_TRANSFORMERS = {(QUESTIONS, loaded) for loaded in CLASSES} | {(saved, QUESTIONS) for saved in CLASSES}
LOST_BY_TRANSFORMERS -= {(QUESTIONS, QUESTIONS), ("LlamaModel", QUESTIONS)}


@pytest.fixture(params=[False, True], ids=["own head", "tied"])
def saved_by_ours(request, tmp_path):
    """saved(class_name): the folder of a model of ours, and the model."""

    def save(class_name):
        config = small_config(class_name, num_labels=3, pad_token_id=0, tie_word_embeddings=request.param)
        weights = draw_weights(class_name, config, Draws(class_name))
        model = getattr(numpy_llama, class_name)(LlamaConfig.from_dict(config), weights)
        model.save_pretrained(tmp_path / "ours")
        return tmp_path / "ours", model

    return save


def loaded_by_theirs(class_name, folder, dtype="float32"):
    """A model of Transformers', and the names of the weights that it didn't find."""
    model, report = getattr(transformers, class_name).from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="eager", output_loading_info=True
    )
    assert not report["mismatched_keys"]
    return model.eval(), set(report["missing_keys"])


def loaded_by_ours(class_name, folder, dtype="float32", **options):
    """A model of ours, and the names of the weights that the warning lists."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = getattr(numpy_llama, class_name).from_pretrained(folder, dtype, **options)
    assert all(issubclass(warning.category, LlamaWarning) for warning in caught)
    listed = ", ".join(str(warning.message).rpartition(": ")[2] for warning in caught)
    return model, set(listed.split(", ")) if listed else set()


def outputs(model, **arguments):
    """Every number of an output, by name."""
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            output = model(torch.from_numpy(IDS), use_cache=False, output_hidden_states=True, **arguments)
    else:
        output = model(IDS, use_cache=False, output_hidden_states=True, **arguments)
    arrays = {}
    for name in list(output.keys()):
        value = output[name]
        each = value if isinstance(value, tuple) else (value,)
        arrays[name] = np.stack([to_numpy(one) if isinstance(one, torch.Tensor) else one for one in each])
    return arrays


def assert_same(ours, theirs, names):
    assert list(ours) == list(theirs)
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=FLOAT32 * np.abs(theirs[name]).max())


@pytest.mark.parametrize(("saved", "loaded"), PAIRS)
def test_ours_in_transformers_and_in_ours(saved_by_ours, saved, loaded):
    """The body is found whatever was saved, and what is fresh is what Transformers misses."""
    folder, model = saved_by_ours(saved)
    ours, fresh = loaded_by_ours(loaded, folder)
    assert fresh == set(ours.tensors) - {name for name in ours.tensors if name in own_names(model, ours)}
    np.testing.assert_array_equal(outputs(ours)["hidden_states"], outputs(model)["hidden_states"])
    theirs, missing = loaded_by_theirs(loaded, folder)
    if (saved, loaded) in LOST_BY_TRANSFORMERS:
        assert any(".layers.0." in f".{name}" for name in missing)
    else:
        assert fresh == missing
        assert_same(outputs(ours), outputs(theirs), ["hidden_states"] if fresh else list(outputs(theirs)))


def own_names(saved, loaded):
    """Names in the loaded model of what the saved one has."""
    prefix = saved.base_model_prefix
    for name in saved.tensors:
        body = name.startswith(prefix) and name.removeprefix(prefix).startswith(("embed_tokens", "layers", "norm"))
        yield loaded.base_model_prefix + name.removeprefix(prefix) if body else name


@pytest.mark.parametrize(("saved", "loaded"), PAIRS)
def test_transformers_in_ours(tmp_path, saved, loaded):
    config = small_config(saved, num_labels=3, pad_token_id=0, rope="llama3", attention_bias=True)
    torch.manual_seed(0)
    model = getattr(transformers, saved)(transformers.LlamaConfig(**config, attn_implementation="eager")).eval()
    model.save_pretrained(tmp_path)
    ours, fresh = loaded_by_ours(loaded, tmp_path)
    hidden = outputs(model)["hidden_states"]
    np.testing.assert_allclose(outputs(ours)["hidden_states"], hidden, rtol=0, atol=FLOAT32 * np.abs(hidden).max())
    if saved == loaded:
        assert not fresh
        assert_same(outputs(ours), outputs(model), list(outputs(model)))


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_a_folder_of_another_dtype_is_converted_by_both_alike(saved_by_ours, class_name, dtype):
    folder, _ = saved_by_ours(class_name)
    ours, (theirs, _) = loaded_by_ours(class_name, folder, dtype)[0], loaded_by_theirs(class_name, folder, dtype)
    state = theirs.state_dict()
    assert set(ours.tensors) == set(state) - ({"lm_head.weight"} if ours.config.tie_word_embeddings else set())
    for name, tensor in ours.tensors.items():
        np.testing.assert_array_equal(tensor, to_numpy(state[name]), err_msg=name)


@pytest.mark.parametrize("class_name", CLASSES[1:])
def test_fresh_heads_are_drawn_as_transformers_draws_them(tmp_path, class_name):
    """Matrices by initializer_range, biases 0; the same seed, the same head."""
    config = small_config("LlamaModel", num_labels=40, hidden_size=64, vocab_size=500, initializer_range=0.3)
    base = numpy_llama.LlamaModel(LlamaConfig.from_dict(config))
    base.save_pretrained(tmp_path)
    ours, fresh = loaded_by_ours(class_name, tmp_path, seed=5)
    theirs, missing = loaded_by_theirs(class_name, tmp_path)
    assert fresh == missing
    again, _ = loaded_by_ours(class_name, tmp_path, seed=5)
    other, _ = loaded_by_ours(class_name, tmp_path, seed=6)
    for name in fresh:
        expected = to_numpy(theirs.get_parameter(name))
        drawn = ours.tensors[name]
        assert (drawn.shape, drawn.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(drawn, again.tensors[name])
        if name.endswith("bias"):
            assert not drawn.any()
            assert not expected.any()
        else:
            assert (drawn != other.tensors[name]).any()
            spread = 0.3 / np.sqrt(drawn.size)  # of a mean; a standard deviation's is smaller by √2
            assert abs(drawn.mean()) < 4 * spread
            assert abs(drawn.std() - 0.3) < 4 * spread + 0.3 * 0.014  # a cut at 3 deviations takes 1.3 % of it
            assert np.abs(drawn).max() <= 3 * 0.3 * (1 + 1e-6)


def test_where_transformers_makes_up_a_body_we_refuse(saved_by_ours):
    """A body that lacks one matrix."""
    from safetensors.numpy import load_file, save_file

    folder, _ = saved_by_ours("LlamaForCausalLM")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.1.self_attn.o_proj.weight"
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    _, missing = loaded_by_theirs("LlamaForCausalLM", folder)
    assert missing == {name}
    with pytest.raises(LlamaError, match=name):
        numpy_llama.LlamaForCausalLM.from_pretrained(folder)
