"""`numpy-llama trace`: values of a prompt as a table, or as a file that holds the same."""

import os

import numpy as np
import pytest

from numpy_llama import LlamaForCausalLM, LlamaTokenizer, embedded_model_folder, read_trace, trace
from numpy_llama.study.trace import memory
from numpy_llama.study.trace.running import padded, run_prompts


@pytest.fixture(scope="module")
def by_hand():
    """by_hand(*prompts, side=…, steps=…, chunk=…): the trace that the command should make."""
    model = LlamaForCausalLM.from_pretrained(embedded_model_folder())
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder())

    def make(*prompts, side="left", steps=1, chunk=None):
        with trace() as t:
            run_prompts(model, *padded([tokenizer.encode(prompt) for prompt in prompts], side), steps, chunk)
        return t

    return make


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["One day"], {}),
        (["One day", "--steps", "3", "--chunk", "2"], {"steps": 3, "chunk": 2}),
        (["One day", "Once upon a time", "--padding-side", "right"], {"side": "right"}),
        (["One day", "Once upon a time"], {}),
    ],
)
def test_the_file_holds_what_the_calls_computed(command, by_hand, tmp_path, arguments, options):
    prompts = [argument for argument in arguments if " " in argument]
    status, out, err = command("trace", *arguments, "--out", str(tmp_path / "x.safetensors"))
    assert (status, out) == (0, "") and "x.safetensors" in err
    written, expected = read_trace(tmp_path / "x.safetensors"), by_hand(*prompts, **options)
    assert list(written) == list(expected)
    assert all(np.array_equal(written[name], expected[name]) for name in written)


def test_the_table_is_that_of_the_trace(command, by_hand, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    t = by_hand("One day")
    assert command("trace", "One day")[:2] == (0, t.tree(width=80) + "\n")
    assert command("trace", "One day", "--only", "*.mlp")[1] == t.tree("*.mlp", width=80) + "\n"
    t.save(tmp_path / "x.safetensors")
    assert command("trace", "--show", str(tmp_path / "x.safetensors"), "--only", "*.mlp", "--only", "*.scores")[1] == (
        t.tree(["*.mlp", "*.scores"], width=80) + "\n"
    )


def test_no_line_of_the_table_is_wider_than_the_terminal(by_hand):
    for width in (80, 100, 120):
        lines = by_hand("Once upon a time", "One").tree("*", width).splitlines()
        assert max(map(len, lines)) <= width


def test_a_trace_that_does_not_fit_is_refused_with_the_ways_out(command, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available_memory", lambda: 1_000_000)
    status, out, err = command("trace", "One day", "--steps", "100")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert all(part in err for part in ("--only", "--out", "800 kB of memory"))
    assert command("trace", "One day", "--steps", "3", "--only", "model.norm")[0] == 0
    status, _, err = command("trace", "One day", "--steps", str(10**15), "--out", str(tmp_path / "x.safetensors"))
    assert status == 2 and "on disk" in err and not list(tmp_path.iterdir())


def test_the_estimate_is_what_a_trace_takes(by_hand):
    t = by_hand("Once upon a time", "One day", steps=3)
    shapes = [(len(call.input_ids), call.new, call.cache_length) for call in t.calls]
    config = LlamaForCausalLM.from_pretrained(embedded_model_folder()).config
    estimate = sum(sum(memory.call_bytes(config, shape, 4, memory.kept_values(config, 0, ("*",)))) for shape in shapes)
    assert estimate == sum(array.nbytes for array in t.values())


@pytest.mark.parametrize(
    "arguments",
    [
        ["One day", "--only", "*.scorse"],
        ["--show", "no/such.safetensors"],
        ["One day", "--show", "x.safetensors"],
        ["One day", "--out", "x", "--show", "y"],
        ["One day", "--chunk", "0"],
        ["One day", "--steps", "-1"],
    ],
)
def test_what_cannot_be_is_an_error_of_one_line(command, arguments):
    status, out, err = command("trace", *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1


def test_a_file_s_names_cannot_steer_the_terminal(command, tmp_path):
    from safetensors.numpy import save_file

    save_file({"x\x1b[2J": np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    status, out, _ = command("trace", "--show", str(tmp_path / "x.safetensors"))
    assert status == 0 and "\x1b" not in out and "\\x1b[2J" in out


def test_a_pipe_is_left_as_it_is(command, tmp_path):
    """A file put in its place would end it, as it would /dev/null."""
    os.mkfifo(tmp_path / "x.safetensors")
    status, out, err = command("trace", "hi", "--out", str(tmp_path / "x.safetensors"))
    assert (status, out) == (2, "") and "no plain file" in err
    assert (tmp_path / "x.safetensors").is_fifo() and len(list(tmp_path.iterdir())) == 1
