"""Whatever a stranger has dumped is read as the same values, or as the part of them that he has shown."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from numpy_llama import DynamicCache, read_trace, trace
from numpy_llama.errors import LlamaError
from numpy_llama.model.values import VALUES
from numpy_llama.study.trace.about import METADATA
from numpy_llama.study.trace.foreign_names import LLAMA_CPP, META
from numpy_llama.study.trace.layouts import LAYOUTS

IDS = np.array([[1, 5, 9, 2, 7, 11, 3, 4]])


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(head_dim=8)


@pytest.fixture(scope="module")
def traced(model):
    """A prefill of eight tokens and a decode step."""
    cache = DynamicCache(model.config)
    with trace() as t:
        model(IDS, past_key_values=cache)
        model([[6]], past_key_values=cache)
    return t


def write_npy(folder, tensors):
    for name, array in tensors.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)


def test_names_without_a_call_are_one_call(traced, tmp_path):
    values = {name: np.ascontiguousarray(array) for name, array in traced.calls[0].values.items()}
    save_file({**values, "input_ids": IDS}, tmp_path / "x.safetensors")
    t = read_trace(tmp_path / "x.safetensors")
    assert list(t) == traced.names("call.0000/*") and (t.calls[0].past, t.calls[0].kind) == (0, "prefill")
    assert all(np.array_equal(t[name], traced[name]) for name in t) and t.notes == [] and t.partial == {}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("batch", [True, False])
def test_a_folder_of_arrays_is_a_trace(traced, tmp_path, order, batch):
    """In any memory order, with or without the axis of a batch of one, with or without the prefix "model."."""
    for name, array in traced.items():
        call, _, value = name.partition("/")
        kept = array if batch else array[0]
        write_npy(tmp_path, {f"{call}/{value.removeprefix('model.')}": np.array(kept, order=order)})
    write_npy(tmp_path, {"call.0000/input_ids": IDS[0], "call.0001/input_ids": np.array([6], np.float32)})
    t = read_trace(tmp_path)
    assert list(t) == list(traced) and [call.past for call in t.calls] == [0, 8] and t.notes == []
    assert all(np.array_equal(t[name], traced[name]) for name in t)
    assert np.array_equal(t.calls[1].input_ids, [[6]]) and t.calls[1].input_ids.dtype == np.int64


def test_bfloat16_arrays_keep_their_numbers(make_model, tmp_path):
    with trace() as t:
        make_model("bfloat16")(IDS)
    write_npy(tmp_path, dict(t))
    read = read_trace(tmp_path)
    assert all(np.array_equal(read[name], t[name]) for name in t) and read.dtype == "bfloat16"


def test_logits_alone_will_do(traced, tmp_path):
    save_file({"input_ids": IDS, "logits": traced["call.0000/lm_head"]}, tmp_path / "x.safetensors")
    t = read_trace(tmp_path / "x.safetensors")
    assert list(t) == ["call.0000/lm_head"] and np.array_equal(t.calls[0].logits, traced["call.0000/lm_head"])


@pytest.mark.parametrize("says", ["metadata", "tensor", "mask", "keys", "positions", "nothing"])
def test_how_much_came_before_a_call_is_found(traced, tmp_path, says):
    tensors = {"call.0000/input_ids": IDS, "call.0001/input_ids": np.array([[6]])}
    metadata = None
    if says == "metadata":
        metadata = {METADATA: json.dumps({"calls": [{"past": 0}, {"past": 8}]})}
    elif says == "tensor":
        tensors["call.0001/past"] = np.array(8, np.int32)
    elif says == "mask":
        tensors["call.0001/attention_mask"] = np.ones((1, 9), bool)
    elif says == "positions":
        tensors["call.0001/position_ids"] = np.array([8])
    elif says == "keys":
        tensors["call.0001/model.layers.1.self_attn.keys"] = traced["call.0001/model.layers.1.self_attn.keys"].copy()
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    t = read_trace(tmp_path / "x.safetensors")
    assert [call.past for call in t.calls] == [0, 8] and bool(t.notes) == (says == "nothing")


def test_calls_that_are_left_out_leave_their_numbers(traced, tmp_path):
    save_file(
        {f"call.{n}/model.norm": traced["call.0001/model.norm"] for n in ("3", "0012")}, tmp_path / "x.safetensors"
    )
    assert list(read_trace(tmp_path / "x.safetensors")) == ["call.0003/model.norm", "call.0012/model.norm"]


def test_meta_s_names_are_read_as_ours(foreign, model, traced, tmp_path):
    values = traced.calls[0].values
    save_file({**foreign.as_meta(values, 8), "tokens": IDS}, tmp_path / "x.safetensors")
    t = read_trace(tmp_path / "x.safetensors", model.config)
    assert len(t) == 1 + len(foreign.as_meta(values, 8)) and "tokens" in t.notes[0]
    assert all(np.array_equal(t[name], traced[name]) for name in t if "tokens" not in name[-6:])
    without = read_trace(tmp_path / "x.safetensors")  # nothing says how large a head is
    assert set(t) - set(without) == {name for name in t if name.endswith(("q_proj", "k_proj"))}
    assert "head" in without.notes[0]


def assert_agrees(t, traced, call, tolerance):
    """Every known element is the true one; of the whole value nothing is claimed that isn't there."""
    seen = 0
    for name in t.names(f"{call}/*"):
        read, true, partial = t[name], traced[name], t.partial.get(name)
        if name.endswith("lm_head"):
            true = true[:, -1:]
        known = np.ones(true.shape, bool) if partial is None else partial.known
        assert read.shape == true.shape == known.shape, name
        assert np.allclose(read[known], true[known], rtol=0, atol=tolerance + (partial.resolution if partial else 0)), (
            name
        )
        if partial is not None:
            assert np.isnan(read[~known]).all() or "scores" in name, name
        seen += known.any()
    return seen


