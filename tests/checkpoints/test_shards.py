"""Checkpoints in several files: shared out, indexed, read back bit for bit; an index that lies is an error by name."""

import io
import json
import os
import shutil
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from numpy_llama import LlamaError, LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel
from numpy_llama.checkpoints import load
from numpy_llama.checkpoints.folder import HuggingFaceFolder, open_folder
from numpy_llama.checkpoints.shards import INDEX, SINGLE, bytes_from, shared_out

SIZE = 12_000  # bytes a shard: of the small model's 100 kB, matrices come two or three to a file


@pytest.fixture
def sharded(tmp_path, make_model):
    make_model().save_pretrained(tmp_path, max_shard_size=SIZE)
    return tmp_path


def shards(folder):
    return sorted(folder.glob("model-*-of-*.safetensors"))


def change_index(folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def assert_same_bits(ours, expected):
    assert ours.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert ours.tensors[name].dtype == tensor.dtype
        assert ours.tensors[name].tobytes() == tensor.tobytes(), name


# Written and read back


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_class", [LlamaForCausalLM, LlamaModel, LlamaForSequenceClassification])
def test_shards_give_every_bit_back(tmp_path, make_model, dtype, tied, model_class):
    model = make_model(dtype, model_class=model_class, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path, max_shard_size=SIZE)
    assert len(shards(tmp_path)) > 2
    assert not (tmp_path / SINGLE).exists()
    assert_same_bits(model_class.from_pretrained(tmp_path, dtype="auto"), model)


def test_the_index_says_where_every_tensor_is(sharded, make_model):
    index = json.loads((sharded / INDEX).read_text())
    inside = {name: path.name for path in shards(sharded) for name in load_file(path)}
    assert index["weight_map"] == inside
    model = make_model()
    total = {"total_size": sum(t.nbytes for t in model.tensors.values()), "total_parameters": model.num_parameters()}
    assert index["metadata"] == total


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=40), limit=st.one_of(st.just(1), st.integers(1, 200)))
def test_tensors_are_shared_out_in_order_as_many_as_fit(sizes, limit):
    named = {f"t{i}": size for i, size in enumerate(sizes)}
    files = list(shared_out(named, limit).items())
    assert [name for _, names in files for name in names] == list(named)
    assert (len(files) == 1) == (files[0][0] == SINGLE)
    for (_, names), (_, following) in pairwise(files):
        assert sum(named[name] for name in names) + named[following[0]] > limit
    for _, names in files:
        assert names
        assert len(names) == 1 or sum(named[name] for name in names) <= limit


@pytest.mark.parametrize(
    ("size", "number"), [("5GB", 5 * 10**9), (" 1.5 kb", 1500), ("200MB", 2 * 10**8), ("1TB", 10**12), (7, 7)]
)
def test_sizes_are_counted_as_transformers_counts(size, number):
    assert bytes_from(size) == number


@pytest.mark.parametrize("size", ["5", "5GiB", "GB", "-1GB", "0GB", 0, -3, True, None, 5.0, "9" * 400 + "GB", "1e3GB"])
def test_a_size_that_is_none_is_refused_before_anything_is_written(tmp_path, make_model, size):
    with pytest.raises(LlamaError, match="max_shard_size"):
        make_model().save_pretrained(tmp_path / "new", max_shard_size=size)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("limits", [(SIZE, SIZE), (SIZE, 2 * SIZE), (SIZE, "1GB"), ("1GB", SIZE)], ids=str)
def test_saving_again_leaves_nothing_of_the_model_before(tmp_path, make_model, limits):
    make_model(seed=0).save_pretrained(tmp_path / "twice", max_shard_size=limits[0])
    for folder in ("twice", "once"):
        make_model(seed=1).save_pretrained(tmp_path / folder, max_shard_size=limits[1])
    files = {path.name: path.read_bytes() for path in (tmp_path / "twice").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "once").iterdir()}


