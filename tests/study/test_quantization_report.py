"""The report on quantization: its errors are those of the weights, its perplexities those of the two models."""

import numpy as np
import pytest

from numpy_llama import LlamaError, LlamaForCausalLM
from numpy_llama.blocks.quantized_weight import dequantize
from numpy_llama.model.quantization import Quantization
from numpy_llama.study.perplexity import perplexity
from numpy_llama.study.quantization import quantization_report, relative_error

TEXTS = [[1, 2, 3, 4, 5], [7, 8, 9]]
HOW = {"quantization": "int4", "group_size": 32, "symmetric": True}


def test_it_speaks_of_the_model_that_from_pretrained_gives(tmp_path, make_model):
    plain = make_model()
    plain.save_pretrained(tmp_path)
    quantized = LlamaForCausalLM.from_pretrained(tmp_path, **HOW)
    report = quantization_report(plain, Quantization(4, 32, True), TEXTS)
    assert report.perplexities == (perplexity(plain, TEXTS), perplexity(quantized, TEXTS))
    sizes = [sum(tensor.nbytes for tensor in model.tensors.values()) for model in (plain, quantized)]
    assert list(report.model_bytes) == sizes
    assert report.model_bytes[0] - report.model_bytes[1] == report.matrix_bytes[0] - report.matrix_bytes[1]
    assert [(one.layer, one.name) for one in report.matrices] == [
        (layer, f"{name}_proj") for layer in range(2) for name in ("q", "k", "v", "o", "gate", "up", "down")
    ]
    name = "model.layers.1.self_attn.v_proj.weight"
    error = next(one.relative for one in report.matrices if (one.layer, one.name) == (1, "v_proj"))
    assert error == relative_error(plain.tensors[name], dequantize(quantized.tensors[name]))


def test_more_bits_and_smaller_groups_err_less(make_model):
    plain = make_model(hidden_size=128, intermediate_size=256)
    errors = {
        (bits, size): np.mean(
            [one.relative for one in quantization_report(plain, Quantization(bits, size), TEXTS).matrices]
        )
        for bits in (4, 8)
        for size in (32, 128)
    }
    assert errors[8, 32] < errors[8, 128] < errors[4, 32] < errors[4, 128]
    assert 10 < errors[4, 32] / errors[8, 32] < 20  # 17, if errors were spread evenly


def test_relative_error_is_a_share_of_the_length():
    weight = np.array([[3.0, 4.0]])
    assert relative_error(weight, weight) == 0
    assert relative_error(weight, 0 * weight) == 1
    assert relative_error(weight, weight + [[0.3, 0.4]]) == pytest.approx(0.1)
    assert relative_error(0 * weight, 0 * weight) == 0


def test_a_quantized_model_has_no_before(tmp_path, make_model):
    make_model().save_pretrained(tmp_path)
    with pytest.raises(LlamaError, match="quantized already"):
        quantization_report(LlamaForCausalLM.from_pretrained(tmp_path, **HOW), Quantization(4), TEXTS)