def test_llama_cpp_s_tensors_are_read_as_ours(foreign, model, traced, tmp_path):
    """From a folder of arrays by name, of which the last of each name is left."""
    for call in traced.calls:
        tensors = {name: array for name, _, _, array in foreign.as_llama_cpp(call.values, model.config, places=32)}
        write_npy(tmp_path / call.name, tensors)
    t = read_trace(tmp_path)
    for call in ("call.0000", "call.0001"):
        # All but rope's tables, the mask, norms before their weights in the layers, projections before rope (by name,
        # only what comes after it is left), keys and values of the cache, activations (fused) and what repeats others.
        assert assert_agrees(t, traced, call, 2e-6) == 4 + 2 * 15  # what is shown twice by a name is there once
    assert "norm-0" in " ".join(t.notes)  # which of the two of a layer it is, only the text says
    assert [call.past for call in t.calls] == [0, 8]


@pytest.mark.parametrize("newer", [True, False])
def test_llama_eval_callback_s_text_is_read_as_what_it_shows(foreign, model, traced, tmp_path, newer):
    tensors = [tensor for call in traced.calls for tensor in foreign.as_llama_cpp(call.values, model.config, places=32)]
    path = tmp_path / "x.txt"
    path.write_text(foreign.eval_callback_text(tensors, newer))
    t = read_trace(path)
    for call in ("call.0000", "call.0001"):
        assert assert_agrees(t, traced, call, 2e-6) == 4 + 2 * 19
    norm = t.partial["call.0000/model.layers.0.input_layernorm"]
    assert (norm.known.sum(), norm.resolution) == (36, 0.00005)  # three of each end of both axes
    assert [call.past for call in t.calls] == [0, 8] and t.dtype is None


def test_a_partial_value_is_partial_again_when_saved(foreign, model, traced, tmp_path):
    (tmp_path / "x.txt").write_text(
        foreign.eval_callback_text(foreign.as_llama_cpp(traced.calls[0].values, model.config, 32))
    )
    t = read_trace(tmp_path / "x.txt")
    t.save(tmp_path / "y.safetensors")
    again = read_trace(tmp_path / "y.safetensors")
    assert set(again.partial) == set(t.partial)
    for name, partial in t.partial.items():
        assert again.partial[name].resolution == pytest.approx(partial.resolution)
        assert (again.partial[name].known <= ~np.isnan(t[name])).all()


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.77, 0.999])
def test_a_text_that_breaks_off_is_said_to(foreign, model, traced, tmp_path, cut):
    """In the middle of a number, which would be a wrong one."""
    text = foreign.eval_callback_text(foreign.as_llama_cpp(traced.calls[0].values, model.config, 32))
    row_ends = [found.start() for found in re.finditer(r"\d  \],\n", text)]
    (tmp_path / "x.txt").write_text(text[: row_ends[int(len(row_ends) * cut)] - 1])
    with pytest.raises(LlamaError, match=r"x\.txt, line \d+: the text breaks off"):
        read_trace(tmp_path / "x.txt")


@pytest.mark.parametrize("table", [META, LLAMA_CPP])
def test_the_tables_lead_to_values_that_there_are(table):
    for line in table:
        assert (line.ours in VALUES or not line.ours) and line.layout in LAYOUTS, line
        assert line.theirs.count("{i}") == line.ours.count("{i}") or not line.ours
