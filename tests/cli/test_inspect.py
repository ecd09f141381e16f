"""`numpy-llama inspect`, and the arithmetic below it."""

import json
import math

import numpy as np
import pytest

from numpy_llama import KVCache, LlamaConfig, LlamaForCausalLM
from numpy_llama.model.weights import count_parameters, tensor_shapes
from numpy_llama.precision import DTYPES
from numpy_llama.study.inspection import cache_bytes, parameters_by_block, weight_bytes
from numpy_llama.study.operations import flops, multiply_adds
from numpy_llama.study.presets import PRESETS, find_preset


def facts(command, *arguments):
    status, out, err = command("inspect", "--json", *arguments)
    assert (status, err) == (0, "")
    return json.loads(out)


# Operations


class Counted(np.ndarray):
    """An array that counts the multiply-adds of every matrix product it takes part in."""

    multiply_adds = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [x.view(np.ndarray) if isinstance(x, Counted) else x for x in inputs]
        if "out" in options:
            options["out"] = tuple(x.view(np.ndarray) if isinstance(x, Counted) else x for x in options["out"])
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            Counted.multiply_adds += np.size(result) * plain[0].shape[-1]
        return result.view(Counted) if isinstance(result, np.ndarray) else result


SHAPES = [
    {},
    {"num_key_value_heads": 4, "tie_word_embeddings": True},
    {"num_key_value_heads": 1, "head_dim": 10, "num_hidden_layers": 3},
    {"vocab_size": 7, "intermediate_size": 5, "attention_bias": False, "mlp_bias": False},
]


@pytest.mark.parametrize("changes", SHAPES)
def test_operations_are_those_of_a_real_forward_pass(make_model, changes):
    model = make_model(**changes)
    tensors = {name: tensor.view(Counted) for name, tensor in model.tensors.items()}
    counted = LlamaForCausalLM(model.config, tensors)
    cache = KVCache(model.config.num_hidden_layers)

    def count(new, logits):
        Counted.multiply_adds = 0
        counted([[1] * new], past_key_values=cache, logits_to_keep=logits)
        return Counted.multiply_adds

    # A prefill, a decode step, a chunk with all its logits: (tokens there afterwards, new tokens, logits).
    for context, new, logits in [(5, 5, 1), (6, 1, 1), (9, 3, 3)]:
        expected = multiply_adds(model.config, context, new, logits)
        assert count(new, logits) == sum(expected.values())
        assert flops(model.config, context, new, logits) == 2 * sum(expected.values())


def test_blocks_with_a_matrix_take_one_multiply_add_for_each_of_its_numbers(make_model):
    config = make_model(attention_bias=False, mlp_bias=False).config
    counts = multiply_adds(config, context=1)
    matrices = {row.block: row.total for row in parameters_by_block(config) if len(row.shape) == 2}
    matrices.pop("embed_tokens")  # looked up, not multiplied
    assert {block: counts[block] for block in matrices} == matrices
    assert counts.keys() - matrices.keys() == {"self_attn.scores", "self_attn.context"}


# Parameters and memory


@pytest.mark.parametrize("changes", [*SHAPES, {"mlp_bias": False}])
def test_the_table_adds_up_to_what_a_model_holds(make_model, changes):
    model = make_model(**changes)
    rows = parameters_by_block(model.config)
    assert sum(row.total for row in rows) == sum(tensor.size for tensor in model.tensors.values())
    assert len({row.block for row in rows}) == len(rows)
    of_query = next(row for row in rows if row.block == "self_attn.q_proj")
    assert of_query.shape == model.tensors["model.layers.0.self_attn.q_proj.weight"].shape
    assert of_query.copies == model.config.num_hidden_layers


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_is_what_arrays_take(make_model, dtype):
    model = make_model(dtype)
    assert weight_bytes(model.config, dtype) == sum(tensor.nbytes for tensor in model.tensors.values())
    assert cache_bytes(model.config, 7, dtype) == model([[1] * 7]).past_key_values.nbytes


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_their_published_parameters(command, name):
    preset = PRESETS[name]
    assert count_parameters(preset.config) == preset.published_parameters
    assert sum(math.prod(shape) for _, shape in tensor_shapes(preset.config)) == preset.published_parameters
    status, out, _ = command("inspect", "--preset", name)
    assert status == 0
    assert f"{preset.published_parameters:,}  equal" in out
    assert max(map(len, out.splitlines())) <= 80


