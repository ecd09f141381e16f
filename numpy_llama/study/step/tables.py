"""The tables that commands answer with: next tokens, the tree, the calls, what a change has moved."""

import numpy as np

from numpy_llama.precision import widen
from numpy_llama.study.step.numbers import statistics
from numpy_llama.study.step.picture import MOST_ROWS
from numpy_llama.study.step.predictions import likeliest
from numpy_llama.study.step.session import Session
from numpy_llama.study.step.text import Screen, columns, fitted, number, printable
from numpy_llama.study.step.watching import Look, Watch, look_at
from numpy_llama.study.trace.trace import LOGITS

PIECE, TOP, BAR = 14, 8, 24  # columns, tokens, columns
BEYOND = 1000.0  # times its own size: a percentage would say nothing
ORANGE = 172
NOTHING = "no next token: there are NaN or infinities among these logits"


def next_tokens_by_row(session: Session, look: Look, screen: Screen) -> list[str]:
    """What the logits say comes after each token: the three likeliest."""
    row, begin = look.starts[0], session.past + look.starts[1]
    logits = look.numbers[0]
    if session.stepper.call.new is not None:  # logits may be kept for the last positions only
        begin += session.stepper.call.new - session.stepper.value.shape[1]
    lines = [screen.dim(f"  {'after':<20}the likeliest next token")]
    piece = min(PIECE, (screen.columns - 26) // 3 - 7)
    for index in range(max(0, len(logits) - MOST_ROWS), len(logits)):
        after = f"{begin + index:>3} {session.token(row, begin + index)}"
        found = likeliest(logits[index], 3)
        cells = [f"{p.probability:>6.1%} {fitted(printable(session.piece(p.token_id)), piece)}" for p in found]
        cells = [NOTHING] if np.isnan(found[0].probability) else cells
        lines.append(f"  {fitted(after, 18)}  {'  '.join(cells)}".rstrip())
    return lines


def top(session: Session, screen: Screen) -> list[str]:
    """The next token as the value that one stands at has it, after the last token or the one that is watched."""
    logits = session.logits()
    if logits is None:
        return ["No next token can be read here: stand at lm_head (`jump lm_head`), or in the residual stream."]
    row, place = _watched(session.watch, logits, session.past)
    found = likeliest(logits[row, place], TOP)
    if np.isnan(found[0].probability):
        return [NOTHING]
    where = session.past + place if place >= 0 else session.past + logits.shape[1] + place
    lines = [f"After token {where} ({session.token(row, where)}):"]
    if session.stepper.name != LOGITS:
        lines = [f"As if {printable(session.stepper.name)} were the end (final norm and head put on it):", *lines]
    block = "█" if screen.unicode else "#"
    for prediction in found:
        piece = fitted(printable(session.piece(prediction.token_id)), PIECE)
        bar = screen.paint(block * round(prediction.probability * BAR), ORANGE)
        lines.append(f"  {prediction.token_id:>6}  {piece}  {prediction.probability:>6.1%}  {bar}".rstrip())
    return lines


def _watched(watch: Watch, logits: np.ndarray, past: int) -> tuple[int, int]:
    """The row and place to read logits (B, T, V) at: those watched where they are there, else the first and last."""
    row = watch.batch if watch.batch is not None and watch.batch < len(logits) else 0
    place = -1 if watch.token is None else watch.token - past
    return row, place if 0 <= place < logits.shape[1] else logits.shape[1] - 1


def tree(session: Session, screen: Screen, everything: bool = False) -> list[str]:
    """The values of this call, those inside one another indented: the branch that one stands in, or all."""
    stepper, nodes = session.stepper, session.stepper.tree
    opened: set[str | None] = {None}
    level: str | None = stepper.name if stepper.place.level == stepper.name else stepper.place.level
    while level is not None:
        opened.add(level)
        level = nodes.parent(level)
    lines: list[str] = []

    def walk(inside: str | None, depth: int) -> None:
        for name in nodes.inside(inside):
            lines.append(_branch(session, name, inside, depth, screen))
            if everything or name in opened:
                walk(name, depth + 1)

    walk(None, 0)
    return [*lines, "", "  + has values inside" + ("" if everything else "; `tree all` opens them all")]


def _branch(session: Session, name: str, inside: str | None, depth: int, screen: Screen) -> str:
    stepper = session.stepper
    value = stepper.call.values[name]
    here = name == stepper.name
    short = name.removeprefix(f"{inside}." if inside else "model.")
    size = " × ".join(str(length) for length in value.shape)
    more = "+" if stepper.tree.inside(name) else " "
    look = look_at(name, value, Watch(), session.past, session.sizes)
    label = fitted(f"{'  ' * depth}{more} {printable(short)}", min(34, screen.columns - 38))
    mark = screen.here if here else " "
    line = f"{mark} {stepper.tree.number(name):>3} {label} {size:<16} rms {number(statistics(look).rms)}"
    return screen.bold(line) if here else line


def calls(session: Session, screen: Screen) -> list[str]:
    """The calls of the trace, with the tokens that each was given."""
    lines = []
    for index, call in enumerate(session.stepper.trace.calls):
        here = screen.here if index == session.stepper.place.call else " "
        text = "" if call.input_ids is None else " ".join(printable(session.piece(int(i))) for i in call.input_ids[0])
        start = f"{here} {index:>3}  {call.kind:<8} {call.new if call.new is not None else '?':>4} new  "
        start += f"{call.past if call.past is not None else '?':>4} before  "
        lines.append(f"{start}{fitted(text, max(8, screen.columns - columns(start)))}".rstrip())
    return lines


def moved(session: Session, screen: Screen) -> list[str]:
    """What the changes have moved: the residual stream layer by layer, and the next token, of the call changed last."""
    call = session.stepper.place.call
    counts = [sum(not session.moved(index, name).equal for name in nodes.names)
              for index, nodes in enumerate(session.stepper.trees)]  # fmt: skip
    total = sum(len(nodes) for nodes in session.stepper.trees)
    lines = ["The model was run again, on the same tokens.", f"{sum(counts)} of {total} values have moved."]
    shown = [(name, session.moved(call, name)) for name in session.stepper.tree.inside(None)]
    for name, found in shown:
        if not found.equal:
            block = "█" if screen.unicode else "#"
            bar = screen.paint(block * max(1, round(min(found.ratio, 1) * min(BAR, screen.columns - 54))), ORANGE)
            share = f"{found.ratio:>8.2%}" if found.ratio < BEYOND else "beyond measure"
            lines.append(f"  {fitted(printable(name), 24)} moved by {share}  {bar}")
    return [*lines, *_before_and_after(session, call)]


def _before_and_after(session: Session, call: int) -> list[str]:
    before, after = (trace.calls[call].logits for trace in (session.trace, session.stepper.trace))
    if before is None or after is None:
        return []
    row, place = _watched(session.watch, before, session.past)
    if np.isnan(widen(after[row, place])).any():
        return ["", "  There is a NaN among the logits: they say nothing of the next token any more."]
    old = {p.token_id: p.probability for p in likeliest(before[row, place], before.shape[-1])}
    new = {p.token_id: p.probability for p in likeliest(after[row, place], after.shape[-1])}
    shown = list(dict.fromkeys([*list(old)[:5], *list(new)[:5]]))
    where = session.past + place
    title = f"  after token {where} ({session.token(row, where)}):"
    lines = ["", f"{fitted(title, 34)}  before     now"]
    lines += [f"  {token:>6}  {fitted(printable(session.piece(token)), 24)}  {old[token]:>6.1%}  {new[token]:>6.1%}"
              for token in sorted(shown, key=lambda token: -new[token])]  # fmt: skip
    return lines
