"""Quantized checkpoints: every bit comes back, other readers see numbers, and what doesn't fit is named."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from numpy_llama import LlamaConfig, LlamaError, LlamaForCausalLM, LlamaModel
from numpy_llama.blocks.quantized_weight import QuantizedWeight, dequantize
from numpy_llama.checkpoints.reader import open_checkpoint

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
HOW = {"quantization": "int4", "group_size": 32}


@pytest.fixture
def plain(tmp_path_factory, make_model):
    folder = tmp_path_factory.mktemp("plain")
    make_model(intermediate_size=45).save_pretrained(folder)  # an odd number: a row ends within a byte
    return folder


@pytest.fixture
def quantized(tmp_path, plain):
    LlamaForCausalLM.from_pretrained(plain, **HOW).save_pretrained(tmp_path)
    return tmp_path


def parts(model):
    """Every array that a model holds, by name."""
    found = {}
    for name, tensor in model.tensors.items():
        if isinstance(tensor, QuantizedWeight):
            found |= {f"{name}.{part}": getattr(tensor, part) for part in ("codes", "scales", "zeros")}
        else:
            found[name] = tensor
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("quantization", ["int4", "int8"])
def test_every_bit_comes_back(tmp_path, plain, quantization, symmetric, dtype):
    how = {"quantization": quantization, "group_size": 64, "symmetric": symmetric}
    model = LlamaForCausalLM.from_pretrained(plain, dtype, **how)
    model.save_pretrained(tmp_path)
    for again in (
        LlamaForCausalLM.from_pretrained(tmp_path, dtype),
        LlamaForCausalLM.from_pretrained(tmp_path, "auto"),
        LlamaForCausalLM.from_pretrained(tmp_path, dtype, **how),
    ):
        expected, found = parts(model), parts(again)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            if array is None:
                assert found[name] is None and symmetric
            else:
                assert found[name].dtype == array.dtype
                assert found[name].tobytes() == array.tobytes(), name


def test_the_layout_is_as_described(quantized):
    said = json.loads((quantized / "config.json").read_text())["quantization_config"]
    assert said == {"quant_method": "numpy_llama", "bits": 4, "group_size": 32, "symmetric": False}
    stored = load_file(quantized / "model.safetensors")
    rows, columns = 24, 32
    assert stored[f"{Q_PROJ}.codes"].shape == (rows, columns // 2)
    assert stored[f"{Q_PROJ}.codes"].dtype == np.uint8
    assert stored[f"{Q_PROJ}.scales"].shape == stored[f"{Q_PROJ}.zeros"].shape == (rows, 1)
    down = "model.layers.1.mlp.down_proj.weight"
    assert stored[f"{down}.codes"].shape == (32, 23)  # of 45 numbers
    assert stored[f"{down}.scales"].shape == (32, 2)
    assert Q_PROJ not in stored and "model.norm.weight" in stored


def test_it_is_smaller_on_disk_too(tmp_path, make_model):
    model = make_model(hidden_size=128, intermediate_size=512, num_hidden_layers=4, vocab_size=8)
    model.save_pretrained(tmp_path / "plain")
    LlamaForCausalLM.from_pretrained(tmp_path / "plain", quantization="int4").save_pretrained(tmp_path / "int4")
    before, after = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("plain", "int4"))
    assert after < before / 5


def test_in_shards_it_is_the_same(quantized, tmp_path):
    model = LlamaForCausalLM.from_pretrained(quantized)
    model.save_pretrained(tmp_path / "shards", max_shard_size=5000)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    again = LlamaForCausalLM.from_pretrained(tmp_path / "shards")
    np.testing.assert_array_equal(again([[1, 2, 3]]).logits, model([[1, 2, 3]]).logits)


def test_it_can_be_streamed(quantized):
    streamed = LlamaForCausalLM.from_pretrained(quantized, weights="stream")
    loaded = LlamaForCausalLM.from_pretrained(quantized)
    np.testing.assert_array_equal(streamed([[1, 2, 3]]).logits, loaded([[1, 2, 3]]).logits)


def test_a_reader_of_any_format_sees_numbers(quantized):
    reader = open_checkpoint(quantized)
    weight = LlamaForCausalLM.from_pretrained(quantized).tensors[Q_PROJ]
    stored = reader.table()[Q_PROJ]
    assert (stored.shape, stored.dtype) == ((24, 32), "INT4")
    np.testing.assert_array_equal(reader.read(Q_PROJ), dequantize(weight))
    assert not any(name.endswith((".codes", ".scales", ".zeros")) for name in reader.table())


def test_a_body_alone_goes_in_and_out(quantized, tmp_path):
    body = LlamaModel.from_pretrained(quantized)
    body.save_pretrained(tmp_path / "body")
    again = LlamaModel.from_pretrained(tmp_path / "body")
    whole = LlamaForCausalLM.from_pretrained(quantized)
    np.testing.assert_array_equal(again([[1, 2]]).last_hidden_state, whole.model([[1, 2]]).last_hidden_state)


def test_a_config_that_speaks_of_quantization_beside_plain_weights_is_named(plain, quantized):
    (plain / "config.json").write_bytes((quantized / "config.json").read_bytes())
    with pytest.raises(LlamaError, match=r"model.safetensors: .*_proj.weight: not quantized; expected .*\.codes"):
        LlamaForCausalLM.from_pretrained(plain)


def test_the_config_says_what_the_weights_are(quantized, tmp_path):
    """A model of a quantized one's config, but with fresh weights, isn't quantized, and doesn't say that it is."""
    config = LlamaConfig.from_pretrained(quantized)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "fresh")
    assert "quantization_config" not in json.loads((tmp_path / "fresh" / "config.json").read_text())
    LlamaForCausalLM.from_pretrained(tmp_path / "fresh")


