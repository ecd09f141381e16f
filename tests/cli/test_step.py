"""`numpy-llama step`: the stepper on the command line, by script and by hand."""

import os
import re
import select
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from numpy_llama import LlamaForCausalLM, embedded_model_folder
from numpy_llama.checkpoints.auto import AutoTokenizer
from numpy_llama.study.step import first_run
from numpy_llama.study.trace import save_trace

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def run():
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_folder())
    return first_run(LlamaForCausalLM.from_pretrained(embedded_model_folder()), tokenizer.encode(PROMPT), 1)


def script(*lines):
    return "".join(f"{line}\n" for line in lines).encode()


def headings(out):
    """The names of the values that were stood at, in order."""
    return re.findall(r" call \d+ · .*\n(\S+)", out)


def test_a_script_walks_a_whole_pass_and_each_value_shown_is_the_traces(command, run):
    names = [name for name in run.trace if name.startswith("call.0000")]
    last = [tuple(size - 1 for size in run.trace[name].shape) for name in names]
    lines = [line for place in range(len(names)) for line in (f"jump {place}", f"print {list(last[place])}")]
    status, out, err = command("step", PROMPT, stdin=script(*lines))
    assert (status, err) == (0, "")
    assert headings(out)[1:] == [name.partition("/")[2] for name in names]
    printed = re.findall(r"^\(step\) print .*\n(.*)$", out, flags=re.MULTILINE)
    assert [np.float32(text) for text in printed] == [run.trace[n][i] for n, i in zip(names, last, strict=True)]


def test_forward_over_everything_and_back_again(command, run):
    top = ["model.embed_tokens", "model.rotary_emb.cos", "model.rotary_emb.sin", "model.causal_mask", "model.layers.0",
           "model.layers.1", "model.layers.2", "model.layers.3", "model.norm", "lm_head"]  # fmt: skip
    decode = [name for name in top if name != "model.causal_mask"]
    status, out, _ = command("step", "--steps", 1, PROMPT, stdin=script(*["next"] * 19, *["back"] * 19))
    assert status == 0
    walked = top + decode
    assert headings(out) == walked + walked[-2::-1]
    assert "This is the last value" in out and "This is the first value" in out


