"""All that a person has in hand while stepping: a place, what is watched, what was changed, what it is held to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.values import table_name, values_read
from numpy_llama.study.step.changes import Change, read_change
from numpy_llama.study.step.numbers import Difference, difference
from numpy_llama.study.step.places import layer_number
from numpy_llama.study.step.predictions import logits_at
from numpy_llama.study.step.running import Run
from numpy_llama.study.step.source_lines import SourceLine, own_lines
from numpy_llama.study.step.stepper import Stepper
from numpy_llama.study.step.text import columns, fitted, printable
from numpy_llama.study.step.watching import MASKED, Look, Sizes, Watch, letters, look_at
from numpy_llama.study.trace import Trace, read_trace

LONGEST_TOKEN = 20  # columns


@dataclass
class Session:
    """A trace being walked through.

    trace   as it was recorded, before any change
    piece   id of a token → what it stands for
    run     by which it was recorded, to run it again; None for a trace from a file
    watch   what statistics and pictures are about
    against      the trace that values are held to; other_text says how its text is another one, "" for the same
    """

    trace: Trace
    piece: Callable[[int], str] = str
    run: Run | None = None
    watch: Watch = field(default_factory=Watch)
    against: Trace | None = None
    changes: list[Change] = field(default_factory=list)
    other_text: str = ""
    stepper: Stepper = field(init=False)

    def __post_init__(self) -> None:
        self.stepper = Stepper(self.trace)
        self.sizes = _sizes(self.trace)

    def look(self) -> Look:
        """What is watched of the value that one stands at."""
        return look_at(self.stepper.name, self.stepper.value, self.watch, self.past, self.sizes)

    @property
    def past(self) -> int:
        """Tokens in the cache before this call."""
        return self.stepper.call.past or 0

    def line(self) -> SourceLine | None:
        """Where in the code this value was made; None for one that nobody knows."""
        lines = own_lines() if self.run is None else self.run.lines
        return lines.get(table_name(self.stepper.name))

    def reads(self) -> list[tuple[int, str]]:
        """The values that this one is computed from, as (call, name): those that the trace has."""
        call, name, tree = self.stepper.place.call, self.stepper.name, self.stepper.tree
        layers = [each for each in tree.names if layer_number(each) is not None]
        residual = layers[-1] if layers else "model.embed_tokens"
        found = [(call, residual if read == "{residual}" else read) for read in values_read(name)]
        if name.endswith((".self_attn.keys", ".self_attn.values")) and self.past and call > 0:
            found.append((call - 1, name))  # the cache
        return [(call, read) for call, read in found if read in self.stepper.trees[call]]

    def token(self, row: int, place: int) -> str:
        """What to call a token of the text that this call goes on with; "" where nothing says."""
        for call in reversed(self.stepper.trace.calls[: self.stepper.place.call + 1]):
            past = call.past or 0
            if call.input_ids is not None and past <= place < past + call.input_ids.shape[1]:
                ids = call.input_ids
                piece = printable(self.piece(int(ids[min(row, len(ids) - 1), place - past])))
                return fitted(piece, min(columns(piece), LONGEST_TOKEN))
            if past == 0:
                break
        return ""

    def is_broken(self, call: int, name: str) -> bool:
        """Whether a value holds NaN or an infinity; the −∞ of a mask is none."""
        value = self.stepper.trace.calls[call].values[name]
        good = np.isfinite(value)
        known = _known(self.stepper.trace, self.stepper.trace.calls[call].name, name)
        if known is not None:
            good |= ~known
        if name.rpartition(".")[2] in MASKED:
            good |= value == -np.inf
        return not bool(good.all())

    def unknown(self) -> int:
        """How many numbers of the value that one stands at its file doesn't show."""
        known = _known(self.stepper.trace, self.stepper.call.name, self.stepper.name)
        return 0 if known is None else int((~known).sum())

    # Beside another trace.

    def compare_with(self, path: str) -> None:
        """Hold every value to another trace from now on.

        path    anything that read_trace reads
        raises  LlamaError where there is no such file, or it can't be read
        """
        config = None if self.run is None else self.run.model.config
        self.against = read_trace(path, config)
        self.other_text = _other_text(self.trace, self.against)

    def difference(self, call: int, name: str) -> Difference:
        """How far a value is from the other trace's."""
        assert self.against is not None
        return _apart(self.stepper.trace, self.against, call, name)

    def differs(self, call: int, name: str) -> bool:
        """Whether a value is another one in the other trace; what that doesn't have doesn't differ."""
        found = self.difference(call, name)
        return found.problem != "not there" and found.differs

    # With values changed.

    def change(self, text: str) -> Change:
        """Change the value that one stands at, and run the model again: "[0, 3] = 0", "* 2".

        raises  LlamaError where it is no change, or there is no model to run
        """
        if self.run is None:
            raise LlamaError("no model to run again", where="set", expected="a prompt and a model, not a trace's file")
        change = read_change(text, self.stepper.full_name, self.stepper.value.shape)
        self._run_with([*self.changes, change])
        return change

    def undo(self) -> Change:
        """Take the last change back.

        raises  LlamaError where there is none
        """
        if not self.changes:
            raise LlamaError("nothing to undo", where="undo")
        last = self.changes[-1]
        self._run_with(self.changes[:-1])
        return last

    def _run_with(self, changes: Sequence[Change]) -> None:
        assert self.run is not None
        self.stepper.trace = self.run.again(changes)  # may be interrupted: then nothing has changed
        self.changes = list(changes)

    def moved(self, call: int, name: str) -> Difference:
        """How far a value is from what it was before all changes."""
        return _apart(self.trace, self.stepper.trace, call, name)

    def logits(self) -> np.ndarray | None:
        """What the head makes of the value that one stands at, (B, T, V); None where it can make nothing of it."""
        model = None if self.run is None else self.run.model
        return logits_at(self.stepper.name, self.stepper.value, model)

    def most(self, kind: str) -> int:
        """The last head, token or row of the batch that any value has; 10**9 where no shape says.

        kind  "head", "token" or "batch"
        """
        sizes: list[int] = []
        for call in self.stepper.trace.calls:
            for name, value in call.values.items():
                axes = dict(zip(letters(name, value), value.shape, strict=True))
                if kind == "head":
                    together = axes.get("H·D", 0) // self.sizes.head_dim if self.sizes.head_dim else 0
                    sizes.append(axes.get("H", together))
                elif kind == "token":
                    sizes.append((call.past or 0) + axes["T"] if "T" in axes else axes.get("S", 0))
                else:
                    sizes.append(axes.get("B", 0))
        return max(sizes, default=0) - 1 if any(sizes) else 10**9

    def watch_only(self, **what: int | None) -> None:
        """Watch one head, token or row of the batch; None for all of them."""
        self.watch = replace(self.watch, **what)


