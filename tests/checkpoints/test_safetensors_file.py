"""One safetensors file: every bit pattern comes back, and whatever its header claims is there or is an error."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load_file, save_file

from numpy_llama import LlamaError
from numpy_llama.checkpoints.safetensors_file import STORED_DTYPES, SafetensorsFile

BITS = {"F64": np.uint64, "F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}


@st.composite
def tensors(draw):
    """A few tensors of any bits: NaN with a payload, −0, subnormals; some of them empty."""
    drawn = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5, unique=True)):
        spelled = draw(st.sampled_from(sorted(BITS)))
        shape = draw(array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
        drawn[name] = draw(arrays(BITS[spelled], shape)).view(STORED_DTYPES[spelled])
    return drawn


@given(drawn=tensors().filter(lambda drawn: "__metadata__" not in drawn))
def test_every_bit_is_read_as_the_library_reads_it(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("bits") / "x.safetensors"
    save_file(drawn, path)
    file = SafetensorsFile(path)
    expected = load_file(path)
    assert file.table.keys() == expected.keys() == drawn.keys()
    for name, stored in file.table.items():
        assert stored.shape == drawn[name].shape
        assert file.read(name).dtype == expected[name].dtype == drawn[name].dtype
        assert file.read(name).tobytes() == expected[name].tobytes() == drawn[name].tobytes()


NUMBERS = np.arange(24, dtype=np.float32)
HUGE = st.one_of(
    st.integers(-9, 200), st.sampled_from([2**31, 2**53, 2**60, 2**63, 2**64, 10**30, 1.5, None, "x", True])
)


@given(
    entries=st.lists(
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F32", "F16", "BF16", "F64", "I8", "F8_E4M3", "Q4_1", 3]),
                "shape": st.lists(HUGE, max_size=3),
                "data_offsets": st.lists(HUGE, min_size=1, max_size=3),
            }
        ),
        max_size=3,
    ),
    length=st.one_of(st.none(), st.sampled_from([0, 1, 2**20, 2**60, 2**64 - 1])),
)
def test_whatever_a_header_claims_is_in_the_file_or_an_error(tmp_path_factory, entries, length):
    """Offsets that overlap, leave the file or run backwards; shapes whose product overflows; a header of 2^60 bytes."""
    path = tmp_path_factory.mktemp("claims") / "x.safetensors"
    header = json.dumps({f"t{i}": entry for i, entry in enumerate(entries)}).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + NUMBERS.tobytes())
    try:
        file = SafetensorsFile(path)
        read = [file.read(name) for name in file.table]
    except LlamaError as error:
        message = str(error)
    else:
        message = str(file.path)
        assert sum(tensor.nbytes for tensor in read) <= NUMBERS.nbytes
    assert str(path) in message


@pytest.mark.parametrize(
    "offsets", [[[0, 48], [40, 96]], [[0, 48], [56, 96]], [[0, 48], [48, 104]], [[48, 0], [48, 96]]], ids=str
)
def test_offsets_that_overlap_leave_holes_or_leave_the_file_are_an_error(tmp_path, offsets):
    header = {f"t{i}": {"dtype": "F32", "shape": [12], "data_offsets": pair} for i, pair in enumerate(offsets)}
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + NUMBERS.tobytes())
    with pytest.raises(LlamaError, match=r"x\.safetensors: not a readable safetensors file"):
        SafetensorsFile(tmp_path / "x.safetensors")


def test_a_dtype_that_is_not_read_is_named(tmp_path):
    save_file({"a": NUMBERS, "b": NUMBERS.astype(ml_dtypes.float8_e4m3fn)}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(file.read("a"), NUMBERS)
    with pytest.raises(
        LlamaError, match=r"x\.safetensors: b: wrong dtype; expected one of F64, F32, F16, BF16, found F8"
    ):
        file.read("b")
