"""The commands of the stepper: what each is called, what it does, what it answers."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy_llama.errors import LlamaError
from numpy_llama.study.step import answers
from numpy_llama.study.step.session import Session
from numpy_llama.study.step.text import Screen, columns, printable, wrapped

Answer = Callable[[Session, str, Screen], str]


@dataclass(frozen=True)
class Command:
    """One command.

    name     to type in full
    short    to type instead; "" where there is no short form
    usage    what may follow: "[N]"
    meaning  for the list of commands
    answer   (session, what follows, screen) → text; raises LlamaError where that can't be
    """

    name: str
    short: str
    usage: str
    meaning: str
    answer: Answer


def execute(session: Session, line: str, screen: Screen) -> str | None:
    """Do what a line says.

    line     a command and what it needs; an empty one is `next`
    returns  the answer, or None for `quit`
    raises   LlamaError for an unknown command, or one that can't be done; the session is as it was
    """
    word, _, rest = line.strip().partition(" ")
    if word in ("quit", "q", "exit"):
        return None
    for command in COMMANDS:
        if (word or "next") in (command.name, command.short):
            if rest.strip() and not command.usage:
                raise LlamaError("nothing may follow", where=command.name, found=repr(rest.strip()))
            return command.answer(session, rest.strip(), screen)
    known = ", ".join(command.name for command in COMMANDS)
    raise LlamaError("unknown command", where=printable(word), expected=f"one of {known}, quit")


def _help(session: Session, rest: str, screen: Screen) -> str:
    if not rest:
        return help_text(screen)
    command = command_named(rest)
    if command is None:
        raise LlamaError("unknown command", where=f"help {printable(rest)}", expected="one of the list of `help`")
    return "\n".join(_described([command], screen))


def command_named(word: str) -> Command | None:
    """By its name or its short form; None for a word that is none."""
    return next((one for one in (*COMMANDS, QUIT) if word in (one.name, one.short) and word), None)


def help_text(screen: Screen) -> str:
    """The list of commands."""
    lines = _described([*COMMANDS, QUIT], screen)
    return "\n".join([*lines, "", "  An empty line is `next`; what follows # is a remark."])


def _described(commands: list[Command], screen: Screen) -> list[str]:
    rows = [
        (f"{command.short + ', ' if command.short else ''}{command.name} {command.usage}".strip(), command.meaning)
        for command in commands
    ]
    left = max(columns(form) for form, _ in rows) + 4
    lines = []
    for form, meaning in rows:
        broken = wrapped(meaning.split(), screen.columns, f"  {form:<{left - 2}}", " ")
        lines += broken
    return lines


COMMANDS = (
    Command("next", "n", "", "to the next value, over what is inside it", answers.to_next),
    Command("back", "b", "", "to the value before", answers.back),
    Command("into", "i", "", "to the first of the values inside: how it was computed", answers.into),
    Command("out", "o", "", "to the value that this one is inside of", answers.out),
    Command(
        "jump", "j", "NAME", "to a value by its name, the end of it, a glob or its number: jump *.scores", answers.jump
    ),
    Command("read", "r", "[N]", "to the Nth of the values that this one reads", answers.read),
    Command("calls", "", "", "the calls of the model, with their tokens", answers.calls),
    Command("call", "c", "N", "to the same value in another call", answers.call),
    Command("nan", "", "", "to the first value with a NaN or an infinity; again: to the next", answers.to_nan),
    Command("against", "", "FILE", "hold every value to another trace", answers.against),
    Command("differ", "d", "", "to the first value that differs from it; again: to the next", answers.differ),
    Command(
        "watch",
        "w",
        "WHAT",
        "head H, token T or batch B: what numbers and pictures are about; `watch off`",
        answers.watch,
    ),
    Command("print", "p", "[SLICE]", "numbers: print [0, 3, :5]", answers.print_part),
    Command("set", "", "CHANGE", "change it and run on: set [0, 3] = 0, set * 2", answers.set_value),
    Command("zero", "", "[SLICE]", "set it, or a part of it, to 0", answers.zero),
    Command("undo", "u", "", "take the last change back", answers.undo),
    Command("changes", "", "", "what was changed, and what that has moved", answers.changes),
    Command("top", "t", "", "the likeliest next tokens, as this value has them", answers.top),
    Command("tree", "", "[all]", "the values of this call, with their numbers", answers.tree),
    Command("where", "", "", "the way in, and the neighbours", answers.where),
    Command("show", "s", "", "this value once more", answers.show),
    Command("help", "h", "[COMMAND]", "this list, or one command of it", _help),
)
QUIT = Command("quit", "q", "", "end; so does Ctrl-D", _help)
