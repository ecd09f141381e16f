"""The demonstration of streaming, on a model that is made up in a moment."""

import pytest

from numpy_llama import LlamaConfig, LlamaForCausalLM
from numpy_llama.model.weights import count_parameters
from numpy_llama.study import stream_demo

TINY = LlamaConfig(vocab_size=61, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4)


def test_the_shapes_are_llama_2_7bs():
    assert count_parameters(stream_demo.LLAMA_2_7B) == 6_738_415_616


def test_the_made_up_checkpoint_is_one_that_computes(tmp_path):
    stored = stream_demo.write_made_up_checkpoint(tmp_path, TINY)
    model = LlamaForCausalLM.from_pretrained(tmp_path, "auto")
    assert model.dtype == "bfloat16"
    assert stored == 2 * count_parameters(TINY)
    logits = model([[1, 2, 3]]).logits.astype("float32")
    assert 0.1 < logits.std() < 10


def test_what_it_measures_fits_together(tmp_path):
    stream_demo.write_made_up_checkpoint(tmp_path, TINY)
    measured = stream_demo.measure(tmp_path, 16)
    assert 0 < measured.products < measured.second
    assert measured.operations == 2 * 16 * 2 * (4 * 32 * 32 + 3 * 32 * 44)
    now = stream_demo.anonymous_memory()
    assert (measured.anonymous is None) == (now is None)
    assert now is None or measured.anonymous > 1e6


def test_the_command_cleans_up_unless_told_otherwise(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stream_demo, "LLAMA_2_7B", TINY)
    folder = tmp_path / "made"
    assert stream_demo.main([str(folder), "--tokens", "8"]) == 0
    assert not folder.exists()
    assert "prompt of 8 tokens" in capsys.readouterr().out
    assert stream_demo.main([str(folder), "--tokens", "8", "--layers", "1", "--keep"]) == 0
    assert LlamaConfig.from_pretrained(folder).num_hidden_layers == 1
    assert stream_demo.main([str(folder), "--keep"]) == 0  # uses it
    assert folder.is_dir()


def test_a_folder_of_somebody_else_is_not_touched(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stream_demo, "LLAMA_2_7B", TINY)
    (tmp_path / "thesis.txt").write_text("precious")
    for arguments in ([str(tmp_path)], [str(tmp_path), "--keep"]):
        with pytest.raises(SystemExit):
            stream_demo.main(arguments)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert "there already" in capsys.readouterr().err
