"""The published cases in ours; no torch is needed. What is stored, and how, is in data/published_logits/README.md."""

import json
import struct
import warnings
from functools import cache

import numpy as np
import pytest

from numpy_llama import LlamaWarning
from numpy_llama.blocks import Blocks
from numpy_llama.checkpoints import data_folder
from numpy_llama.conformance.published_blocks import run_block
from numpy_llama.conformance.published_cases import (
    TWO_BYTES,
    PublishedCase,
    case_files,
    differences,
    relative_distances,
    run_generate,
    run_model,
)
from numpy_llama.mistakes.wrong_blocks.table import WRONG_BLOCKS
from numpy_llama.model.values import VALUES
from numpy_llama.reference.case_blocks import block_cases
from numpy_llama.reference.case_cover import ACTIVATIONS, FACTORS, cover_cases, interacting_pairs, pairs_of
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.case_generation import generation_cases
from numpy_llama.reference.case_written import written_cases

FOLDER = data_folder() / "published_logits"
CASES = {path.stem: path for path in case_files(FOLDER / "cases")}
GENERATION = {path.stem: path for path in case_files(FOLDER / "generation")}
BLOCKS = {path.stem: path for path in case_files(FOLDER / "blocks")}
DTYPES = ("float64", "float32", "float16", "bfloat16")

# RMS distance from the truth, ours over Transformers': of each case, and in the geometric mean of all of them. A mean
# over a hundred cases and more leaves no room for one more rounding in each layer, which costs some 5 %.
FARTHER, FARTHER_IN_THE_MEAN = 1.25, 1.02


@cache
def case(path):
    return PublishedCase.read(path)


@cache
def results(name, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)  # many cases go past the trained context, by design
        return run_model(case(CASES[name]), dtype)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_output_is_that_of_transformers(dtype, name):
    found = differences(case(CASES[name]), dtype, results(name, dtype))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("dtype", TWO_BYTES)
@pytest.mark.parametrize("name", CASES)
def test_two_byte_cases_are_as_near_to_the_truth(name, dtype):
    ours, theirs = relative_distances(case(CASES[name]), dtype, results(name, dtype))
    assert ours <= FARTHER * theirs, f"{ours / theirs:.3f} times as far"


def test_two_byte_cases_are_as_near_to_the_truth_in_the_mean():
    distances = [
        relative_distances(case(CASES[name]), dtype, results(name, dtype)) for name in CASES for dtype in TWO_BYTES
    ]
    ratios = np.array([ours / theirs for ours, theirs in distances])
    assert len(ratios) >= 100
    assert np.exp(np.log(ratios).mean()) <= FARTHER_IN_THE_MEAN


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_block_is_that_of_transformers(dtype, name):
    block = case(BLOCKS[name])
    ours = run_block(block, dtype)
    found = differences(block, dtype, ours)
    assert not found, "\n".join(found)
    if dtype in TWO_BYTES:
        mine, theirs = relative_distances(block, dtype, ours)
        assert mine <= FARTHER * theirs
        pairs = [
            (ours[index]["outputs"][output], block.expected(index, "outputs", dtype, output))
            for index, call in enumerate(block.calls)
            for output in call["outputs"]
        ]
        equal = np.concatenate([(mine == theirs).ravel() for mine, theirs in pairs])
        assert equal.mean() >= 0.99  # bit by bit: blocks round where Transformers' do


@pytest.mark.parametrize("name", GENERATION)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_generate_gives_the_ids_of_transformers(dtype, name):
    found = differences(case(GENERATION[name]), dtype, run_generate(case(GENERATION[name]), dtype))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", [name for name, mistake in WRONG_BLOCKS.items() if hasattr(Blocks, mistake.field)])
def test_every_classic_mistake_is_caught(name):
    blocks = Blocks().swap(**{WRONG_BLOCKS[name].field: WRONG_BLOCKS[name].wrong})
    assert any(is_caught(blocks, dtype) for dtype in ("float32", "float16", "bfloat16"))


