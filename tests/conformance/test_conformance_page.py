"""docs/conformance.md tells the truth: the files that it shows are written, and its commands say what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from numpy_llama.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
FILES = {name: code for _, name, code in re.findall(r"```(\w+) file=(\S+)\n(.*?)```", PAGE, re.DOTALL)}
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
# What needs torch is run in tests/reference/test_conformance_live.py, and so are those that would say the same again.
HERE = ("my_llama", "rms_norm.c", "'./rms_norm", "--emit", "--check")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of the page."""
    folder = tmp_path_factory.mktemp("page")
    for name, code in FILES.items():
        (folder / name).write_text(code, encoding="utf-8")
    return folder


def run_line(line):
    """One line of a shell, without a shell. Returns its status."""
    words = shlex.split(line)
    if words[0] == "numpy-llama":
        quick = [] if "--check" in words else ["--examples", "1" if "--emit" in words else "4"]
        return main([*words[1:], *quick])
    return subprocess.run(words, check=False).returncode


@pytest.mark.parametrize("line", [line for line in COMMANDS if any(word in line for word in HERE)])
def test_a_command_of_the_page(line, folder, monkeypatch, capsys):
    if ("rms_norm.c" in line or "./rms_norm" in line) and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    monkeypatch.chdir(folder)
    if "--check" in line:
        answer_softmax(folder / "questions")
    assert run_line(line) == 0
    out = capsys.readouterr().out
    assert "✗" not in out
    if line.startswith("numpy-llama") and "--emit" not in line:
        assert re.search(r"All \d+ properties that were tried hold\.", out)


def answer_softmax(questions):
    """Answers to one function, by the page's own."""
    sys.path.insert(0, str(questions.parent))
    try:
        from my_llama import softmax
    finally:
        sys.path.remove(str(questions.parent))
    from safetensors.numpy import load_file, save_file

    for place in sorted((questions / "in").glob("softmax.*")):
        out = questions / "out" / place.name
        out.mkdir()
        save_file({"output": softmax(load_file(place / "inputs.safetensors")["scores"])}, out / "outputs.safetensors")


def test_every_file_of_the_page_is_used_by_a_command():
    for name in FILES:
        assert any(Path(name).stem in text for text in [*COMMANDS, *FILES.values()] if text != FILES[name]), name


def test_the_functions_of_the_page_are_all_there_are():
    from numpy_llama.conformance.student import known_functions

    table = re.search(r"\| \| called \|\n(.*?)\n\n", PAGE, re.DOTALL).group(1)
    assert set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines()))) - {
        "make",
        "logits",
    } < (known_functions())
