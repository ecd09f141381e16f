"""What each command of the stepper does, and what it answers; commands.py has the table of them.

Each takes the session, what follows the command, and the screen; it returns a text, and raises LlamaError where what
follows can't be, with the session as it was.
"""

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.precision import widen
from numpy_llama.study.step import tables
from numpy_llama.study.step.changes import Change
from numpy_llama.study.step.session import Session
from numpy_llama.study.step.slices import read_index
from numpy_llama.study.step.text import Screen, printable, wrapped
from numpy_llama.study.step.view import breadcrumb, view

MOST_PRINTED = 120  # numbers


def to_next(session: Session, rest: str, screen: Screen) -> str:
    """Over a value."""
    return view(session, screen) if session.stepper.next() else "This is the last value: `back` goes the other way."


def back(session: Session, rest: str, screen: Screen) -> str:
    """Back over one."""
    return view(session, screen) if session.stepper.back() else "This is the first value."


def into(session: Session, rest: str, screen: Screen) -> str:
    """To the first value inside."""
    if session.stepper.into():
        return view(session, screen)
    return "There is nothing inside this value: `next` goes on."


def out(session: Session, rest: str, screen: Screen) -> str:
    """To the value around."""
    return view(session, screen) if session.stepper.out() else "This is the top: there is nothing to go out of."


def jump(session: Session, rest: str, screen: Screen) -> str:
    """To a value by its name or number."""
    if not rest:
        raise LlamaError("where to?", where="jump", expected="a name, the end of one, a glob or a number of `tree`")
    if rest.isascii() and rest.isdigit():
        names = session.stepper.tree.names
        if len(rest) > 9 or int(rest) >= len(names):
            raise LlamaError("no such value", where="jump", expected=f"0 to {len(names) - 1}", found=rest)
        session.stepper.go(session.stepper.place.call, names[int(rest)])
        return view(session, screen)
    which, of = session.stepper.jump(rest)
    remark = f"\n\n({which} of {of} that fit; the same again goes to the next)" if of > 1 else ""
    return view(session, screen) + remark


def read(session: Session, rest: str, screen: Screen) -> str:
    """To a value that this one reads."""
    reads = session.reads()
    if not reads:
        return "This value is computed from none before it."
    session.stepper.go(*reads[_whole_number("read", rest or "1", 1, len(reads)) - 1])
    return view(session, screen)


def to_nan(session: Session, rest: str, screen: Screen) -> str:
    """To the first NaN."""
    if session.stepper.run_to(session.is_broken):
        return view(session, screen)
    here = session.is_broken(session.stepper.place.call, session.stepper.name)
    return "No value after this one has a NaN or an infinity." if here else "No value has a NaN or an infinity."


def differ(session: Session, rest: str, screen: Screen) -> str:
    """To the first difference."""
    if session.against is None:
        raise LlamaError("nothing to differ from", where="differ", expected="`against FILE` before it")
    if session.stepper.run_to(session.differs):
        return view(session, screen)
    here = session.differs(session.stepper.place.call, session.stepper.name)
    return "No value after this one differs." if here else "No value differs."


def against(session: Session, rest: str, screen: Screen) -> str:
    """Hold to another trace."""
    if not rest:
        raise LlamaError("which trace?", where="against", expected="a trace's file, or `off`")
    if rest == "off":
        session.against = None
        return view(session, screen)
    session.compare_with(rest)
    assert session.against is not None
    remarks = [*session.against.notes, *([f"{session.other_text}."] if session.other_text else [])]
    return "\n".join([*map(printable, remarks), view(session, screen)])


def watch(session: Session, rest: str, screen: Screen) -> str:
    """Look at one head, token or row."""
    words = rest.split()
    if words in ([], ["off"]):
        session.watch_only(head=None, token=None, batch=None)
        return view(session, screen)
    kind = "token" if words[0] == "position" else words[0]
    if kind not in ("head", "token", "batch") or len(words) != 2:
        raise LlamaError("what to watch?", where="watch", expected="head H, token T, batch B or off", found=repr(rest))
    most = session.most(kind)
    session.watch_only(**{kind: None if words[1] == "off" else _whole_number(f"watch {kind}", words[1], 0, most)})
    return view(session, screen)