def is_caught(blocks, dtype):
    """Whether a model with a mistake in it crashes, differs, or strays in some case, or in the mean of all."""
    ratios = []
    for path in (path for name, path in CASES.items() if not name.startswith("named_")):  # mistakes name no values
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                ours = run_model(case(path), dtype, blocks)
            if differences(case(path), dtype, ours):
                return True
        except (ValueError, IndexError, TypeError):
            return True
        if dtype in TWO_BYTES:
            mine, theirs = relative_distances(case(path), dtype, ours)
            ratios.append(mine / theirs)
    return bool(ratios) and (max(ratios) > FARTHER or np.exp(np.log(ratios).mean()) > FARTHER_IN_THE_MEAN)


# -- what the set holds ------------------------------------------------------------------------------------------------


def test_every_pair_of_settings_that_can_meet_is_covered():
    covered = set()
    for path in CASES.values():
        factors = case(path).description["factors"]
        if factors:
            assert factors.keys() == FACTORS.keys()
            assert all(setting in FACTORS[factor] for factor, setting in factors.items())
            covered |= pairs_of(factors)
    assert interacting_pairs() <= covered


def has_mask(call, kind):
    mask = call.get("attention_mask")
    return mask is not None and mask.ndim == 4 and (mask.dtype == bool) == (kind == "4-D boolean")


def test_settings_are_what_a_case_says():
    """The factors of a case, read off its config and its inputs once more."""
    for path in CASES.values():
        one = case(path)
        factors, config = one.description["factors"], one.description["config"]
        if not factors:
            continue
        H, K, D = (config[name] for name in ("num_attention_heads", "num_key_value_heads", "head_dim"))
        apart = config["hidden_size"] != H * D
        assert factors["heads"] == (
            "head_dim apart" if apart else "multi-head" if K == H else "multi-query" if K == 1 else "grouped-query"
        )
        assert factors["rope"] == config["rope_parameters"]["rope_type"]
        biased = {"none": (False, False), "attention": (True, False), "mlp": (False, True), "both": (True, True)}
        assert biased[factors["bias"]] == (config["attention_bias"], config["mlp_bias"])
        calls = [one.inputs(index, "float32") for index in range(len(one.calls))]
        longest = sum(call["input_ids"].shape[1] for call in calls)
        assert (factors["context"] == "beyond") == (longest > config["max_position_embeddings"])
        if factors["padding"].startswith("4-D"):
            assert all(has_mask(call, factors["padding"]) for call in calls)
        elif factors["padding"] == "packed":
            assert (np.diff(calls[0]["position_ids"]) != 1).any(axis=1).all()
            assert "attention_mask" not in calls[0]
        elif factors["padding"] == "none":
            assert not any("attention_mask" in call for call in calls)
        else:
            first, last = calls[-1]["attention_mask"][1, [0, calls[0]["input_ids"].shape[1] - 1]]
            assert (first, last) == ((0, 1) if factors["padding"] == "left" else (1, 0))
        static = one.description["cache"] is not None
        lengths = [call["input_ids"].shape[1] for call in calls]
        kind = "static" if static else "none" if len(calls) == 1 else "decode" if lengths[-2:] == [1, 1] else "chunks"
        assert factors["cache"] == kind


def test_every_class_argument_and_activation_is_there():
    described = [case(path) for path in CASES.values()]
    assert {one.description["class"] for one in described} == {
        "LlamaModel",
        "LlamaForCausalLM",
        "LlamaForSequenceClassification",
        "LlamaForTokenClassification",
        "LlamaForQuestionAnswering",
    }
    used, returned = set(), set()
    for one in described:
        for index, call in enumerate(one.calls):
            used |= one.inputs(index, "float32").keys() | call["arguments"].keys()
            returned |= call["outputs"].keys()
    assert used == {
        *("input_ids", "inputs_embeds", "attention_mask", "position_ids", "labels", "start_positions", "end_positions"),
        *("use_cache", "output_hidden_states", "output_attentions", "logits_to_keep"),
    }
    assert returned == {
        *("last_hidden_state", "logits", "start_logits", "end_logits", "loss", "hidden_states", "attentions"),
        *("past_key_values.keys", "past_key_values.values"),
    }
    assert {one.description["config"]["hidden_act"] for one in described} == set(ACTIVATIONS)
    assert len(ACTIVATIONS) == 22


