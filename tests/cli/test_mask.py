"""`numpy-llama mask`: the picture of AttentionMaskVisualizer, from the command line."""

import pytest

from numpy_llama import AttentionMaskVisualizer


@pytest.mark.parametrize(
    ("arguments", "texts", "options"),
    [
        (["One day"], "One day", {}),
        (["One day", "It rained all day"], ["One day", "It rained all day"], {}),
        (["--padding-side", "right", "A", "One day"], ["A", "One day"], {"padding_side": "right"}),
        (["--packed", "A", "One day"], ["A", "One day"], {"packed": True}),
        (["A\x1b[31m"], "A\x1b[31m", {}),
    ],
)
def test_the_picture_is_that_of_the_visualizer(command, arguments, texts, options):
    expected = AttentionMaskVisualizer("storyteller").view(texts, **options).text()
    assert command("mask", *arguments) == (0, expected + "\n", "")


@pytest.mark.parametrize(("name", "start"), [("mask.png", b"\x89PNG"), ("mask.svg", b"<?xml"), ("mask.pdf", b"%PDF")])
def test_a_figure_is_written_where_it_is_asked_for(command, tmp_path, name, start):
    status, out, err = command("mask", "--figure", str(tmp_path / name), "One day")
    assert (status, out) == (0, "") and name in err
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["mask.docx", "mask", "no/such/folder/mask.png", ".png"])
def test_a_figure_that_cannot_be_written_is_an_error_of_one_line(command, tmp_path, name):
    status, out, err = command("mask", "--figure", str(tmp_path / name), "One day")
    assert (status, out) == (2, "") and err.count("\n") == 1 and name in err
    assert not any(tmp_path.iterdir())
