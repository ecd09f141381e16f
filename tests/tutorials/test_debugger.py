"""tutorials/debugger.md: every session with pdb on it is what pdb says.

When lines of the code have moved, `python tests/tutorials/test_debugger.py` writes the page anew.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tutorials" / "debugger.md"
PROMPT = "(Pdb) "
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind):
    return [text for found, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if found == kind]


def scripts():
    """Name → text of the programs on the page, which begin with their name."""
    return {text.split("\n")[0].removeprefix("# "): text for text in blocks("python")}


def sessions():
    """(program, blocks of the session) of each session; one that goes on is several blocks."""
    found = []
    for text in blocks("text"):
        first = text.split("\n")[0]
        if first.startswith(PROMPT):
            found[-1][1].append(text)
        else:
            found.append((first.removeprefix("$ python -m pdb "), [text]))
    return found


def commands(block):
    return [line.removeprefix(PROMPT) for line in block.split("\n") if line.startswith(PROMPT)]


def play(program, parts, folder):
    """The same blocks, with what pdb answers now."""
    for name, text in scripts().items():
        (folder / name).write_text(text, encoding="utf-8")
    typed = [command for part in parts for command in commands(part)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(
        [sys.executable, "-m", "pdb", program], input="\n".join([*typed, "quit", ""]), cwd=folder, check=False,
        capture_output=True, text=True, encoding="utf-8", env=environment, timeout=60,
    )  # fmt: skip
    said = result.stdout.replace(f"{ROOT}{os.sep}", "").replace(f"{folder.resolve()}{os.sep}", "").split(PROMPT)
    said = [answer.partition("The program finished")[0] for answer in said]
    answers, played = iter(said[1:]), []
    for index, part in enumerate(parts):
        lines = [] if index else [f"$ python -m pdb {program}", *said[0].splitlines()]
        for command in commands(part):
            lines += [PROMPT + command, *next(answers).splitlines()]
        played.append("\n".join(lines) + "\n")
    return played


def without_numbers_of_breakpoints(text):
    """The line that a breakpoint in a function is set at, `def` or the first one in it, is another in each Python."""
    return re.sub(r"(reakpoint \d+ at \S+):\d+", r"\1", text)


@pytest.mark.parametrize(("program", "parts"), sessions(), ids=[program for program, _ in sessions()])
def test_pdb_says_what_the_page_says(program, parts, tmp_path):
    for shown, played in zip(parts, play(program, parts, tmp_path), strict=True):
        assert without_numbers_of_breakpoints(played) == without_numbers_of_breakpoints(shown)


def test_without_an_observer_a_decode_step_takes_another_way(tmp_path):
    """As the page warns."""
    text = scripts()["decode.py"].replace("with observe(lambda *_: None):", "if True:")
    (tmp_path / "decode.py").write_text(text, encoding="utf-8")
    condition = next(line for line in commands(sessions()[1][1][0]) if line.startswith("break"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(
        [sys.executable, "-m", "pdb", "decode.py"], input=f"until 9\n{condition}\ncontinue\nquit\n", cwd=tmp_path,
        capture_output=True, text=True, encoding="utf-8", env=environment, timeout=60, check=False,
    )  # fmt: skip
    assert "Breakpoint 1 at" in result.stdout and "The program finished" in result.stdout


def test_the_conditions_of_the_table_are_hit_or_refused_by_none(tmp_path):
    """Each is set and runs on the decoding program; those that must be hit, are."""
    text = PAGE.read_text(encoding="utf-8")
    lines = re.findall(r"^\| [^|]* \| `(break .*)` \|$", text, flags=re.MULTILINE)
    assert len(lines) == 7
    (tmp_path / "decode.py").write_text(scripts()["decode.py"], encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    first = "until 9\nimport numpy as np\nfrom numpy_llama.probe import probe\n"
    set_all = "".join(f"{line}\n" for line in lines)
    result = subprocess.run(
        [sys.executable, "-m", "pdb", "decode.py"], input=f"{first}{set_all}continue\n", cwd=tmp_path,
        capture_output=True, text=True, encoding="utf-8", env=environment, timeout=60, check=False,
    )  # fmt: skip
    assert result.stdout.count("Breakpoint ") >= 7 and "***" not in result.stdout


def test_the_editor_is_told_to_go_into_packages():
    (settings,) = (json.loads(text) for text in blocks("json"))
    (launch,) = settings["configurations"]
    assert launch["justMyCode"] is False
    assert launch["program"].rpartition("/")[2] in scripts()


def test_the_page_names_files_that_there_are():
    text = PAGE.read_text(encoding="utf-8")
    for name in set(re.findall(r"numpy_llama/[a-z_/]+\.py", text)):
        assert (ROOT / name).is_file(), name
    assert not re.search(r"(?<![\w.])/(home|work|tmp|usr|Users|root)/", text)


if __name__ == "__main__":
    import tempfile

    page = PAGE.read_text(encoding="utf-8")
    for session_program, session_parts in sessions():
        with tempfile.TemporaryDirectory() as session_folder:
            for before, after in zip(
                session_parts, play(session_program, session_parts, Path(session_folder)), strict=True
            ):
                page = page.replace(f"```text\n{before}```", f"```text\n{after}```", 1)
    PAGE.write_text(page, encoding="utf-8")
