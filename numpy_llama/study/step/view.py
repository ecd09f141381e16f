"""A place as a text: what the value is, where it is made, what it reads, its numbers and a picture of them."""

from itertools import pairwise

from numpy_llama.model.values import value_named
from numpy_llama.study.step.numbers import Difference, statistics
from numpy_llama.study.step.picture import grid_of, picture
from numpy_llama.study.step.places import layer_number
from numpy_llama.study.step.session import Session
from numpy_llama.study.step.tables import BEYOND, next_tokens_by_row
from numpy_llama.study.step.text import Screen, columns, fitted, number, printable, wrapped
from numpy_llama.study.step.watching import letters
from numpy_llama.study.trace.trace import LOGITS

GREEN, RED = 71, 167


def view(session: Session, screen: Screen) -> str:
    """All that there is to see where one stands."""
    parts = [_title(session, screen), _meaning(session, screen), _code(session, screen), _reads(session, screen)]
    parts += [_numbers(session, screen), _differences(session, screen), _drawing(session, screen)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def breadcrumb(session: Session) -> str:
    """The way in from the top: "layers.1 > self_attn > scores"."""
    name, tree = session.stepper.name, session.stepper.tree
    way = [name]
    while (parent := tree.parent(way[0])) is not None:
        way.insert(0, parent)
    shown = [way[0].removeprefix("model.")]
    shown += [inner.removeprefix(outer + ".") for outer, inner in pairwise(way)]
    return " > ".join(printable(part) for part in shown)


def _title(session: Session, screen: Screen) -> list[str]:
    stepper = session.stepper
    call, new = stepper.call, stepper.call.new
    tokens = "" if new is None else f" of {new} token" + "s" * (new > 1)
    number_here = f"value {stepper.tree.number(stepper.name)} of {len(stepper.tree)}"
    place = screen.dot.join([f"call {call.index}", f"{call.kind}{tokens}", number_here])
    rule = ("─" if screen.unicode else "-") * max(2, screen.columns - columns(place) - 1)
    value = stepper.value
    known = value_named(stepper.name)
    shape = " × ".join(str(size) for size in value.shape) or "one number"
    if known is not None and len(known.shape) == value.ndim:
        axes = zip(letters(stepper.name, value), value.shape, strict=True)
        shape = f"({', '.join(f'{letter}={size}' if letter != '1' else '1' for letter, size in axes)})"
    name = printable(stepper.name)
    name = fitted(name, min(columns(name), screen.columns))
    facts = f"{shape} {value.dtype.name}"
    gap = screen.columns - columns(name) - columns(facts)
    heading = screen.bold(name) + (" " * gap + facts if gap >= 2 else "\n  " + facts)
    return [screen.dim(f"{rule} {place}"), heading]


def _meaning(session: Session, screen: Screen) -> list[str]:
    known = value_named(session.stepper.name)
    if known is None:
        return ["  not a name of the table of values"]
    own = session.stepper.name.removeprefix("model.")
    own = own if layer_number(own) is not None else own.rpartition(".")[2]
    formula = wrapped(f"{own} = {known.formula}".split(" "), screen.columns, "  ", " ")
    return [f"  {known.meaning}", *(screen.bold(line) for line in formula)]


def _code(session: Session, screen: Screen) -> list[str]:
    line = session.line()
    if line is None:
        return []
    code = line.code()
    digits = len(str(line.number))
    lines = [screen.dim(f"  {printable(line.short)}, in {printable(line.function)}")]
    for place, text in code:
        here = place == line.number
        start = f"  {screen.here if here else ' '} {place:>{digits}}  "
        text, room = printable(text), screen.columns - columns(start)
        if columns(text) > room:  # the comment is the first to go: it says the shape, which stands above
            text = text.partition("  #")[0]
        if columns(text) > room:
            text = text[: room - 2].rstrip() + ".."
        lines.append(start + text if here else screen.dim(start + text))
    return lines


def _reads(session: Session, screen: Screen) -> list[str]:
    here = session.stepper
    parts = []
    for index, (call, name) in enumerate(session.reads(), start=1):
        before = "" if call == here.place.call else f"call {call}, "
        parts.append(f"{index} {before}{_short(name, here.name)}")
    lines = wrapped(parts, screen.columns, "  reads   ") if parts else []
    inside = here.tree.inside(here.name)
    if inside and here.place.level != here.name:
        own = [_short(name, here.name + ".").removeprefix(f"{here.name}.") for name in inside]
        lines += wrapped(own, screen.columns, "  inside  ", "  ")
    return lines


def _short(name: str, beside: str) -> str:
    """A name without what it shares with that of its neighbour."""
    own, other = name.split("."), beside.split(".")
    shared = 0
    while shared < min(len(own) - 1, len(other) - 1) and own[shared] == other[shared]:
        shared += 1
    if own[:shared] in (["model"], ["model", "layers"]):
        shared = 1
    return printable(".".join(own[shared:]))


def _numbers(session: Session, screen: Screen) -> list[str]:
    look = session.look()
    seen = statistics(look)
    parts = [("min", seen.minimum), ("max", seen.maximum), ("mean", seen.mean), ("rms", seen.rms)]
    facts = [f"{word} {number(figure)}" for word, figure in parts] if seen.count else []
    facts += [f"{count} {word}" for count, word in ((seen.nan, "NaN"), (seen.inf, "infinite")) if count]
    if session.unknown():
        facts.append(f"{session.unknown()} of {session.stepper.value.size} are not in the file")
    if seen.hidden:
        facts.append(f"{seen.hidden} of {seen.hidden + seen.count} hidden by the mask")
    lines = wrapped(facts or ["no numbers"], screen.columns, "  ")
    if look.words:
        lines.insert(0, f"  of {look.words}:")
    if look.missing:
        lines.append(screen.dim(f"  not here: {', '.join(look.missing)}"))
    return lines


def _differences(session: Session, screen: Screen) -> list[str]:
    here, lines = session.stepper.place, []
    if session.changes:
        own = [change.text for change in session.changes if change.name == session.stepper.full_name]
        if own:
            lines.append(screen.paint(f"  changed here: {'; '.join(own)}", RED))
        moved = session.moved(here.call, here.name)
        if not moved.equal:
            size = f"{moved.ratio:.2%} of its size (rms)" if moved.ratio < BEYOND else "beyond measure"
            lines.append(screen.paint(f"  since the change: moved by {size}", RED))
            lines.append(f"    most at {list(moved.where)}: {number(moved.ours)} before, {number(moved.theirs)} now")
        else:
            lines.append(screen.dim("  since the change: as before"))
    if session.against is not None:
        lines += _against(session, session.difference(here.call, here.name), screen)
    return lines


def _against(session: Session, found: Difference, screen: Screen) -> list[str]:
    assert session.against is not None
    name = printable(session.against.source).rpartition("/")[2]
    start = f"  against {fitted(name, min(columns(name), screen.columns - 40))}:"
    text = "; the texts differ" if session.other_text and found.differs else ""
    if found.problem:
        return [screen.paint(f"{start} {found.problem}{text}", RED if found.differs else 245)]
    if found.equal:
        return [screen.paint(f"{start} equal to the last bit", GREEN)]
    verdict, than = ("differs", "over") if found.differs else ("agrees", "under")
    return [
        screen.paint(f"{start} {verdict}{text}", RED if found.differs else GREEN),
        f"    by {number(found.ratio)} of its size (rms), {than} {number(found.limit)}",
        f"    most at {list(found.where)}: {number(found.ours)} here, {number(found.theirs)} there",
    ]


def _drawing(session: Session, screen: Screen) -> list[str]:
    look = session.look()
    if session.stepper.name == LOGITS and look.numbers.ndim == 3:
        return next_tokens_by_row(session, look, screen)
    grid = grid_of(look, session.token, session.past)
    return [] if grid is None else picture(grid, screen)
