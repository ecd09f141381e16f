"""Whatever lies in a file: it is read, or one LlamaError says what is wrong with it. Nothing is run, nothing hangs."""

import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from numpy_llama import read_trace
from numpy_llama.errors import LlamaError
from numpy_llama.study.trace import Trace
from numpy_llama.study.trace.about import METADATA, read_about

NAMES = ["input_ids", "attention_mask", "position_ids", "past", "logits", "lm_head", "model.norm", "norm",
         "model.layers.0.self_attn.keys", "layers.0.attention.wq", "Qcur-0", "kq-0", "l_out-1", "../../x", "é\x1b[31m",
         "call.0000/model.norm", "call.1/model.norm", "call.0001/model.norm", "call.0001/input_ids", "call.0001/past",
         "call.9999999999/x", "call./x", "x/call.0001", ""]  # fmt: skip


def outcome(path):
    """A trace that can be walked through, or the text of the error."""
    error = None
    try:
        t = read_trace(path)
        t.tree()
        [t[name] for name in t]
    except LlamaError as found:
        error = str(found)
    assert error is None or ("\n" not in error and str(path) in error), error
    return t if error is None else error


def arrays():
    dtypes = st.sampled_from(["float32", "float64", "float16", "int64", "int32", "uint8", "bool", "uint64"])
    shapes = st.lists(st.integers(0, 3), max_size=4)
    fills = st.sampled_from([0, 1, 2, -1, 3.5, np.nan, np.inf, 1e30])

    def made(dtype, shape, fill):
        whole = int(np.clip(np.nan_to_num(fill), 0, 9))
        with np.errstate(over="ignore"):
            return np.full(shape, fill if dtype.startswith("float") else whole).astype(dtype)

    return st.builds(made, dtypes, shapes, fills)


@settings(max_examples=150)
@given(tensors=st.dictionaries(st.sampled_from(NAMES), arrays(), max_size=6))
def test_any_arrays_under_any_names(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    save_file(tensors, path)
    outcome(path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["format", "config", "dtype", "calls", "partial", "past", "head_dim"]


@settings(max_examples=150)
@given(about=anything | st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4))
def test_any_metadata(tmp_path_factory, about):
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    tensors = {"input_ids": np.ones((1, 2), np.int64), "model.norm": np.ones((1, 2, 4), np.float32)}
    path.write_bytes(save(tensors, {METADATA: json.dumps(about)}))
    outcome(path)


IMPOSSIBLE = ["{", "[" * 100_000, "", "\x00", '{"format": 2}', '{"dtype": "float8"}', '{"calls": {"past": 0}}',
              '{"calls": [{"past": -1}]}', '{"calls": [{"past": true}]}', '{"partial": {"x": -1}}']  # fmt: skip


@pytest.mark.parametrize("text", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_metadata_that_cannot_be(text):
    with pytest.raises(LlamaError):
        read_about(text, "x.safetensors")


@settings(max_examples=100)
@given(data=st.data())
def test_damaged_bytes(tmp_path_factory, data):
    whole = save({"input_ids": np.ones((1, 2), np.int64), "model.norm": np.ones((1, 2, 4), np.float32)})
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    path.write_bytes(damaged)
    outcome(path)


def with_header(header, data=b""):
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


F32 = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**62).to_bytes(8, "little"),
        with_header({}),
        with_header({"model.norm": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        with_header({"model.norm": {"dtype": "F32", "shape": [0, 2**40], "data_offsets": [0, 0]}}),
        with_header({"model.norm": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, b"0" * 8),
        with_header(f'{{"model.norm":{F32},"model.norm":{F32}}}', b"0" * 4),
        with_header(f'{{"call.1/model.norm":{F32},"call.0001/model.norm":{F32.replace("0,4", "4,8")}}}', b"0" * 8),
        with_header(f'{{"logits":{F32},"lm_head":{F32.replace("0,4", "4,8")}}}', b"0" * 8),
        with_header(f'{{"call.0000/model.norm":{F32},"model.norm":{F32.replace("0,4", "4,8")}}}', b"0" * 8),
        with_header(f'{{"call.0000/../x":{F32}}}', b"0" * 4),
    ],
    ids=range(12),
)
def test_headers_that_lie_are_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    found = outcome(path)
    assert isinstance(found, str) or found["model.norm"].size == 0


def test_float8_and_booleans_are_read_as_numbers(tmp_path):
    header = {"model.norm": {"dtype": "F8_E4M3", "shape": [1, 1, 4], "data_offsets": [0, 4]},
              "model.causal_mask": {"dtype": "BOOL", "shape": [1, 1, 1, 1], "data_offsets": [4, 5]}}  # fmt: skip
    (tmp_path / "x.safetensors").write_bytes(with_header(header, b"\x38\x40\x44\xb8\x01"))
    t = read_trace(tmp_path / "x.safetensors")
    assert t["model.norm"].astype(float).tolist() == [[[1, 2, 3, -1]]] and t["model.causal_mask"].all()
    assert "bool" in t.tree()
    t.save(tmp_path / "y.safetensors")
    assert Trace.load(tmp_path / "y.safetensors")["model.norm"].tobytes() == b"\x38\x40\x44\xb8"


class Dangerous:
    def __reduce__(self):
        return (pytest.fail, ("was run",))


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "model.norm.npy", np.array([Dangerous()], object), allow_pickle=True)
    assert "model.norm.npy" in outcome(tmp_path)
    for name in ("x.safetensors", "x.pt", "x.npz"):
        (tmp_path / name).write_bytes(pickle.dumps(Dangerous()))
        assert "pickles" in outcome(tmp_path / name)


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([1j]), np.zeros(2, [("a", float)]), np.array(["2026"], "M8[Y]")]
)
def test_arrays_of_other_things_are_refused(tmp_path, array):
    np.save(tmp_path / "model.norm.npy", array)
    assert "model.norm.npy" in outcome(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"
        + b" " * 54
        + b"\n",
    ],
)
def test_damaged_arrays_are_refused(tmp_path, content):
    (tmp_path / "model.norm.npy").write_bytes(content)
    assert "model.norm.npy" in outcome(tmp_path)
    if content:
        assert isinstance(outcome(tmp_path / "model.norm.npy"), str)


