"""numpy-llama chat: in a pipe, on a terminal, and what it says when it can't."""

import codecs
import json
import os
import select
import signal
import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaTokenizer
from numpy_llama.cli.chat_screen import Lines
from numpy_llama.cli.terminal import width


@pytest.fixture
def chatty(copy):
    """A copy of the model on board that says it was made for chats."""
    tokenizer = LlamaTokenizer.from_pretrained(copy)
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(copy)
    return copy


@pytest.fixture
def chat(command, chatty):
    """chat(*options, lines=[…]) → (status, stdout, stderr) of the command with these lines piped in."""
    pytest.importorskip("jinja2", reason="needs the chat extra")

    def run(*options, lines):
        piped = "".join(line + "\n" for line in lines).encode()
        return command("chat", "--model", chatty, "--max-new-tokens", "8", "--seed", "1", *options, stdin=piped)

    return run


def test_each_line_of_a_pipe_is_a_turn(chat):
    status, out, err = chat(lines=["Once upon a time", "", "there was"])
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert first
    assert second
    assert chat(lines=["Once upon a time"])[1] == first + "\n"
    assert chat("--greedy", lines=["Once upon a time"])[1] != out


def test_commands_in_a_pipe(chat, tmp_path):
    file = tmp_path / "said.json"
    lines = [
        "/system Be brief.",
        "Once",
        "/reset",
        "Once upon",
        f"/save {file}",
        "/system Tell me.",
        "/help",
        "//slash",
    ]
    status, out, err = chat(lines=[*lines, f"/save {file}2"])
    assert (status, err) == (0, "")
    first, second, third = out.splitlines()
    assert json.loads(file.read_text()) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Once upon"},
            {"role": "assistant", "content": second},
        ]
    }
    said = json.loads((tmp_path / "said.json2").read_text())["messages"]
    assert said[0] == {"role": "system", "content": "Tell me."}
    assert said[-2:] == [{"role": "user", "content": "/slash"}, {"role": "assistant", "content": third}]
    assert first


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/nothing", "/nothing: no such command; expected /reset, /system, /save or /help"),
        ("/save", "/save: no file"),
        ("/save /proc/no/file", "can't be written"),
        ("a" * 3000, "the context is full; expected fewer than 512 tokens"),
    ],
)
def test_what_cannot_be_done_ends_a_pipe_with_status_2(chat, line, message):
    status, out, err = chat(lines=["Once", line, "upon"])
    assert status == 2
    assert len(out.splitlines()) == 1
    assert message in err


def test_the_model_on_board_is_no_chat_model(complaint):
    told = complaint("chat", stdin=b"Hi\n")
    assert "--model storyteller: this tokenizer has no chat template; expected a model made for chats" in told
    assert "smollm2" in told
    assert "numpy-llama generate" in told


def test_a_template_may_be_named_or_be_a_file(command, complaint, tmp_path):
    pytest.importorskip("jinja2", reason="needs the chat extra")
    file = tmp_path / "own.jinja"
    file.write_text("{{ bos_token }} {{ messages[-1].content }}")
    options = ("--greedy", "--max-new-tokens", "5", "--model", "storyteller")
    for template in ("llama2", file):
        status, out, err = command("chat", "--template", template, *options, stdin=b"Once upon a time\n")
        assert (status, err) == (0, "")
        assert out.strip()
    assert "expected llama2, llama3, chatml" in complaint("chat", "--template", "none", stdin=b"Hi\n")
    file.write_bytes(b"\xff")
    assert "own.jinja, byte 0: not valid UTF-8" in complaint("chat", "--template", file, stdin=b"Hi\n")
    file.write_text("\n{{ raise_exception('only poems') }}")
    assert "chat_template, line 2: only poems" in complaint("chat", "--template", file, stdin=b"Hi\n")


def test_bad_utf_8_in_a_pipe_is_told(chatty, complaint):
    assert "not valid UTF-8" in complaint("chat", "--model", chatty, stdin=b"Hi \xff\n")


def test_what_could_steer_a_terminal_is_escaped(chat, monkeypatch):
    def stream(self, *arguments, **settings):
        raise AssertionError

    from numpy_llama.generation.conversation import Conversation

    monkeypatch.setattr(Conversation, "reply", lambda self, text: iter(["a\033[2J", "b\r\n\tc"]))
    assert chat(lines=["Hi"])[1] == "a\\x1b[2Jb\\r\n\tc\n"


words = st.text(alphabet="ab,.é日本\n \t", max_size=60)


@given(text=words, columns=st.integers(10, 30), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_lines_are_broken_between_words_however_the_text_comes(text, columns, cuts):
    def broken(pieces):
        lines = Lines(columns)
        return "".join([lines.push(piece) for piece in pieces]) + lines.finish()

    edges = sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)})
    whole = broken([text])
    assert broken([text[a:b] for a, b in pairwise(edges)]) == whole
    assert "".join(whole.split()) == "".join(text.split()), "no letter is lost"
    for line in whole.split("\n"):
        assert not line.strip() or line.startswith("  ")
        assert width(line.strip()) <= columns
    for line in text.replace("\t", "    ").split("\n"):
        assert line.rstrip() in whole or width(line) + 2 >= columns, "what fits stays on its line"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a terminal to be simulated")
def test_on_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_ends_the_chat(chatty):
    pytest.importorskip("jinja2", reason="needs the chat extra")
    import pty

    arguments = ["chat", "--model", str(chatty), "--dtype", "float16", "--seed", "1"]
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.environ |= {"NO_COLOR": "1", "TERM": "xterm", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        os.execv(sys.executable, [sys.executable, "-m", "numpy_llama", *arguments])

    shown, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")

    def until(words, seconds=60):
        nonlocal shown
        begun, end = len(shown), time.monotonic() + seconds
        while words not in shown[begun:]:
            assert time.monotonic() < end, shown
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    shown += decoder.decode(os.read(terminal, 65536)).replace("\r", "")
                except OSError:  # the other end is closed
                    return

    try:
        until("Ctrl-D ends the chat.\n\n› ")
        os.write(terminal, b"Once upon a time\n")
        until("Once upon a time\n\n  ")  # the answer has begun
        os.write(terminal, b"\x03")
        until("of 512 in the context\n\n› ")
        os.write(terminal, b"/nothing\n")
        until("/\n\n› ")
        os.write(terminal, b"\x04")
        until("what is never said", 20)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert status == 0, shown
    assert "stopped · " in shown
    assert "Traceback" not in shown
