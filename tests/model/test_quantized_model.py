"""Quantized models: they compute with what their codes stand for, in any call, and take the memory they promise."""

import threading
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import save_file

from numpy_llama import (
    AutoModelForCausalLM,
    Blocks,
    LlamaError,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    embedded_model_folder,
    observe,
)
from numpy_llama.blocks.quantized_weight import QuantizedWeight, dequantize
from numpy_llama.model.quantization import Quantization, is_quantizable

IDS = [[1, 300, 5, 77, 1200, 41, 9]]
WAYS = [("int4", 128, False), ("int4", 32, True), ("int8", 64, False), ("int8", 32, True)]


@pytest.fixture
def saved(tmp_path, make_model):
    make_model("float64", intermediate_size=45).save_pretrained(tmp_path)  # an odd number: a row ends within a byte
    return tmp_path


def with_plain_weights(model):
    """The same model with what its codes stand for in plain arrays."""
    tensors = {
        name: dequantize(one) if isinstance(one, QuantizedWeight) else one for name, one in model.tensors.items()
    }
    return type(model)(model.config, tensors, blocks=model.blocks)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("quantization", "group_size", "symmetric"), WAYS)
def test_a_quantized_model_computes_with_what_its_codes_stand_for(saved, dtype, quantization, group_size, symmetric):
    how = {"quantization": quantization, "group_size": group_size, "symmetric": symmetric}
    model = LlamaForCausalLM.from_pretrained(saved, dtype, **how)
    plain = with_plain_weights(model)
    ids = np.arange(20).reshape(2, 10)
    np.testing.assert_array_equal(model(ids).logits, plain(ids).logits)
    assert model(ids).logits.dtype == model.dtype == plain.dtype
    ours, theirs = (one(ids, use_cache=True).past_key_values for one in (model, plain))
    for token in ([[3], [4]], [[5], [6]]):  # the packed decode step, and the readable one
        expected = plain(token, past_key_values=theirs).logits
        np.testing.assert_array_equal(model(token, past_key_values=ours).logits, expected)
    ours.crop(10), theirs.crop(10)
    with observe(lambda *_: None):
        expected = plain([[3], [4]], past_key_values=theirs).logits
        np.testing.assert_array_equal(model([[3], [4]], past_key_values=ours).logits, expected)


def test_the_matrices_of_the_layers_are_quantized_and_nothing_else(storyteller):
    model = LlamaForCausalLM.from_pretrained(embedded_model_folder(), quantization="int4")
    for name, tensor in model.tensors.items():
        in_a_layer = "layers." in name and not name.endswith("norm.weight")
        assert isinstance(tensor, QuantizedWeight) == in_a_layer == is_quantizable(name), name
        if not in_a_layer:
            np.testing.assert_array_equal(tensor, storyteller.tensors[name])
    assert model.num_parameters() == storyteller.num_parameters()


def test_int8_is_much_nearer_than_int4(storyteller):
    def distance(quantization):
        model = LlamaForCausalLM.from_pretrained(embedded_model_folder(), quantization=quantization)
        return np.linalg.norm(model(IDS).logits - storyteller(IDS).logits)

    assert 0 < distance("int8") < distance("int4") / 8  # levels lie 17 times closer


def test_other_blocks_see_arrays(saved):
    seen = []

    def my_linear(x, weight, bias=None):
        seen.append(type(weight))
        return x @ weight.T + (0 if bias is None else bias)

    how = {"quantization": "int4", "group_size": 32}
    model = LlamaForCausalLM.from_pretrained(saved, "float64", blocks=Blocks().swap(linear=my_linear), **how)
    plain = LlamaForCausalLM.from_pretrained(saved, "float64", **how)
    np.testing.assert_allclose(model([[1, 2, 3]]).logits, plain([[1, 2, 3]]).logits, rtol=1e-12, atol=1e-12)
    assert set(seen) == {np.ndarray}