def test_what_is_no_file_is_left_alone(tmp_path):
    assert "no arrays" in outcome(tmp_path)
    (tmp_path / "call.0000").mkdir()
    (tmp_path / "model.norm.npy").mkdir()
    os.mkfifo(tmp_path / "model.embed_tokens.npy")
    (tmp_path / "loop.npy").symlink_to(tmp_path / "loop.npy")
    assert "no arrays" in outcome(tmp_path)
    assert "neither a file nor a folder" in outcome(tmp_path / "model.embed_tokens.npy")
    assert "no such file" in outcome(tmp_path / "nothing")


def test_thousands_of_calls_are_read_quickly(tmp_path):
    one = np.ones((1, 1, 2), np.float32)
    save_file({f"call.{2 * n:04d}/model.norm": one for n in range(3000)}, tmp_path / "x.safetensors")
    t = read_trace(tmp_path / "x.safetensors")
    assert len(t) == 3000 and t["call.5998/model.norm"].sum() == 2 and "call.0001/model.norm" not in t


@settings(max_examples=100)
@given(
    ne=st.lists(st.integers(-1, 9) | st.just(2**62), min_size=1, max_size=5),
    rows=st.lists(st.sampled_from(["[ 1.0, 2.0, ...]", "[", "],", "..., ", "[nan, -inf]", "[x]"]), max_size=6),
    name=st.sampled_from(["l_out-0", "Qcur-0", "kq-0", "norm", "inp_embd"]),
    op=st.sampled_from(["ADD", "ROPE", "MUL_MAT", "RMS_NORM"]),
)  # fmt: skip
def test_any_text_of_an_eval_callback(tmp_path_factory, ne, rows, name, op):
    path = tmp_path_factory.mktemp("x") / "x.txt"
    header = f"ggml_debug: {name:>24} = (f32) {op:>10}(a{{1}}, b{{1}}}}) = {{{', '.join(map(str, ne))}}}"
    path.write_text("\n".join([header, *rows, header, *rows]))
    outcome(path)


def test_one_call_under_two_numbers_is_refused(tmp_path):
    for folder in ("call.0", "call.0000"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "input_ids.npy", np.array([[1, 2]]))
    with pytest.raises(LlamaError, match="two arrays of one name; expected one of them, found call.0/input_ids and"):
        read_trace(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"\x80\x04N.", b"\x93NUMP"])
def test_what_is_no_array_is_said_to_be_none(tmp_path, content):
    (tmp_path / "model.norm.npy").write_bytes(content)
    with pytest.raises(LlamaError, match="not a .npy file; expected one that begins with"):
        read_trace(tmp_path)