def test_five_cases_name_every_intermediate():
    named = [case(path) for name, path in CASES.items() if name.startswith("named_")]
    assert len(named) == 5
    for one in named:
        layers = range(one.description["config"]["num_hidden_layers"])
        expected = {name.replace("{i}", str(layer)) for name in VALUES for layer in layers}
        assert all(call["named"].keys() == expected for call in one.calls), one.name


def test_the_set_is_as_large_as_promised_and_no_larger():
    assert len(CASES) >= 60
    assert f"{len(CASES)} small models" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 8_000_000


# -- the files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*CASES.values(), *BLOCKS.values(), *GENERATION.values()], ids=lambda path: path.stem)
def test_a_file_is_laid_out_as_the_readme_says(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    assert list(metadata) == ["case"]  # several entries would be written in random order
    description = json.loads(metadata["case"])
    assert metadata["case"] == json.dumps(description, sort_keys=True, ensure_ascii=False)
    assert description["format"] == 1
    assert description["name"] == path.stem
    assert description["about"]
    assert {"command", "torch", "transformers", "threads", "processor"} <= description["made_by"].keys()

    one, seen = case(path), set()
    for index, call in enumerate(description["calls"]):
        for group in ("outputs", "named"):
            for name, tolerance in call.get(group, {}).items():
                at = f"calls.{index}.{group}"
                if "exact" in tolerance:
                    seen.add(f"{at}.exact.{name}")
                    continue
                assert all(tolerance[dtype]["largest_error"] >= 0 for dtype in ("float64", "float32"))
                assert all(tolerance[dtype]["rms_error"] >= 0 for dtype in TWO_BYTES)
                kinds = [*DTYPES, "truth_of_float16", "truth_of_bfloat16"]
                if one.expected(index, group, "bfloat16", name).dtype.name == "bfloat16":
                    kinds.append("bfloat16_as_float32")
                    wide = one.expected(index, group, "bfloat16_as_float32", name)
                    np.testing.assert_array_equal(wide, one.expected(index, group, "bfloat16", name).astype(np.float32))
                seen |= {f"{at}.{kind}.{name}" for kind in kinds}
    rest = {name for name in one.tensors if ".outputs." in name or ".named." in name}
    assert rest == seen


def test_weights_and_inputs_come_out_again_byte_for_byte():
    """What is drawn is the same on every machine; no torch is needed for it."""
    remade = [*cover_cases(), *written_cases()]
    assert sorted(one.name for one in remade) == sorted(CASES)
    for one in remade:
        published = case(CASES[one.name])
        weights = draw_weights(one.class_name, one.config, Draws(one.name))
        same_tensors(published, "weights.", weights)
        same_calls(published, one.calls)
        assert published.description["config"] == one.config
        assert published.description["about"] == one.about
    for one in block_cases():
        same_calls(case(BLOCKS[one.name]), one.calls)
    for one in generation_cases():
        published = case(GENERATION[one.name])
        weights = draw_weights(one.class_name, one.config, Draws(f"generation {one.name}"))
        same_tensors(published, "weights.", weights)
        same_calls(published, one.calls)


def same_calls(published, calls):
    assert len(published.calls) == len(calls)
    for index, call in enumerate(calls):
        same_tensors(published, f"calls.{index}.inputs.", call.inputs)
        assert published.calls[index]["arguments"] == call.arguments


def same_tensors(published, prefix, tensors):
    stored = {name.removeprefix(prefix): array for name, array in published.tensors.items() if name.startswith(prefix)}
    assert stored.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (stored[name].dtype, stored[name].shape) == (array.dtype, array.shape)
        assert stored[name].tobytes() == np.ascontiguousarray(array).tobytes()


def test_the_example_in_the_readme_runs(monkeypatch, capsys):
    _, code = (FOLDER / "README.md").read_text(encoding="utf-8").split("```python\n")
    monkeypatch.chdir(FOLDER)
    exec(code.split("```")[0], {})
    assert "LlamaForCausalLM" in capsys.readouterr().out
