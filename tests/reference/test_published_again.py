"""The published cases, made again with the Transformers of this machine: within the tolerances that they carry.

The same versions on the same kind of processor write the same bytes; another processor, or another number of threads,
changes torch's last bits. What is drawn doesn't change at all (tests/published/test_cases.py).
"""

import json

import pytest
import torch

from numpy_llama.checkpoints import data_folder
from numpy_llama.conformance.published_cases import (
    TWO_BYTES,
    PublishedCase,
    case_files,
    differences,
    relative_distances,
)
from numpy_llama.reference.case_blocks import block_cases
from numpy_llama.reference.case_cover import cover_cases
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.case_written import written_cases
from numpy_llama.reference.publish_blocks import run_block
from numpy_llama.reference.publish_cases import publish_case, run_case

FOLDER = data_folder() / "published_logits"
CASES = {case.name: case for case in (*cover_cases(), *written_cases())}
DTYPES = ("float64", "float32", "float16", "bfloat16")
AGAIN = [*list(CASES)[::6], *(name for name in CASES if name.startswith("named_"))]
FARTHER = 1.25  # as for an implementation of one's own


def held_to_the_published(published, dtype, results):
    found = differences(published, dtype, results)
    assert not found, "\n".join(found)
    if dtype in TWO_BYTES:
        again, before = relative_distances(published, dtype, results)
        assert again <= FARTHER * before


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cases_come_out_again(dtype, name):
    case = CASES[name]
    weights = draw_weights(case.class_name, case.config, Draws(name))
    published = PublishedCase.read(FOLDER / "cases" / f"{name}.safetensors")
    held_to_the_published(published, dtype, run_case(case, weights, dtype, dtype))


@pytest.mark.parametrize("case", list(block_cases()), ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_come_out_again(dtype, case):
    published = PublishedCase.read(FOLDER / "blocks" / f"{case.name}.safetensors")
    results = [{"outputs": run_block(case, index, dtype, dtype)} for index in range(len(case.calls))]
    held_to_the_published(published, dtype, results)


def test_the_same_machine_writes_the_same_bytes(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for round_ in ("once", "twice"):
            for name in AGAIN[:3]:
                publish_case(CASES[name], tmp_path / round_, "test")
    finally:
        torch.set_num_threads(before)
    first, second = ([path.read_bytes() for path in case_files(tmp_path / round_)] for round_ in ("once", "twice"))
    assert len(first) == 3
    assert first == second


def test_a_case_is_judged_by_the_attention_that_it_names():
    """Boolean masks by sdpa, everything else by eager attention."""
    for path in case_files(FOLDER / "cases"):
        published = PublishedCase.read(path)
        kinds = {
            array.dtype.kind for name, array in published.tensors.items() if name.endswith(".inputs.attention_mask")
        }
        assert published.description["attention"] == ("sdpa" if "b" in kinds else "eager"), json.dumps(path.name)