@pytest.mark.parametrize("limits", [(SIZE, SIZE), (SIZE, 2 * SIZE), (SIZE, "1GB"), ("1GB", SIZE)], ids=str)
def test_a_crash_at_any_step_leaves_the_old_model_or_the_new_or_an_error(tmp_path, make_model, monkeypatch, limits):
    old, new = make_model(seed=0), make_model(seed=1)
    steps = 0
    crash_at = -1

    def counted(change):
        def call(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == crash_at:
                raise KeyboardInterrupt
            return change(*arguments, **options)

        return call

    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    seen = set()
    for crash_at in range(1, 1000):
        folder = tmp_path / str(crash_at)
        steps = -(10**6)
        old.save_pretrained(folder, max_shard_size=limits[0])
        steps = 0
        try:
            new.save_pretrained(folder, max_shard_size=limits[1])
        except KeyboardInterrupt:
            seen.add(what_is_there(folder, old, new))
        else:
            break
        shutil.rmtree(folder)
    assert what_is_there(folder, old, new) == "new"
    assert seen <= {"old", "new", "error"}
    assert "old" in seen


def what_is_there(folder, old, new):
    try:
        loaded = LlamaForCausalLM.from_pretrained(folder)
    except LlamaError:
        return "error"
    for which, model in (("old", old), ("new", new)):
        if all(np.array_equal(loaded.tensors[name], tensor) for name, tensor in model.tensors.items()):
            return which
    return "mixture"


# Read as Transformers reads


def test_one_file_goes_before_shards_as_in_transformers(sharded, make_model):
    other = make_model(seed=5)
    save_file(other.tensors, sharded / SINGLE)
    assert_same_bits(LlamaForCausalLM.from_pretrained(sharded), other)


def test_what_is_read_is_the_file_and_not_a_copy(sharded):
    """Mapped memory: a model larger than the machine's can be looked at."""
    reader = open_folder(sharded)
    for name in reader.table():
        tensor = reader.read(name)
        assert not tensor.flags.writeable
        assert not tensor.flags.owndata
        with pytest.raises(ValueError):
            tensor[...] = 0


def test_a_loaded_model_owns_its_weights_in_the_layout_that_it_packs(sharded):
    model = LlamaForCausalLM.from_pretrained(sharded)
    for index, layer in enumerate(model.model.layers):
        assert np.shares_memory(layer.q_proj, layer.qkv_proj)
        assert layer.qkv_proj.flags.owndata
        np.testing.assert_array_equal(layer.qkv_proj, np.concatenate((layer.q_proj, layer.k_proj, layer.v_proj)))
        np.testing.assert_array_equal(layer.gate_up_proj, np.concatenate((layer.gate_proj, layer.up_proj)))
        assert np.shares_memory(model.tensors[f"model.layers.{index}.self_attn.v_proj.weight"], layer.qkv_proj)


# A progress bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_a_bar_is_shown_where_loading_takes_more_than_a_second(sharded, monkeypatch, pause):
    read, slow = HuggingFaceFolder.read, ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    slow += ["model.norm.weight", "lm_head.weight"]

    def slowly(self, name):
        time.sleep(pause if name in slow else 0)
        return read(self, name)

    monkeypatch.setattr(HuggingFaceFolder, "read", slowly)
    monkeypatch.setattr(load, "LARGE", 0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    LlamaForCausalLM.from_pretrained(sharded)
    assert (f"loading {INDEX}" in sys.stderr.getvalue()) == (pause > 0)


# Indexes that lie


@pytest.fixture(scope="module")
def template(tmp_path_factory, make_model):
    folder = tmp_path_factory.mktemp("template")
    make_model().save_pretrained(folder / "model", max_shard_size=SIZE)
    return folder / "model"


@pytest.fixture(scope="module")
def fresh_copy(template, tmp_path_factory):
    """fresh_copy() → a copy of a sharded checkpoint, to be damaged."""

    def copy():
        folder = tmp_path_factory.mktemp("damaged") / "model"
        shutil.copytree(template, folder)
        return folder

    return copy


NAME = "model.norm.weight"


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/outside.safetensors", "sub/x.safetensors", "..\\outside.safetensors",
     "C:x.safetensors", "..", "", "config.json", 3, None, ["a"],
     "x" * 400 + ".safetensors", "\ud800.safetensors", "a\0.safetensors"],
)  # fmt: skip
def test_an_index_that_points_outside_its_folder_is_refused_by_name(sharded, name):
    shutil.copy(shards(sharded)[0], sharded.parent / "outside.safetensors")
    change_index(sharded, lambda weight_map: weight_map.update({NAME: name}))
    with pytest.raises(LlamaError, match=rf"index.json: {NAME}: no shard; .*\.safetensors file in the same folder"):
        LlamaForCausalLM.from_pretrained(sharded)