def test_a_model_half_of_which_is_quantized_is_not_written(quantized, tmp_path):
    model = LlamaForCausalLM.from_pretrained(quantized)
    model.tensors[Q_PROJ] = dequantize(model.tensors[Q_PROJ])
    with pytest.raises(LlamaError, match="q_proj.weight.*: quantized in different ways"):
        model.save_pretrained(tmp_path / "half")
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("how", [{"quantization": "int8"}, {**HOW, "symmetric": True}, {**HOW, "group_size": 128}])
def test_it_is_not_quantized_twice(quantized, how):
    with pytest.raises(
        LlamaError, match=r"model.safetensors: quantized already; expected .*, found Quantization\(bits=4"
    ):
        LlamaForCausalLM.from_pretrained(quantized, **how)


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def put(part, value):
    return lambda tensors: tensors.__setitem__(f"{Q_PROJ}.{part}", value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put("codes", np.zeros((24, 17), np.uint8)), r"\.codes: wrong shape; expected \(24, 16\), found \(24, 17\)"),
        (put("codes", np.zeros((24, 16), np.int8)), r"\.codes: wrong dtype; expected U8, found I8"),
        (put("scales", np.ones((24, 2), np.float32)), r"\.scales: wrong shape; expected \(24, 1\)"),
        (put("scales", np.ones((24, 1), np.int32)), r"\.scales: wrong dtype; expected one of F64, F32"),
        (put("scales", np.full((24, 1), np.nan, np.float32)), ": scales, zeros: not finite"),
        (put("scales", np.full((24, 1), 3e38, np.float32)), ": scales, zeros: not finite"),
        (put("zeros", np.ones((1, 24), np.float32)), r"\.zeros: wrong shape"),
        (put("zeros", np.ones((24, 1), np.float64)), "zeros: wrong dtype; expected float32, found float64"),
        (lambda tensors: tensors.pop(f"{Q_PROJ}.zeros"), r"\.zeros: missing tensor"),
        (lambda tensors: tensors.pop(f"{Q_PROJ}.codes"), r"\.(scales|zeros): surplus tensor"),
        (lambda tensors: tensors.update({Q_PROJ: np.ones((24, 32), np.float32)}), ": not quantized"),
        (put("more", np.ones(3, np.float32)), r"\.more: surplus tensor"),
    ],
)
def test_damaged_parts_are_named(quantized, change, complaint):
    rewrite(quantized, change)
    with pytest.raises(LlamaError, match=f"model.safetensors: .*{Q_PROJ}.*{complaint}|{Q_PROJ}{complaint}") as caught:
        LlamaForCausalLM.from_pretrained(quantized)
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantization_config.quant_method: unknown method; .*found 'gptq'"),
        ({"bits": 4}, "quant_method: unknown method; .*found None"),
        ("int4", "quantization_config: wrong type; expected an object, found str"),
        ({"quant_method": "numpy_llama"}, "quantization_config: wrong fields"),
        ({"quant_method": "numpy_llama", "bits": 4, "rows": 3}, "quantization_config: wrong fields"),
        ({"quant_method": "numpy_llama", "bits": [4]}, "quantization_config.bits: impossible value"),
        ({"quant_method": "numpy_llama", "bits": 4, "group_size": 2**70}, "quantization_config.group_size: impossible"),
        ({"quant_method": "numpy_llama", "bits": 4, "symmetric": "no"}, "quantization_config.symmetric: impossible"),
        ({"quant_method": "numpy_llama", "bits": 8, "group_size": 32}, r"codes: wrong shape; expected \(32, 45\)"),
        ({"quant_method": "numpy_llama", "bits": 4, "group_size": 32, "symmetric": True}, "zeros: surplus tensor"),
    ],
)
def test_settings_that_cannot_be_are_named(quantized, said, complaint):
    path = quantized / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": said}))
    with pytest.raises(LlamaError, match=complaint) as caught:
        LlamaForCausalLM.from_pretrained(quantized)
    assert str(quantized) in str(caught.value)


# The folder is written anew in each example, from what it was. A head that is missing is drawn, with a warning.
@pytest.mark.filterwarnings("ignore::numpy_llama.LlamaWarning")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_ends_in_a_clear_error_or_in_finite_numbers(quantized, data):
    original = load_file(quantized / "model.safetensors")
    tensors = dict(original)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(original)))
        what = data.draw(st.sampled_from(["drop", "rename", "shape", "dtype", "bits"]))
        if name not in tensors:
            continue
        array = tensors.pop(name)
        if what == "rename":
            tensors[name + data.draw(st.sampled_from([".codes", ".scales", "x"]))] = array
        elif what == "shape":
            tensors[name] = np.resize(array, data.draw(st.lists(st.integers(0, 40), max_size=3)))
        elif what == "dtype":
            kept = np.dtype(data.draw(st.sampled_from(["u1", "i1", "i8", "f2", "f4", "f8", "?"])))
            with np.errstate(all="ignore"):
                tensors[name] = array.astype(kept)
        elif what == "bits":
            noise = np.frombuffer(data.draw(st.binary(min_size=8, max_size=8)), np.uint8)
            tensors[name] = np.resize(noise, array.nbytes).view(array.dtype).reshape(array.shape)
    try:
        save_file(tensors, quantized / "model.safetensors")
        model, complaint = LlamaForCausalLM.from_pretrained(quantized), None
    except LlamaError as error:
        model, complaint = None, str(error)
    finally:
        save_file(original, quantized / "model.safetensors")
    if model is None:
        assert "model.safetensors" in complaint
    else:
        assert all(np.isfinite(np.asarray(tensor)).all() for tensor in model.tensors.values())