def test_the_commands_stand_before_their_answers_and_remarks_stay(command, tmp_path):
    file = tmp_path / "walk.txt"
    file.write_text("# a walk\n\n  jump norm   # the last\nwhere\nquit\nnonsense\n")
    status, out, err = command("step", PROMPT, "--commands", file)
    assert (status, err) == (0, "")
    assert "\n(step) # a walk\n" in out
    assert "\n(step)\n" in out, "an empty line is next"
    assert headings(out) == ["model.embed_tokens", "model.rotary_emb.cos", "model.norm"]
    assert out.endswith("\n(step) quit\n")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["next", "", "nonsense"], "walk.txt, line 3: nonsense: unknown command; expected one of next, back"),
        (["print [9]"], "walk.txt, line 1: [9]: past the end of axis 0; expected -1 to 0, found 9"),
        (["print [__import__('os')]"], "walk.txt, line 1: [__import__('os')]: not an index"),
        (["# a", "jump nowhere"], "walk.txt, line 2: jump nowhere: no value fits"),
        (["undo"], "walk.txt, line 1: undo: nothing to undo"),
        (["differ"], "walk.txt, line 1: differ: nothing to differ from"),
        (["against no.safetensors"], "walk.txt, line 1: no.safetensors: no such file"),
        (["watch ear 3"], "walk.txt, line 1: watch: what to watch?"),
        (["next 3"], "walk.txt, line 1: next: nothing may follow"),
        (["jump *.wieghts"], "one, as '*.weights'"),
        (["watch head 99"], "walk.txt, line 1: watch head: not a number that fits; expected 0 to 7"),
        (["watch batch 1"], "walk.txt, line 1: watch batch: not a number that fits; expected 0 to 0"),
        (["watch token 6"], "walk.txt, line 1: watch token: not a number that fits; expected 0 to 4"),
        (["help wath"], "walk.txt, line 1: help wath: unknown command"),
        (["call 7"], "walk.txt, line 1: call: not a number that fits"),
        (["\x1b[31m"], r"walk.txt, line 1: \x1b[31m: unknown command"),
    ],
)
def test_what_a_script_gets_wrong_is_said_with_its_line(command, tmp_path, lines, message):
    file = tmp_path / "walk.txt"
    file.write_text("\n".join(lines))
    status, out, err = command("step", PROMPT, "--commands", file)
    assert status == 2
    assert message in err and f"{tmp_path}/walk.txt, line" in err
    assert err.count("\n") == 1 and "\x1b" not in err + out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to step through?"),
        (["a", "--trace", "b"], "what to step through?"),
        (["-"], "stdin is for commands"),
        (["a", "--commands", "no.txt"], "--commands no.txt: no such file"),
        (["--trace", "no.safetensors"], "no.safetensors: no such file"),
        (["a", "--steps", "-1"], "expected an integer, 0 or more"),
        (["a", "--model", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_stepped_through_is_said_in_one_line(complaint, arguments, message):
    assert message in complaint("step", *arguments)


def test_a_model_without_a_tokenizer_is_walked_by_a_trace(command, complaint, tmp_path):
    said = complaint("step", "hi", "--model", "litmus")
    assert "--model litmus: this model has no tokenizer" in said and "step --trace FILE" in said
    trace = tmp_path / "litmus.safetensors"
    np_file = {"call.0000/input_ids": np.arange(3)[None], "call.0000/model.norm": np.ones((1, 3, 16), np.float32)}
    save_file(np_file, trace)
    status, out, _ = command("step", "--trace", trace, "--model", "litmus", stdin=script("calls"))
    assert status == 0 and "0 1 2" in out


def test_a_trace_of_another_text_is_said_to_be_one(command, run, tmp_path):
    save_trace(run.trace, tmp_path / "ours.safetensors")
    for text, says in (("Once upon", "5 tokens there, 3 tokens here"), ("Once upon a day", "token 4 is")):
        status, out, err = command("step", text, "--against", tmp_path / "ours.safetensors", stdin=b"")
        assert status == 0 and f"the texts differ: in call 0, {says}" in err, err
        assert ("of shape (1, 5, 128); the texts differ" in out) == (text == "Once upon")
        assert ("differs; the texts differ" in out) == (text != "Once upon")
        lines = script(f"against {tmp_path / 'ours.safetensors'}")
        assert f"the texts differ: in call 0, {says}" in command("step", text, stdin=lines)[1]


def test_help_answers_about_one_command_by_name_or_short_form(command):
    for word in ("jump", "j"):
        out = command("step", PROMPT, stdin=script(f"help {word}"))[1].partition("(step) help")[2]
        assert "j, jump NAME" in out and "watch" not in out
    assert "end" in command("step", PROMPT, stdin=script("help quit"))[1]


@pytest.mark.parametrize("content", [b"\xff\n", b"x" * (1024 * 1024 + 1)])
def test_a_script_that_is_none_is_refused(command, content):
    status, out, err = command("step", PROMPT, stdin=content)
    assert (status, out) == (2, "") and err.startswith("numpy-llama: stdin")


def test_a_trace_from_a_file_is_walked_without_its_model(command, run, tmp_path):
    save_trace(run.trace, tmp_path / "ours.safetensors")
    status, out, err = command(
        "step", "--trace", tmp_path / "ours.safetensors", stdin=script("jump *1*scores", "calls")
    )
    assert (status, err) == (0, "")
    assert headings(out)[-1] == "model.layers.1.self_attn.scores"
    assert "numpy_llama/blocks/attention.py:" in out
    assert "  1 ▁Once" in out and "<s> ▁Once ▁upon ▁a ▁time" in out, "the trace is of the model on board"
    status, _, err = command("step", "--trace", tmp_path / "ours.safetensors", stdin=script("zero"))
    assert status == 2 and "stdin, line 1: set: no model to run again" in err


def test_another_trace_is_beside_every_step(command, run, tmp_path):
    file = tmp_path / "ours.safetensors"
    save_trace(run.trace, file)
    status, out, _ = command("step", "--steps", 1, "--against", file, PROMPT, stdin=script("jump norm", "differ"))
    assert status == 0
    assert out.count("against ours.safetensors: equal to the last bit") == 2
    assert out.endswith("(step) differ\nNo value differs.\n")
    lines = ["jump layers.2.mlp", "set * 1.5", "differ", "undo", "differ"]
    status, out, _ = command("step", "--steps", 1, "--against", file, PROMPT, stdin=script(*lines))
    assert "against ours.safetensors: agrees" not in out and "against ours.safetensors: differs" in out
    assert "No value after this one differs." not in out
    assert out.endswith("No value differs.\n")


def test_numbers_that_went_wrong_are_run_to(command):
    lines = ["jump layers.1.mlp.up_proj", "set [0, 2, 7] = inf", "jump 0", "nan", "nan"]
    _, out, _ = command("step", PROMPT, stdin=script(*lines))
    assert headings(out)[-2:] == ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.gated"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("ending", ["\x04", "\x03"])
def test_a_person_is_answered_and_may_go(ending):
    pytest.importorskip("pty")
    out, status = talk([b"jump norm\n", b"nonsense\n", b"\n"], ending.encode(), {"TERM": "xterm-256color"})
    assert status == 0
    assert "unknown command" in out and "Traceback" not in out
    assert "\x1b[38;5;" in out and "█" in out
    names = re.findall(r"\x1b\[1m(\S+)\x1b\[0m  ", out)
    assert names == ["model.embed_tokens", "model.norm", "lm_head"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_nobody_who_wants_no_colours_gets_them():
    out, _ = talk([], b"\x04", {"TERM": "xterm-256color", "NO_COLOR": "1"})
    assert "model.embed_tokens" in out and "38;5" not in out


def talk(lines, ending, environment):
    """What the command writes on a terminal when somebody types these lines, and its exit status."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "numpy_llama", "step", PROMPT],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_terminal,
        env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "PYTHONIOENCODING": "utf-8", **environment},
    )  # fmt: skip
    os.close(theirs)
    written = read_until(ours, b"(step) ")
    for line in lines:
        os.write(ours, line)
        written += read_until(ours, b"(step) ")
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        os.write(ours, ending)  # again where it came before the line was being read, and Ctrl-C was lost
        written += read_until(ours, None, seconds=1)
    os.close(ours)
    return written.decode(), process.wait(timeout=20)


def take_terminal():
    """Make stdin the terminal that Ctrl-C is heard from."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(terminal, wanted, seconds=20):
    """What comes until it ends with `wanted`, or to the end."""
    written, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline and not (wanted and written.endswith(wanted)):
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # Linux says so at the end
                part = b""
            if not part:
                break
            written += part
    return written
