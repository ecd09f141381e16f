"""Questions in files: what is asked, what is answered, and that nobody is blamed for what he didn't do."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from numpy_llama import LlamaForCausalLM
from numpy_llama.cli.main import main
from numpy_llama.conformance.exchange.check import check
from numpy_llama.conformance.exchange.command import ask_all, split_command
from numpy_llama.conformance.exchange.emit import KINDS, emit
from numpy_llama.conformance.exchange.recording import record
from numpy_llama.conformance.exchange.written import decoded, encoded
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import block_of
from numpy_llama.conformance.runner import replay
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.mistakes.wrong_blocks.table import WRONG_BLOCKS
from numpy_llama.precision import DTYPES

FEW = ("rms_norm", "softmax")


@pytest.fixture(scope="module")
def emitted(tmp_path_factory):
    """Questions as safetensors, without answers."""
    folder = tmp_path_factory.mktemp("asked") / "questions"
    emit(folder, only=(*FEW, "model"), examples=1)
    return folder


@pytest.fixture(scope="module")
def emitted_npy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked") / "questions"
    emit(folder, only=("softmax", "model"), form="npy", examples=1)
    return folder


@pytest.fixture
def questions(emitted, tmp_path):
    return shutil.copytree(emitted, tmp_path / "questions")


def answer(folder, port=None, only=None, change=lambda outputs: outputs):
    """Answer questions with our functions, or others; of some functions only."""
    port = port or Port()
    for place in sorted((folder / "in").iterdir()):
        case = json.loads((place / "case.json").read_text(encoding="utf-8"))
        function = case["function"]
        if only is not None and function not in only:
            continue
        out = folder / "out" / place.name
        out.mkdir(exist_ok=True)
        outputs = answered_model(place, port) if function == "model" else answered(case, place, getattr(port, function))
        save_file({name: np.ascontiguousarray(array) for name, array in change(outputs).items()},
                  out / "outputs.safetensors")  # fmt: skip


def answered(case, place, function):
    given = {
        name: array if array.ndim else array.item() for name, array in load_file(place / "inputs.safetensors").items()
    }
    if "dtype" in case:
        given["dtype"] = DTYPES[case["dtype"]]
    with np.errstate(all="ignore"):
        result = function(**given)
    return dict(zip(case["outputs"], result if isinstance(result, tuple) else (result,), strict=True))


def answered_model(place, port):
    """A whole model is a checkpoint folder like any other."""
    warnings.simplefilter("ignore", LlamaWarning)  # pytest takes it back after each test
    model, cache, outputs = LlamaForCausalLM.from_pretrained(place, blocks=port), None, {}
    inputs = load_file(place / "inputs.safetensors")
    for call in sorted({name.split("/")[0] for name in inputs}):
        given = {name.removeprefix(f"{call}/"): array for name, array in inputs.items() if name.startswith(f"{call}/")}
        output = model(**given, past_key_values=cache)
        cache, outputs[f"{call}/logits"] = output.past_key_values, output.logits
    return outputs


def changed(finding):
    return [f for f in finding if not f.passed]


# -- what is asked -------------------------------------------------------------------------------------------


def test_the_same_questions_every_time(tmp_path):
    for name in ("first", "second"):
        emit(tmp_path / name, only=("softmax",), examples=1)
    first, second = (json.loads((tmp_path / name / "index.json").read_text()) for name in ("first", "second"))
    assert first["digest"] == second["digest"]


def test_no_expected_value_is_given_away(emitted):
    names = {path.name for path in emitted.rglob("*") if path.is_file()}
    assert names == {"README.md", "index.json", "case.json", "inputs.safetensors", "config.json", "model.safetensors"}
    assert not any((emitted / "out").iterdir())


def test_the_page_says_what_every_function_does(emitted):
    page = (emitted / "README.md").read_text(encoding="utf-8")
    told = (
        "### rms_norm → output",
        "x / sqrt(mean(x²) + eps) · weight",
        "model.lm_",
        "numpy-llama conformance --check",
    )
    assert all(words in page for words in told)


def test_most_wrong_blocks_are_found_by_few_examples():
    """In float32, four examples of each property find every wrong function that shows there."""
    examples = {block: list(record(block, 4, ["float32"])) for block in ("rms_norm", "attention", "embedding")}
    asked = {example.function for row in examples.values() for example in row}
    for wrong in WRONG_BLOCKS.values():
        if wrong.field not in asked or "two bytes" in wrong.name or "dtype" in wrong.name:
            continue
        of_it = [example for example in examples[block_of(wrong.field)] if example.function == wrong.field]
        found = any(not replay(e.property_, wrong.planted(Port()), e.drawn).passed for e in reversed(of_it))
        assert found, wrong.name


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.5, -0.0], [np.inf, 2**-30]], np.float32),
        np.array(3),
        np.zeros((0, 2)),
        np.array([1.25], DTYPES["bfloat16"]),
        DTYPES["float16"],
        (1, "a", [2.5, None]),
    ],
    ids=str,
)
def test_what_was_drawn_comes_back_bit_by_bit(value):
    again = decoded(json.loads(json.dumps(encoded(value))))
    assert type(again) is type(value)
    if isinstance(value, np.ndarray):
        assert again.dtype == value.dtype
        assert again.shape == value.shape
        assert again.tobytes() == value.tobytes()
    else:
        assert again == value


# -- what is answered ----------------------------------------------------------------------------------------


def test_right_answers_pass_and_what_is_missing_is_listed(questions):
    answer(questions, only={"rms_norm", "model"})
    report = check(questions)
    assert report.status == 0
    assert list(report.functions) == ["model", "rms_norm"]
    ((missing, why),) = report.not_tried
    assert why == "not answered"
    assert missing.startswith("softmax (")
    assert report.findings[0].sentence == "Logits are those that Transformers gives: 16 of 16 published cases."


@pytest.mark.parametrize("name", ["eps outside the root", "cos and sin swapped"])
def test_a_known_mistake_is_named(tmp_path, name):
    wrong, questions = WRONG_BLOCKS[name], tmp_path / "questions"
    emit(questions, only=[block_of(wrong.field)], examples=1)
    answer(questions, wrong.planted(Port()), only={wrong.field})
    report = check(questions)
    assert report.status == 1
    assert wrong.name in report.mistakes[wrong.field]
    first = changed(report.findings)[0]
    assert f"(in {wrong.field}." in first.message
    assert first.example


def test_the_inputs_of_the_question_that_fails_are_shown(tmp_path):
    questions = tmp_path / "questions"
    emit(questions, only=["softmax"], examples=1)
    answer(questions, WRONG_BLOCKS["maximum not taken off"].planted(Port()))
    overflow = next(f for f in check(questions).findings if f.name == "large_scores_do_not_overflow")
    (name,) = re.findall(r"\(in (\S+)\)", overflow.message)
    assert overflow.example[f"{name}: scores"] == "[[1000., 1000.]] (float32)"
    answer(questions, WRONG_BLOCKS["softmax with 1 + Σ"].planted(Port()))
    many = next(f for f in check(questions).findings if f.name == "many_small_weights")
    assert "(float32, shape (1, 400))" in " ".join(many.example.values())


def test_a_wrong_model_is_named_by_the_catalogue(questions):
    wrong = WRONG_BLOCKS["key/value heads tiled instead of repeated"]
    answer(questions, wrong.planted(Port()), only={"model"})
    report = check(questions)
    assert report.status == 1
    assert any("tiled" in name for name in report.mistakes["the whole model"])
    assert "several key/value heads for more query heads" in report.notes[0]


def test_wider_numbers_and_other_memory_orders_are_answers_too(emitted_npy, tmp_path):
    folder = shutil.copytree(emitted_npy, tmp_path / "questions")
    for place in sorted((folder / "in").glob("softmax.*")):
        y = Port().softmax(np.load(place / "scores.npy").astype(np.float64))
        (folder / "out" / place.name).mkdir()
        np.save(folder / "out" / place.name / "output.npy", np.asfortranarray(y.astype(">f8")))
    assert check(folder).status == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[..., None], "instead of"),
        (lambda y: y.astype(np.int32), "written as int32 instead of float32"),
        (lambda y: y.astype(np.float16), "written as float16 instead of float32"),
        (lambda y: np.full_like(y, np.nan), "every number is NaN"),
    ],
)
def test_what_can_not_be_an_answer_is_told_from_a_wrong_one(questions, change, message):
    answer(questions, only={"rms_norm"}, change=lambda outputs: {name: change(y) for name, y in outputs.items()})
    report = check(questions)
    assert report.status == 1
    assert message in changed(report.findings)[0].message
    assert report.mistakes == {"rms_norm": []}


def test_an_answer_that_can_not_be_read_is_no_answer(questions):
    answer(questions, only={"rms_norm"})
    victim = questions / "out" / "rms_norm.0000" / "outputs.safetensors"
    victim.write_bytes(victim.read_bytes()[:-3])
    (questions / "out" / "rms_norm.0001" / "outputs.safetensors").unlink()
    report = check(questions)
    assert report.status == 0
    assert any("rms_norm" in what and "not answered" in why for what, why in report.not_tried)


def test_a_call_without_logits_is_not_held_against_the_ones_before(questions):
    answer(questions, only={"model"})
    name = next(p.name for p in (questions / "in").iterdir() if b"call.0001" in (p / "inputs.safetensors").read_bytes())
    place = questions / "out" / name / "outputs.safetensors"
    logits = load_file(place)
    save_file({"call.0000/logits": logits["call.0000/logits"]}, place)
    report = check(questions)
    assert report.status == 0
    assert any(f"{name}: no call.0001/logits" in why for _, why in report.not_tried)


# -- a folder that isn't what it was -------------------------------------------------------------------------


def spoil_input(folder):
    path = folder / "in" / "rms_norm.0000" / "inputs.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def spoil_index(folder):
    path = folder / "index.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"eps": 1e-05', '"eps": 1e-06').replace("4", "5", 1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_input, "changed since it was emitted"),
        (spoil_index, "index.json: changed since it was emitted"),
        (lambda folder: (folder / "in" / "softmax.0000" / "case.json").unlink(), "case.json: missing"),
        (lambda folder: (folder / "index.json").unlink(), "no index.json"),
        (lambda folder: (folder / "index.json").write_text("{}"), "not an index of conformance cases"),
        (lambda folder: (folder / "index.json").write_text("{"), "not valid JSON"),
        (shutil.rmtree, "no such folder"),
        (lambda folder: shutil.rmtree(folder / "out"), "no answers"),
    ],
)
def test_a_damaged_folder_is_refused(questions, spoil, message, capsys):
    answer(questions, only={"rms_norm"})
    spoil(questions)
    assert main(["conformance", "--check", str(questions)]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_written_over(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["conformance", "--emit", str(tmp_path), "--only", "softmax"]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# -- a command -----------------------------------------------------------------------------------------------

PROGRAM = """\
    import sys
    from pathlib import Path
    import numpy as np
    folder, out, function = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    given = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    if function != "softmax":
        sys.exit("I only know softmax")
    BODY
