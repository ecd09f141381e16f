"""The command as a whole: what it teaches, how it fails, how it ends."""

import os
import signal
import subprocess
import sys

import pytest

import numpy_llama
from numpy_llama.cli.main import COMMANDS, main
from numpy_llama.cli.terminal import table, visible, width

NAMES = [command.__name__.rpartition(".")[2] for command in COMMANDS]
PYTHON = [sys.executable, "-m", "numpy_llama"]
# A story that doesn't end by itself while the test looks at it.
LONG = [*PYTHON, "generate", "Once upon a time", "--ignore-eos", "--max-new-tokens", "100000"]


def test_without_arguments_it_says_what_to_try(command):
    status, out, err = command()
    assert (status, err) == (0, "")
    assert 'numpy-llama generate "Once upon a time"' in out
    for name in NAMES:
        assert f"    {name} " in out


@pytest.mark.parametrize("name", [None, *NAMES])
def test_help_fits_a_terminal_of_80_columns(command, name):
    status, out, err = command(*([] if name is None else [name]), "--help")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("usage: numpy-llama")


def test_version(command):
    assert command("--version") == (0, f"numpy-llama {numpy_llama.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["frobnicate"], "frobnicate"),
        (["generate", "--frobnicate"], "--frobnicate"),
        (["generate", "--temp", "1", "x"], "--temp"),  # no abbreviations
        (["generate", "Once", "upon"], "quotes"),
        (["generate", "x", "--max-new-tokens", "0"], "--max-new-tokens: expected a positive integer, found '0'"),
        (["generate", "x", "--max-new-tokens", "many"], "found 'many'"),
        (["generate", "x", "--seed", "-1"], "--seed: expected an integer, 0 or more, found '-1'"),
        (["generate", "x", "--temperature", "nan"], "--temperature"),
        (["generate", "x", "--temperature", "-0.1"], "--temperature"),
        (["generate", "x", "--top-p", "1.01"], "--top-p: expected a number from 0 to 1"),
        (["generate", "x", "--min-p", "inf"], "--min-p"),
        (["generate", "x", "--top-k", "2.5"], "--top-k"),
        (["generate", "x", "--repetition-penalty", "0"], "--repetition-penalty"),
        (["generate", "x", "--dtype", "int8"], "bfloat16"),
        (["generate", "x", "--model", "no/such/folder"], "no/such/folder: no such checkpoint folder"),
        (["tokenize", "x", "--model", "no/such/folder"], "no/such/folder"),
        (["inspect", "--model", "no/such/folder"], "no/such/folder"),
        (["inspect", "--preset", "gpt-2"], "llama-2-7b"),
        (["inspect", "--preset", "2-7b", "--model", "x"], "not allowed with"),
        (["inspect", "--context", "0"], "--context"),
        (["bench", "--rounds", "0"], "--rounds"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(complaint, arguments, expected):
    assert expected in complaint(*arguments)


@pytest.mark.parametrize("name", ["generate", "tokenize"])
def test_a_text_that_is_none(complaint, name):
    assert "stdin: no text" in complaint(name, stdin=b"")
    assert "stdin: no text" in complaint(name, "-", stdin=b"\n")
    assert "stdin, byte 2: not valid UTF-8; found 0xff" in complaint(name, stdin=b"ab\xff")
    assert "stdin, byte 1: not valid UTF-8; found 0xc3" in complaint(name, stdin=b"a\xc3")
    # How Python hands over the byte ff, and a lone surrogate, in an argument.
    assert "character 2: not valid UTF-8; found 0xff" in complaint(name, "ab\udcff")
    assert "character 0: not valid UTF-8; found 0xd800" in complaint(name, "\ud800")


def test_a_message_cannot_steer_the_terminal(complaint):
    err = complaint("generate", "x", "--model", "evil\x1b[2J\nfolder")
    assert "\x1b" not in err


def test_a_full_disk_is_no_traceback(command, monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    status, _, err = command("tokenize", "x")
    assert (status, err) == (2, "numpy-llama: No space left on device\n")


def test_out_of_memory_is_no_traceback(command, monkeypatch):
    def run(*arguments):
        raise MemoryError

    monkeypatch.setattr("numpy_llama.study.inspection.inspect_checkpoint", run)
    assert command("inspect") == (2, "", "numpy-llama: not enough memory\n")


def test_python_warnings_are_left_as_they_were(command):
    import warnings

    before = warnings.showwarning, list(warnings.filters)
    command("tokenize", "x")
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_ctrl_c_keeps_what_was_written():
    with subprocess.Popen(LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        early = process.stdout.read(40)  # past the prompt: the story has begun
        process.send_signal(signal.SIGINT)
        late, err = process.communicate(timeout=60)
    story = (early + late).decode()
    assert process.returncode == 130
    assert story.startswith("Once upon a time")
    assert story.endswith("\n")
    assert b"Traceback" not in err
    assert b"decode" in err  # the speed up to there is still told
    assert b"stopped before the end" in err


def test_a_reader_who_leaves_is_no_error():
    with subprocess.Popen(LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(40)
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 141
    assert err == b""


def test_nowhere_to_write_to():
    shell = f'"{sys.executable}" -m numpy_llama generate x --max-new-tokens 2 --quiet >&-'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_knows_ascii_alone():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*PYTHON, "tokenize", "é"], capture_output=True, check=False, env=environment)
    assert done.returncode == 0
    assert b"\\u2581" in done.stdout


def test_the_first_token_costs_less_than_a_second():
    """From the start of the process, in processor time: other work on the machine doesn't count."""
    before = os.times()
    done = subprocess.run([*PYTHON, "generate", "Once", "--max-new-tokens", "1"], capture_output=True, check=False)
    after = os.times()
    assert done.returncode == 0
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.0


def test_importing_brings_no_heavy_library():
    heavy = ["matplotlib", "tqdm", "hypothesis", "sentencepiece", "torch", "transformers"]
    code = f"import sys, numpy_llama.cli.main as m; m.main(['generate', 'x', '--max-new-tokens', '2', '--quiet']); \
             sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.stderr.strip() == "[]"


def test_columns_line_up_where_characters_are_wide():
    lines = table([("你好", "1"), ("abc", "23"), ("e\u0301", "4")], "lr", indent=0).splitlines()
    assert lines == ["你好   1", "abc   23", "e\u0301      4"]
    assert len({width(line) for line in lines}) == 1


def test_visible_escapes_controls_alone():
    assert visible("▁é 你") == "▁é 你"
    assert visible("\x1b[2J\n\u202e") == "\\x1b[2J\\n\\u202e"


def test_arguments_come_from_the_process_where_none_are_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["numpy-llama", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("numpy-llama ")