def print_part(session: Session, rest: str, screen: Screen) -> str:
    """Numbers."""
    value = session.stepper.value
    part = widen(value)[read_index(rest, value.shape)]
    if part.ndim == 0:
        return repr(float(part)) if value.dtype == np.float64 else f"{float(part):.9g}"
    text = np.array2string(part, precision=4, threshold=MOST_PRINTED, max_line_width=screen.columns, separator=" ")
    return f"{text}\nshape {part.shape}"


def set_value(session: Session, rest: str, screen: Screen) -> str:
    """Change the value."""
    change = session.change(rest)
    return "\n".join([*_said(change, screen), *tables.moved(session, screen)])


def zero(session: Session, rest: str, screen: Screen) -> str:
    """Set it to 0."""
    return set_value(session, f"{rest} = 0".strip(), screen)


def undo(session: Session, rest: str, screen: Screen) -> str:
    """Take a change back."""
    change = session.undo()
    left = len(session.changes)
    rest = "All values are as they were" if not left else f"{left} change{'s' * (left > 1)} left"
    return "\n".join(["undone:", *_said(change, screen), f"{rest}."])


def changes(session: Session, rest: str, screen: Screen) -> str:
    """What was changed."""
    if not session.changes:
        return "Nothing is changed."
    lines = [line for change in session.changes for line in _said(change, screen)]
    return "\n".join([*lines, *tables.moved(session, screen)])


def call(session: Session, rest: str, screen: Screen) -> str:
    """To another call."""
    indices = {call.index: place for place, call in enumerate(session.stepper.trace.calls)}
    wanted = indices.get(_whole_number("call", rest, 0, max(indices)))
    names = [] if wanted is None else session.stepper.trees[wanted].names
    if wanted is None or not names:
        raise LlamaError("no such call", where="call", expected=f"one of {', '.join(map(str, indices))}", found=rest)
    session.stepper.go(wanted, session.stepper.name if session.stepper.name in names else names[0])
    return view(session, screen)


def calls(session: Session, rest: str, screen: Screen) -> str:
    """The list of them."""
    return "\n".join(tables.calls(session, screen))


def tree(session: Session, rest: str, screen: Screen) -> str:
    """The tree of values."""
    if rest not in ("", "all"):
        raise LlamaError("which tree?", where="tree", expected="nothing, or `all`", found=repr(rest))
    return "\n".join(tables.tree(session, screen, everything=rest == "all"))


def top(session: Session, rest: str, screen: Screen) -> str:
    """The next tokens."""
    return "\n".join(tables.top(session, screen))


def where(session: Session, rest: str, screen: Screen) -> str:
    """The way in."""
    stepper = session.stepper
    level, call = stepper.place.level, stepper.call
    names = [name.removeprefix(f"{level}." if level else "model.") for name in stepper.tree.along(level)]
    if level:
        names[-1] = "(and out)"
    here = stepper.tree.along(level).index(stepper.name)
    names = [f"[{printable(name)}]" if index == here else printable(name) for index, name in enumerate(names)]
    title = f"call {call.index} of {len(stepper.trace.calls)}, {call.kind}: {breadcrumb(session)}"
    return "\n".join([title, *wrapped(names, screen.columns, "  ", "  ")])


def show(session: Session, rest: str, screen: Screen) -> str:
    """The value once more."""
    return view(session, screen)


def _said(change: Change, screen: Screen) -> list[str]:
    return wrapped([printable(change.name), change.text], screen.columns, "  ", " ")


def _whole_number(command: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    expected = f"{least} to {most}" if most < 10**9 else "an integer, 0 or more"
    raise LlamaError("not a number that fits", where=command, expected=expected, found=repr(text))