def test_two_threads_do_not_disturb_each_other(storyteller):
    model = LlamaForCausalLM.from_pretrained(embedded_model_folder(), quantization="int4")
    texts = [np.arange(start, start + 40)[None] for start in (3, 300, 900)]
    alone = [model(text).logits for text in texts]
    wrong = []

    def repeat(index):
        for _ in range(20):
            if not np.array_equal(model(texts[index]).logits, alone[index]):
                wrong.append(index)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_call_within_an_observer_does_not_disturb_the_one_around_it(saved):
    model = LlamaForCausalLM.from_pretrained(saved, quantization="int4", group_size=32)
    alone = model([[1, 2, 3]]).logits
    calls = []

    def look(name, value, call):
        if name.endswith("layers.0.input_layernorm") and not calls:
            calls.append(name)
            model([[7, 8]])

    with observe(look):
        np.testing.assert_array_equal(model([[1, 2, 3]]).logits, alone)
    assert calls


def test_int4_takes_a_seventh_of_the_memory_of_float32(make_model):
    model = make_model(
        hidden_size=256, intermediate_size=1024, num_hidden_layers=12, attention_bias=False, mlp_bias=False
    )
    quantization = Quantization(4, 128)
    matrices = {name: one for name, one in model.tensors.items() if is_quantizable(name)}
    before = sum(one.nbytes for one in matrices.values())
    tracemalloc.start()
    kept = {name: quantization(name, matrix) for name, matrix in matrices.items()}
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(one.nbytes for one in kept.values()) <= taken <= before / 7


def test_loading_never_holds_all_weights_in_float32(tmp_path, make_model):
    shape = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 16}
    make_model(**shape).save_pretrained(tmp_path)
    matrices = 16 * (3 * 256 * 1024) * 4  # bytes; attention comes on top
    tracemalloc.start()
    LlamaForCausalLM.from_pretrained(tmp_path, quantization="int4")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < matrices / 2


def test_another_head_finds_a_quantized_body(saved):
    how = {"quantization": "int8", "group_size": 32}
    with pytest.warns(UserWarning, match="drawn afresh"):
        model = LlamaForSequenceClassification.from_pretrained(saved, **how)
    assert any(isinstance(tensor, QuantizedWeight) for tensor in model.tensors.values())
    body = LlamaForCausalLM.from_pretrained(saved, **how).model
    np.testing.assert_array_equal(model.model([[1, 2]]).last_hidden_state, body([[1, 2]]).last_hidden_state)


def test_the_auto_class_takes_it_too(saved):
    model = AutoModelForCausalLM.from_pretrained(saved, quantization="int4", group_size=64, symmetric=True)
    one = next(one for one in model.tensors.values() if isinstance(one, QuantizedWeight))
    assert (one.bits, one.group_size, one.zeros) == (4, 64, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"quantization": "int3"}, "quantization: no such quantization; expected one of 'int8', 'int4'|'int4', 'int8'"),
        ({"quantization": 4}, "quantization: no such quantization"),
        ({"quantization": "int4", "group_size": 100}, "group_size: impossible value; expected one of 32, 64, 128"),
        ({"quantization": "int4", "group_size": "128"}, "group_size: impossible value"),
        ({"quantization": "int4", "symmetric": 1}, "symmetric: impossible value"),
        ({"group_size": 128}, "group_size: nothing is quantized; expected quantization="),
        ({"symmetric": False}, "symmetric: nothing is quantized"),
        ({"quantization": "int4", "weights": "stream"}, "not both"),
        ({"quantization_config": {}}, "quantization_config: no such argument here; expected quantization="),
    ],
)
def test_what_cannot_be_asked_for_is_said(saved, arguments, complaint):
    with pytest.raises(LlamaError, match=complaint):
        LlamaForCausalLM.from_pretrained(saved, **arguments)


def test_an_infinite_weight_is_named(saved, make_model):
    model = make_model()
    model.tensors["model.layers.1.mlp.up_proj.weight"][2, 3] = np.inf
    save_file({name: np.ascontiguousarray(one) for name, one in model.tensors.items()}, saved / "model.safetensors")
    model.config.save_pretrained(saved)
    with pytest.raises(LlamaError, match=r"model.safetensors: model.layers.1.mlp.up_proj.weight: can't be quantized"):
        LlamaForCausalLM.from_pretrained(saved, quantization="int4")


def test_heads_of_a_quantized_model_are_not_pooled(saved):
    model = LlamaForCausalLM.from_pretrained(saved, quantization="int4")
    with pytest.raises(LlamaError, match="quantized"):
        model.to_grouped_query(1)
