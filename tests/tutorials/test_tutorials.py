"""The lessons: they run as they stand, and their notebooks are what their sources make."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tutorials"


def load_build():
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()
LESSONS = build.lessons()


def test_there_are_lessons():
    assert LESSONS


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_notebook_and_source_agree(lesson):
    assert build.read_notebook(lesson.with_suffix(".ipynb")) == build.read_cells(lesson.read_text(encoding="utf-8"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_notebook_is_executed_and_shows_its_pictures(lesson):
    notebook = json.loads(lesson.with_suffix(".ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == sum("plt.show()" in "".join(cell["source"]) for cell in code) > 0


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_notebook_names_no_folder_of_a_machine(lesson):
    notebook = json.loads(lesson.with_suffix(".ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            text = json.dumps({key: value for key, value in output.items() if key != "data"})
            text += json.dumps({k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")})
            assert not re.search(r"(?<![\w.])/(home|work|tmp|usr|Users|root)/", text)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_as_a_plain_script(lesson):
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error::RuntimeWarning", str(lesson)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_holds_no_copy_of_a_block(lesson):
    """It calls the project's own: nothing in it is named as a block that is imported."""
    text = lesson.read_text(encoding="utf-8")
    assert "from numpy_llama" in text
    assert not re.search(r"^def (rms_norm|rope|apply_rope|softmax|attention|mlp|linear)\b", text, re.MULTILINE)


def test_every_exercise_has_a_solution_and_hints():
    from numpy_llama.conformance.hints import HINTS

    exercises = {path.stem for path in (FOLDER / "exercises").glob("*.py")}
    assert exercises == {path.stem for path in (FOLDER / "solutions").glob("*.py")} == HINTS.keys()