def test_a_shard_that_is_missing_is_named(sharded):
    path = shards(sharded)[1]
    path.unlink()
    with pytest.raises(LlamaError, match=f"{path.name}: no such file"):
        LlamaForCausalLM.from_pretrained(sharded)


def test_a_tensor_that_is_elsewhere_is_named(sharded):
    first = shards(sharded)[0].name
    change_index(sharded, lambda weight_map: weight_map.update({"lm_head.weight": first}))
    with pytest.raises(LlamaError, match=rf"lm_head.weight: a tensor isn't where the index says; expected {first}"):
        LlamaForCausalLM.from_pretrained(sharded)


def test_a_tensor_of_the_index_that_is_nowhere_is_named(sharded):
    first = shards(sharded)[0].name
    change_index(sharded, lambda weight_map: weight_map.update({"model.wings.weight": first}))
    with pytest.raises(LlamaError, match=r"model.wings.weight: a tensor isn't where the index says.*in no shard"):
        LlamaForCausalLM.from_pretrained(sharded)


def test_a_tensor_that_the_index_does_not_list_is_named(sharded):
    change_index(sharded, lambda weight_map: weight_map.pop(NAME))
    with pytest.raises(LlamaError, match=rf"{NAME}: the index doesn't list a tensor"):
        LlamaForCausalLM.from_pretrained(sharded)


def test_a_tensor_in_two_shards_is_named(sharded):
    first, second = shards(sharded)[:2]
    tensors = load_file(first)
    save_file({**load_file(second), **tensors}, second)
    with pytest.raises(LlamaError, match=f"two shards hold {next(iter(sorted(tensors)))}|two shards hold"):
        LlamaForCausalLM.from_pretrained(sharded)


def test_a_name_twice_in_the_index_is_an_error(sharded):
    text = (sharded / INDEX).read_text()
    (sharded / INDEX).write_text(text.replace('"weight_map": {', f'"weight_map": {{"{NAME}": "x.safetensors",'))
    with pytest.raises(LlamaError, match=rf"index.json: not valid JSON \(the name '{NAME}' twice"):
        LlamaForCausalLM.from_pretrained(sharded)


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "", '{"weight_map": 3}'])
def test_an_index_of_the_wrong_form_is_an_error(sharded, index):
    (sharded / INDEX).write_text(index)
    with pytest.raises(LlamaError, match=r"index\.json"):
        LlamaForCausalLM.from_pretrained(sharded)


@given(data=st.data())
def test_a_truncated_file_is_an_error_wherever_it_ends(fresh_copy, data):
    folder = fresh_copy()
    path = data.draw(st.sampled_from([*shards(folder), folder / INDEX]))
    # The index ends in a brace and a line end: without the line end it is whole.
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 2)))
    with pytest.raises(LlamaError, match=path.name):
        LlamaForCausalLM.from_pretrained(folder)


NAMES = st.one_of(st.text(max_size=12), st.integers(), st.none(), st.lists(st.text(), max_size=2))


@given(data=st.data())
def test_whatever_an_index_says_is_what_is_there_or_an_error(fresh_copy, data):
    folder = fresh_copy()
    index = json.loads((folder / INDEX).read_text())
    right = dict(index["weight_map"])
    files = [path.name for path in shards(folder)]
    for name in data.draw(st.lists(st.sampled_from(sorted(right)), min_size=1, max_size=3)):
        where = data.draw(
            st.one_of(st.sampled_from(files), st.sampled_from(files).map(lambda f: "../model/" + f), NAMES)
        )
        index["weight_map"][name] = where
    (folder / INDEX).write_text(json.dumps(index))
    if index["weight_map"] == right:
        LlamaForCausalLM.from_pretrained(folder)
        return
    with pytest.raises(LlamaError, match=r"index\.json"):
        LlamaForCausalLM.from_pretrained(folder)


@given(data=st.data())
def test_a_shard_with_any_byte_of_its_header_changed_is_an_error_or_the_same_shapes(fresh_copy, data):
    folder = fresh_copy()
    path = data.draw(st.sampled_from(shards(folder)))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, 8 + int.from_bytes(content[:8], "little") - 1))
    content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        model = LlamaForCausalLM.from_pretrained(folder)
    except LlamaError:
        return
    for name, shape in model.tensor_shapes(model.config).items():
        assert model.tensors[name].shape == shape
