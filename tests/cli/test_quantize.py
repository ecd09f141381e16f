"""`numpy-llama quantize`: its numbers are the report's, its picture is written, and bad input ends in one line."""

import pytest

from numpy_llama import embedded_model_folder
from numpy_llama.model.quantization import Quantization
from numpy_llama.study.quantization import report_on


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text("Once upon a time, there was a little owl.", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "quantization", "title"),
    [
        ([], Quantization(4, 128), "storyteller: int4, groups of 128, asymmetric"),
        (
            ["--bits", "8", "--group-size", "32", "--symmetric"],
            Quantization(8, 32, True),
            "storyteller: int8, groups of 32, symmetric",
        ),
    ],
)
def test_the_table_says_what_the_report_says(command, text, options, quantization, title):
    report = report_on(embedded_model_folder(), quantization, [text.read_text()])
    status, out, err = command("quantize", "--text", text, *options)
    assert (status, err) == (0, "")
    assert out.startswith(title + "\n")
    rows = [line.split() for line in out.splitlines()]
    for layer in range(4):
        expected = [f"{one.relative:.2%}" for one in report.matrices if one.layer == layer]
        assert [str(layer), *expected] in rows
    before, after = (f"{one.value:.4f}" for one in report.perplexities)
    assert ["perplexity", "of", str(report.perplexities[0].tokens), "tokens", before, after] in rows
    assert f"{report.bits_per_weight:.2f}" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_text_may_come_from_stdin(command, text):
    assert command("quantize", "--text", "-", stdin=text.read_bytes()) == command("quantize", "--text", text)


@pytest.mark.parametrize(
    ("name", "start"), [("error.png", b"\x89PNG"), ("error.svg", b"<?xml"), ("error.pdf", b"%PDF")]
)
def test_a_plot_is_written_where_it_is_asked_for(command, tmp_path, text, name, start):
    status, out, err = command("quantize", "--text", text, "--plot", tmp_path / name)
    assert status == 0 and "perplexity" in out and name in err
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_plot_that_cannot_be_written_is_an_error_of_one_line(command, tmp_path, text):
    status, _, err = command("quantize", "--text", text, "--plot", tmp_path / "error.docx")
    assert status == 2 and err.count("\n") == 1 and "error.docx" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bits", "5"], "--bits"),
        (["--group-size", "100"], "--group-size"),
        (["--model", "no/such"], "no/such"),
        (["--text", "no/such.txt"], "no/such.txt: can't be read"),
    ],
)
def test_bad_input_ends_in_one_line(complaint, options, said):
    assert said in complaint("quantize", *options)


def test_a_text_that_is_not_utf8_is_said(complaint, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "not valid UTF-8; found byte 3, 0xe9" in complaint("quantize", "--text", tmp_path / "latin.txt")


def test_a_text_of_no_tokens_is_said(complaint, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    assert "nothing to foresee" in complaint("quantize", "--text", tmp_path / "empty.txt")