def _other_text(ours: Trace, theirs: Trace) -> str:
    """Where two traces were given other tokens; "" where they weren't, or don't say."""
    for call in ours.calls:
        other = next((each for each in theirs.calls if each.index == call.index), None)
        if other is None or call.input_ids is None or other.input_ids is None:
            continue
        a, b = np.atleast_2d(call.input_ids), np.atleast_2d(other.input_ids)
        start = f"the texts differ: in call {call.index}, "
        if a.shape != b.shape:
            return f"{start}{_rows_and_tokens(b)} there, {_rows_and_tokens(a)} here"
        if (a != b).any():
            row, token = (int(i) for i in np.argwhere(a != b)[0])
            of = f" of row {row}" if len(a) > 1 else ""
            return f"{start}token {token}{of} is {int(b[row, token])} there, {int(a[row, token])} here"
    return ""


def _rows_and_tokens(ids: np.ndarray) -> str:
    rows, tokens = ids.shape
    words = f"{tokens} token{'s' * (tokens != 1)}"
    return words if rows == 1 else f"{rows} rows of {words}"


def _apart(ours: Trace, theirs: Trace, call: int, name: str) -> Difference:
    index = ours.calls[call].index
    other = next((each for each in theirs.calls if each.index == index), None)
    if other is None:
        return Difference(problem="not there")
    known = _known(theirs, other.name, name)
    return difference(name, ours.calls[call].values[name], other.values.get(name), theirs.dtype, known)


def _known(trace: Trace, call: str, name: str) -> np.ndarray | None:
    """Which of a value's numbers a file shows; None for all of them."""
    part = trace.partial.get(f"{call}/{name}")
    return None if part is None else part.known


def _sizes(trace: Trace) -> Sizes:
    """From the config or, where a file has none, from the shapes."""
    config = trace.config or {}
    heads, shared = config.get("num_attention_heads"), config.get("num_key_value_heads")
    head_dim = config.get("head_dim")
    if not all(isinstance(size, int) and size > 0 for size in (heads, shared, head_dim)):
        rotated = {}
        for part in ("query_rotated", "key_rotated"):
            names = ((call, name) for call in trace.calls for name in call.values if name.endswith(f".{part}"))
            call, name = next(names, (None, ""))
            if call is not None and call.values[name].ndim == 4:
                rotated[part] = call.values[name].shape
        heads, head_dim = rotated["query_rotated"][1::2] if "query_rotated" in rotated else (None, None)
        shared = rotated["key_rotated"][1] if "key_rotated" in rotated else None
    return Sizes(head_dim, heads // shared if heads and shared else None)
