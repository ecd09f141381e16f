"""Conformance of what is right, and of what is wrong on purpose, in other frameworks: Transformers' own model, torch's
functions, JAX where it is installed; and the commands of docs/conformance.md that tests/conformance doesn't run."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from numpy_llama.cli.main import main
from numpy_llama.conformance.foreign.arrays import Border, back
from numpy_llama.conformance.foreign.judge_model import judge_make
from numpy_llama.conformance.published_logits import logits_cases
from numpy_llama.precision import DTYPES

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
FILES = {name: code for _, name, code in re.findall(r"```(\w+) file=(\S+)\n(.*?)```", PAGE, re.DOTALL)}
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
ELSEWHERE = ("my_llama", "rms_norm.c", "'./rms_norm", "--emit", "--check")  # run in tests/conformance


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of the page."""
    folder = tmp_path_factory.mktemp("page")
    for name, code in FILES.items():
        (folder / name).write_text(code, encoding="utf-8")
    return folder


@pytest.mark.parametrize("line", [line for line in COMMANDS if not any(word in line for word in ELSEWHERE)])
def test_a_command_of_the_page(line, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = shlex.split(line)
    if "jax" in line:
        pytest.importorskip("jax")
    if "softmax" in line and shutil.which("rustc") is None:
        pytest.skip("no Rust compiler")
    if words[0] != "numpy-llama":
        assert subprocess.run(words, check=False).returncode == 0
        return
    assert main([*words[1:], "--timeout", "300", "--examples", "4"]) == 0
    out = capsys.readouterr().out
    assert "✗" not in out
    assert re.search(r"All \d+ properties that were tried hold\.", out)
    if "transformers" in line:
        assert "–" not in out  # it takes all that can be given, and is asked all that there is
        assert re.search(r"(\d+) of \1 published cases", out)


def test_a_mistake_planted_in_transformers_is_named(monkeypatch):
    """A scale left out of its attention: seen in published logits, named by the catalogue."""
    few = logits_cases()[:16]
    monkeypatch.setattr("numpy_llama.conformance.foreign.whole_published.logits_cases", lambda: few)
    session = {}
    exec(FILES["transformers_adapter.py"], session)

    def make(config, weights):
        model = session["make"](config, weights)
        for layer in model.model.layers:
            layer.self_attn.scaling = 1.0
        return model

    told = []
    judge_make(make, Border("torch"), "float32", lambda **line: told.append(line), lambda *given: None)
    (named,) = (line["mistakes"]["the whole model"] for line in told if "mistakes" in line)
    assert any("√D" in name for name in named), named


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_cross_the_border_unchanged(dtype):
    border, array = Border("torch"), np.array([[1.5, -0.0], [2.0**-20, np.inf]], DTYPES[dtype])
    tensor = border.out(array)
    assert tensor.dtype == getattr(torch, dtype) == border.out(DTYPES[dtype])
    again = back(tensor.requires_grad_())
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again.view(np.uint8), array.view(np.uint8))
    assert border.holds(DTYPES[dtype])
    assert border.out(np.array([3])).dtype == torch.int64
