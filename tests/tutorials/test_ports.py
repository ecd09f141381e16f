"""The small port in C under tutorials/ports: it compiles, its bug shows where the page says, and mended it agrees."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from numpy_llama import LlamaForCausalLM
from numpy_llama.checkpoints import data_folder
from numpy_llama.checkpoints.rope_layout import halves_from_neighbours
from numpy_llama.study.subject import Subject, calls_of
from numpy_llama.study.trace import load_trace, trace

PORTS = Path(__file__).parents[2] / "tutorials/ports"
MODEL = data_folder() / "litmus/plain/litmus.bin"
BUG, MENDED = "int shared = h % K;", "int shared = h / (H / K);"
IDS = ["1", "17", "4", "33", "8", "45"]

compiler = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(compiler is None, reason="no C compiler")


@pytest.fixture(scope="module")
def run_port(tmp_path_factory):
    """The values that the port writes down, with or without its bug: name → array."""
    folder = tmp_path_factory.mktemp("ports")
    shutil.copy(PORTS / "trace_writer.h", folder)
    written = {}
    for name, line in (("one_layer", BUG), ("mended", MENDED)):
        source = (PORTS / "one_layer.c").read_text(encoding="utf-8")
        assert source.count(BUG) == 1
        (folder / f"{name}.c").write_text(source.replace(BUG, line), encoding="utf-8")
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O2"]
        subprocess.run([compiler, *flags, "-o", name, f"{name}.c", "-lm"], cwd=folder, check=True)
        subprocess.run([f"./{name}", str(MODEL), f"{name}.safetensors", *IDS], cwd=folder, check=True)
        written[name] = folder / f"{name}.safetensors"
    return written


def ours(theirs):
    model = LlamaForCausalLM.from_pretrained(MODEL)
    with trace() as recorded:
        Subject(model.config, model.tensors, calls_of(theirs)).run()
    return recorded


def off_by(name, mine, port, config):
    """The largest difference of a value; hidden scores don't count, q and k are in the file's order of rows."""
    for rotated, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
        if name.endswith(rotated):
            port = halves_from_neighbours(port.swapaxes(0, 2), heads).swapaxes(0, 2)
    return np.abs(np.where(np.isfinite(port), mine - port, 0)).max()


def test_mended_it_agrees_with_ours_in_every_value(run_port):
    theirs = load_trace(run_port["mended"])
    mine = ours(theirs)
    config = LlamaForCausalLM.from_pretrained(MODEL).config
    assert len(theirs) > 10
    for name, value in theirs.items():
        assert off_by(name, mine[name], value, config) < 1e-5, name  # values of some units, sums of 32 products


def test_its_bug_shows_first_in_the_scores(run_port):
    theirs = load_trace(run_port["one_layer"])
    mine = ours(theirs)
    config = LlamaForCausalLM.from_pretrained(MODEL).config
    wrong = [name for name, value in theirs.items() if off_by(name, mine[name], value, config) > 1e-3]
    assert wrong[0] == "call.0000/model.layers.0.self_attn.scores"
    assert wrong[-1] == "call.0000/model.layers.0"


def test_a_trace_that_cannot_be_written_is_an_error(run_port, tmp_path):
    program = run_port["one_layer"].with_suffix("")
    failed = subprocess.run([program, MODEL, tmp_path / "nowhere/x.safetensors", *IDS], capture_output=True, text=True)
    assert failed.returncode != 0
    assert "was not written" in failed.stderr
