"""Int4 as torchao's Int4WeightOnlyConfig makes it: codes, scales, zeros and what they stand for, bit for bit."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from numpy_llama.blocks.quantization import quantize
from numpy_llama.blocks.quantized_weight import dequantize
from numpy_llama.checkpoints.embedded import data_folder
from numpy_llama.precision import DTYPES

PUBLISHED = load_file(data_folder() / "published_quantization" / "int4.safetensors")
CASES = sorted(name.removesuffix(".codes") for name in PUBLISHED if name.endswith(".codes"))


@pytest.mark.parametrize("case", CASES)
def test_int4_is_torchaos(case):
    matrix, dtype, group_size = case.split(".")
    weight = quantize(PUBLISHED[f"{matrix}.weight"].astype(DTYPES[dtype]), 4, int(group_size))
    codes = np.stack([weight.codes & 15, weight.codes >> 4], axis=-1).reshape(weight.shape)
    found = {"codes": codes, "scales": weight.scales, "zeros": weight.zeros, "dequantized": dequantize(weight)}
    for part, array in found.items():
        expected = PUBLISHED[f"{case}.{part}"]
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array.astype(np.float32), expected.astype(np.float32), err_msg=part)


def test_every_group_size_was_published_in_every_dtype_that_torchao_takes():
    assert {tuple(case.split(".")[1:]) for case in CASES} == {
        (dtype, size) for dtype in ("float32", "float16", "bfloat16") for size in ("32", "64", "128")
    }
