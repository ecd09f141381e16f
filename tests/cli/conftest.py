"""The command, called in this process, and a copy of the embedded model to be damaged."""

import io
import shutil
import sys

import pytest

from numpy_llama import embedded_model_folder
from numpy_llama.cli.main import main


@pytest.fixture
def command(capsys, monkeypatch):
    """command(*arguments, stdin=b"…") → (exit status, stdout, stderr)."""

    def run(*arguments, stdin=None):
        piped = io.TextIOWrapper(io.BytesIO(b"" if stdin is None else stdin), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", piped)
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def complaint(command):
    """complaint(*arguments) → the one line on stderr of a command that fails as it should."""

    def run(*arguments, stdin=None):
        status, out, err = command(*arguments, stdin=stdin)
        assert status == 2
        assert out == ""
        assert err.startswith("numpy-llama: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1, "one line, not a traceback"
        return err

    return run


@pytest.fixture
def copy(tmp_path):
    """A copy of the embedded checkpoint."""
    folder = tmp_path / "copy"
    shutil.copytree(embedded_model_folder(), folder)
    return folder