def test_presets_by_their_short_names():
    assert find_preset("2-70b")[0] == "llama-2-70b"
    assert find_preset("Llama-3.2-1B")[0] == "llama-3.2-1b"


def test_llama_1_and_2_differ_in_context_and_eps():
    first, second = PRESETS["llama-1-7b"].config.to_dict(), PRESETS["llama-2-7b"].config.to_dict()
    assert {name for name in first if first[name] != second[name]} == {"max_position_embeddings", "rms_norm_eps"}


def test_well_known_numbers(command):
    """13.5 GB of float16 weights and half a MB of cache a token are what Llama 2 7B is known to take."""
    found = facts(command, "--preset", "llama-2-7b")
    half = found["memory"]["bytes"]["float16"]
    assert round(half["weights"] / 1e9, 1) == 13.5
    assert half["cache_per_token"] == 512 * 1024
    # Without attention to the past, a token takes two operations for each weight but the embedding table's.
    matrices = 2 * (found["parameters"]["total"] - 32_000 * 4096 - 65 * 4096)
    assert facts(command, "--preset", "llama-2-7b", "--context", 1)["operations"]["flops"] == pytest.approx(
        matrices, rel=1e-4
    )


# Checkpoints


def test_the_embedded_model(command, storyteller):
    found = facts(command)
    assert found["parameters"]["total"] == sum(tensor.size for tensor in storyteller.tensors.values())
    assert sum(found["stored_dtypes"].values()) == found["parameters"]["total"]
    assert LlamaConfig.from_dict(found["config"]) == storyteller.config
    _, out, _ = command("inspect")
    assert f"storyteller: a Llama of {found['parameters']['total']:,} parameters" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_context_can_be_chosen(command):
    near, far = (facts(command, "--context", n) for n in (100, 200))
    for dtype in DTYPES:
        assert 2 * near["memory"]["bytes"][dtype]["cache"] == far["memory"]["bytes"][dtype]["cache"]
    for block, count in near["operations"]["multiply_adds"].items():
        grows = block in ("self_attn.scores", "self_attn.context")
        assert far["operations"]["multiply_adds"][block] == count * (2 if grows else 1)


def test_a_tied_head_is_shown_but_not_counted(command):
    _, out, _ = command("inspect", "--preset", "smollm2-135m")
    assert "lm_head                   embed_tokens" in out


def test_no_weight_is_read(command, complaint, copy):
    path = copy / "model.safetensors"
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    path.write_bytes(content[:header] + b"\xff" * (len(content) - header))  # every number is NaN
    assert facts(command, "--model", copy)["name"] == "copy"
    assert "weight is not a number" in complaint("generate", "x", "--model", copy)


def test_damaged_checkpoints(complaint, copy):
    path = copy / "model.safetensors"
    content = path.read_bytes()
    for length in (0, 5, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "model.safetensors: not a readable safetensors file" in complaint("inspect", "--model", copy)
    path.write_bytes(b"\xff" * 100)
    assert "model.safetensors: not a readable safetensors file" in complaint("inspect", "--model", copy)
    path.unlink()
    assert "model.safetensors: no such file" in complaint("inspect", "--model", copy)


def test_a_config_that_does_not_fit_the_weights(complaint, copy):
    config = json.loads((copy / "config.json").read_text())
    for field, value, expected in [
        ("num_hidden_layers", 3, "wrong number of layers; expected 3"),
        ("intermediate_size", 345, "expected (345, 128), found (344, 128)"),
        ("hidden_act", "prelu", "hidden_act"),
        ("hidden_size", "128", "hidden_size"),
    ]:
        (copy / "config.json").write_text(json.dumps({**config, field: value}))
        assert expected in complaint("inspect", "--model", copy)
    for text in ("{", "[]", "", '{"model_type": "gpt2"}'):
        (copy / "config.json").write_text(text)
        assert "config.json" in complaint("inspect", "--model", copy)


def test_an_unknown_field_is_one_line_of_warning(command, copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "flux_capacitor": 88}))
    status, _, err = command("inspect", "--model", copy)
    assert status == 0
    assert err == "numpy-llama: warning: config: unknown fields kept and not used: flux_capacitor\n"
