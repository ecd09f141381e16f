"""The judge of a file, and the command `numpy-llama grade`: every file gets a clear verdict."""

import json
import time
from pathlib import Path

import pytest

from numpy_llama.cli.main import main
from numpy_llama.conformance.hints import HINTS
from numpy_llama.conformance.student import judge_file
from numpy_llama.errors import LlamaError

PATIENT = ["--timeout", "300"]  # a busy machine is no mistake of the file's
TUTORIALS = Path(__file__).parents[2] / "tutorials"


@pytest.fixture
def write(tmp_path):
    """write(body): a file with a function rms_norm of that body."""

    def write(body, head="import numpy as np"):
        path = tmp_path / "mine.py"
        path.write_text(f"{head}\ndef rms_norm(x, weight, eps):\n    {body}\n", encoding="utf-8")
        return path

    return write


def test_the_solution_passes(capsys):
    assert main(["grade", *PATIENT, str(TUTORIALS / "solutions" / "rms_norm.py")]) == 0
    out = capsys.readouterr().out
    assert "All 12 properties hold." in out
    assert "✗" not in out


def test_the_exercise_is_there_to_be_written(capsys):
    assert main(["grade", *PATIENT, str(TUTORIALS / "exercises" / "rms_norm.py")]) == 1
    out = capsys.readouterr().out
    assert "Not written yet" in out
    assert "--hint 1" in out


def test_a_classic_mistake_is_named_with_its_smallest_example(write, capsys):
    body = (
        "wide = x if x.dtype.itemsize > 2 else x.astype(np.float32); wide = wide - wide.mean(-1, keepdims=True); "
        "return (wide / np.sqrt((wide**2).mean(-1, keepdims=True) + wide.dtype.type(eps))).astype(x.dtype) * weight"
    )
    assert main(["grade", *PATIENT, str(write(body))]) == 1
    out = capsys.readouterr().out
    assert "x = [[1, 7]], weight = [1, 1], eps = 0: off by 1.2 at [0, 0]" in out
    assert "expected  [[0.2, 1.4]]" in out
    assert "got       [[-1.,  1.]]" in out
    assert "well-known mistake: mean subtracted, as in LayerNorm." in out


def test_the_report_for_programs(write, capsys):
    """The plain formula in NumPy promotes bfloat16 to float32, since eps and a mean do."""
    path = write("return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps) * weight")
    assert main(["grade", "--json", *PATIENT, str(path)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["functions"] == ["rms_norm"]
    assert not report["passed"]
    finding = next(finding for finding in report["findings"] if not finding["passed"])
    assert finding["message"].startswith("shape and dtype: given ")
    assert "float" in finding["example"]["x"]


def test_a_loop_without_end_is_stopped(write):
    started = time.monotonic()
    report = judge_file(write("while True: print('hello')"), seconds=5)
    assert time.monotonic() - started < 30
    assert not report.passed
    assert report.stopped.startswith("not finished after 5 s; a loop that doesn't end?")


def test_a_loop_while_loading_is_stopped(write):
    report = judge_file(write("pass", head="while True: pass"), seconds=2)
    assert "while the file was loaded" in report.stopped


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.ones((300_000, 300_000))", "asks for more memory than there is"),
        ("return x / wieght", "raised NameError in line 3 of mine.py: name 'wieght' is not defined"),
        ("return rms_norm(x, weight, eps)", "raised RecursionError"),
        ("x *= 2; return x", "writes into an array it was given"),
    ],
)
def test_accidents_are_reported(write, body, message):
    report = judge_file(write(body), seconds=300)
    assert not report.passed
    assert report.findings[0].message.startswith(message)


def test_a_file_that_ends_the_process_does_not_pass(write):
    report = judge_file(write("import os; os._exit(0)"), seconds=300)
    assert not report.passed
    assert "ended the process itself (status 0)" in report.stopped


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def rms_norm(x, weight:", "not valid Python in line 1"),
        ("import no_such_module_here", "can't be loaded: ModuleNotFoundError in line 1"),
        ("def rmsnorm(x, weight, eps): return x", "no function to judge; expected one named"),
        ("raise SystemExit", "can't be loaded: SystemExit in line 1"),
    ],
)
def test_what_cannot_be_judged_says_why(tmp_path, text, message, capsys):
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert main(["grade", *PATIENT, str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys):
    assert main(["grade", "nowhere.py"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_without_hypothesis_the_extra_is_named(write, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LlamaError, match=r"pip install '\.\[conformance\]', or pip install hypothesis"):
        judge_file(write("return x"))


def test_hints_unfold_one_by_one(capsys):
    for number, text in enumerate(HINTS["rms_norm"], 1):
        assert main(["grade", "--hint", str(number), "rms_norm.py"]) == 0
        assert text in capsys.readouterr().out
    assert main(["grade", "--hint", "9", "rms_norm.py"]) == 2
    assert main(["grade", "--hint", "1", "other.py"]) == 2


def test_nothing_is_written_beside_the_file(write):
    path = write("raise NotImplementedError")
    judge_file(path, seconds=300)
    assert [other.name for other in path.parent.iterdir()] == ["mine.py"]