"""
WITHOUT_NUMPY = """\
    import sys
    if sys.argv[3] != "softmax":
        sys.exit("I only know softmax")
    BODY
"""
RIGHT = (
    "x = given['scores']; y = np.exp(x - x.max(axis=-1, keepdims=True)); "
    "np.save(out / 'output.npy', y / y.sum(axis=-1, keepdims=True))"
)


@pytest.fixture
def ask(emitted_npy, tmp_path):
    """ask(body): a report on a program of that body."""

    def ask(body, seconds=60.0, text=PROGRAM):
        folder = shutil.copytree(emitted_npy, tmp_path / "questions")
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(text).replace("BODY", body))
        words = split_command(f"{sys.executable} {program} {{in}} {{out}} {{function}}")
        reasons = ask_all(folder, words, seconds)
        return check(folder, reasons)

    return ask


def test_a_command_is_asked_and_judged(ask):
    report = ask(RIGHT)
    assert report.status == 0
    assert list(report.functions) == ["softmax"]
    assert report.not_tried == [("model (16)", "not answered: ended with status 1: I only know softmax")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("while True: print('hello', file=sys.stderr)", "not finished after 0.5 s"),
        ("sys.stderr.write('x' * 9_000_000); sys.exit(3)", "ended with status 3: " + "x" * 200),
        ("import os; os.abort()", "ended by SIGABRT"),
        ("pass", "the command ended well and wrote nothing"),
    ],
)
def test_a_command_that_answers_nothing_can_not_be_judged(ask, body, message):
    with pytest.raises(LlamaError) as error:
        ask(body, seconds=0.5 if "while" in body else 60.0, text=WITHOUT_NUMPY)
    assert message in str(error.value)


def test_a_command_that_crashes_now_and_then_does_not_pass(ask):
    report = ask(f"{RIGHT} if x.size < 400 else sys.exit('too large')")
    assert report.status == 1
    assert "too large" in changed(report.findings)[0].message
    assert changed(report.findings)[0].sentence == "Every question to softmax is answered."


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no_such_program_here {in} {out}", "can't be started (No such file or directory)"),
        ("./program", "no {in}"),
        ("./program '{in} {out}", "can't be cut into words"),
    ],
)
def test_a_command_that_can_not_be_started(command, message, capsys):
    assert main(["conformance", "--exec", command, "--only", "softmax"]) == 2
    assert message in capsys.readouterr().err


def test_what_can_be_asked_for_is_what_the_command_names():
    from numpy_llama.cli import conformance

    assert tuple(conformance.KINDS) == KINDS


def test_the_exchange_needs_no_framework():
    code = "import sys, numpy_llama.conformance.exchange.check; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "jax", "transformers"} & set(loaded)
