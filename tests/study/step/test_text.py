"""What stands on the screen: no line too wide, nothing that steers a terminal, the picture true to the numbers."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError
from numpy_llama.study.step import Screen, Session, execute, view
from numpy_llama.study.step.commands import COMMANDS
from numpy_llama.study.step.picture import NEGATIVE, POSITIVE, Grid, grid_of, picture
from numpy_llama.study.step.text import columns
from numpy_llama.study.step.watching import Sizes, Watch, look_at
from numpy_llama.study.trace import Trace, TracedCall

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
INSIDE = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.scores"]
HOSTILE = "\x1b[31m\u202e\r\n\t\x07wide世界" + "x" * 60


def everything(session, calls=None):
    for call, tree in enumerate(session.stepper.trees[:calls]):
        for name in tree.names:
            session.stepper.go(call, name)
            yield name


@pytest.mark.parametrize(("width", "color"), [(60, False), (80, True), (200, False)])
def test_no_line_is_wider_than_the_screen(session, width, color):
    session.piece = lambda token_id: HOSTILE
    session.against = session.trace
    screen = Screen(width, color)
    session.change("[0, 1] * 2")
    for watch in (Watch(), Watch(head=1, token=3, batch=0), Watch(head=9, token=99, batch=9)):
        session.watch = watch
        for name in everything(session, calls=2):
            if ".layers.0." in name:
                continue
            for line in view(session, screen).split("\n"):
                assert columns(ESCAPE.sub("", line)) <= width
                assert ESCAPE.sub("", line).isprintable()
                assert color or "\x1b" not in line
    for command in ("tree", "tree all", "calls", "top", "where", "help", "changes", "print", "set * 2", "undo"):
        for line in execute(session, command, screen).split("\n"):
            assert columns(ESCAPE.sub("", line)) <= width, command


def test_marks_grow_with_the_numbers_and_say_the_sign():
    numbers = np.array([[0.0, 0.2, 0.3, 0.6, 1.0], [0.0, -0.2, -0.3, -0.6, -1.0]])
    grid = Grid(numbers, np.zeros((2, 5), bool), ["a", "b"], "channels")
    wide = [line.split() for line in picture(grid, Screen(60))]
    assert wide[1] == ["a", "0.000", ".", "0.200", "o", "0.300", "O", "0.600", "@", "1.000"]
    assert wide[2] == ["b", "0.000", "-", "-0.200", "~", "-0.300", "=", "-0.600", "#", "-1.000"]


@pytest.mark.parametrize("size", [3, 16, 40, 100, 1000])
@pytest.mark.parametrize("width", [60, 140])
def test_the_largest_number_is_never_lost_in_a_picture(size, width):
    numbers = np.full((4, size), 0.01)
    numbers[2, size // 2] = -5.0
    numbers[3, -1] = np.nan
    lines = picture(Grid(numbers, np.zeros(numbers.shape, bool), list("abcd"), "channels"), Screen(width))
    assert NEGATIVE[-1] in lines[3] and not set(lines[1]) & set(NEGATIVE)
    assert lines[4].rstrip().endswith(("!", "nan"))
    assert any("NaN" in line for line in lines)


def test_a_row_of_many_numbers_is_folded_and_complete():
    numbers = np.zeros((1, 128))
    numbers[0, 127], numbers[0, 64] = 1, -1
    lines = picture(Grid(numbers, np.zeros((1, 128), bool), [""], "channels"), Screen(80))
    assert [line.split()[0] for line in lines[1:3]] == ["0", "64"]
    assert lines[2].rstrip().endswith(POSITIVE[-1])
    assert lines[2].split("64")[1].strip()[0] == NEGATIVE[-1]


@pytest.mark.parametrize("size", [2000, 49152])
def test_of_a_row_that_no_screen_holds_nothing_large_is_lost(size):
    numbers = np.zeros((1, size))
    numbers[0, [0, size - 1]] = 1, -1
    lines = picture(Grid(numbers, np.zeros((1, size), bool), [""], "channels"), Screen(80))
    assert len(lines) <= 20 and lines[1].split() == ["0", POSITIVE[-1]]
    assert [line for line in lines[1:17] if NEGATIVE[-1] in line] and max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "shape", [(), (0,), (7,), (2, 3), (2, 0, 4), (3, 4, 5), (2, 2, 2, 2, 2), (1, 1, 1, 1), (4000,), (2, 4, 5, 5)]
)
@pytest.mark.parametrize("name", ["strange", "lm_head", "model.causal_mask", *INSIDE])
def test_a_value_of_any_shape_can_be_looked_at(shape, name):
    value = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype(np.float32)
    session = Session(Trace([TracedCall(0, None, values={name: value})]))
    for watch in (Watch(), Watch(1, 1, 1)):
        session.watch = watch
        shown = view(session, Screen(80))
        assert name in shown and max(map(columns, shown.split("\n"))) <= 80
        look = look_at(name, value, watch, 0, Sizes(2, 2))
        grid = grid_of(look, lambda row, place: "t", 0)
        assert grid is None or picture(grid, Screen(60, True))


def test_names_and_tokens_of_a_stranger_are_made_visible():
    values = {HOSTILE: np.ones((1, 2, 3), np.float32), "lm_head": np.ones((1, 2, 9), np.float32)}
    ids = np.array([[3, 4]])
    session = Session(Trace([TracedCall(0, 0, ids, values=values)], source=HOSTILE), lambda i: HOSTILE)
    session.against = session.trace
    for _ in everything(session):
        for command in ("show", "tree", "calls", "where", "top", "next"):
            for line in execute(session, command, Screen(80)).split("\n"):
                assert line.isprintable(), command


def test_each_command_has_a_name_and_a_short_form_of_its_own():
    forms = [form for command in COMMANDS for form in (command.name, command.short) if form]
    assert len(forms) == len(set(forms))
    wanted = {"next", "back", "into", "out", "jump", "nan", "differ", "watch", "print", "set", "zero", "undo",
              "against", "call", "calls", "tree", "top", "where", "help", "read"}  # fmt: skip
    assert wanted <= set(forms)


@pytest.mark.parametrize(
    ("command", "shown"),
    [("n", "rotary_emb.cos"), ("", "rotary_emb.cos"), ("next", "rotary_emb.cos"), ("j layers.1", "model.layers.1 "),
     ("jump 3", "causal_mask"), ("call 2", "call 2 · decode"), ("c 1", "call 1 · decode"), ("w head 2", "not here"),
     ("i", "nothing inside"), ("o", "the top"), ("b", "the first value"), ("r", "computed from none"),
     ("nan", "No value has a NaN"), ("p [0, 0, :3]", "shape (3,)"), ("print [0, 0, 0]", "."), ("t", "As if"),
     ("h", "jump"), ("quit", None), ("q", None), ("  next  ", "rotary_emb.cos"), ("where", "[embed_tokens]")],
)  # fmt: skip
def test_what_a_command_answers(session, command, shown):
    answer = execute(session, command, Screen(80))
    assert answer is None if shown is None else shown in answer


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_have_no_next_token(number):
    values = {"lm_head": np.full((1, 2, 9), number, np.float32)}
    session = Session(Trace([TracedCall(0, 0, np.array([[3, 4]]), values=values)]), str)
    for command in ("top", "show"):
        answer = execute(session, command, Screen(80))
        assert "no next token" in answer and "nan%" not in answer


def test_a_printed_part_is_that_of_the_value(session):
    for _ in everything(session):
        value = session.stepper.value
        last = tuple(size - 1 for size in value.shape)
        printed = execute(session, f"print {list(last)}", Screen(80))
        assert np.float32(float(printed)) == value[last]


TYPED = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{} {}".format,
        st.sampled_from([form for command in COMMANDS for form in (command.name, command.short) if form]),
        st.one_of(st.text(max_size=12), st.sampled_from(["[0]", "* 2", "= 0", "3", "off", "head 1", "*", "all"])),
    ),
)


@given(st.lists(TYPED, max_size=6))
def test_whatever_is_typed_is_answered_or_refused(small_run, lines):
    session = Session(small_run.trace, str, small_run)
    for line in lines:
        before = (session.stepper.place, session.watch, list(session.changes))
        try:
            answer = execute(session, line, Screen(80))
        except LlamaError:
            assert (session.stepper.place, session.watch, session.changes) == before
        else:
            assert answer is None or answer.replace("\n", " ").isprintable()
