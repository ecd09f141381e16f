"""Arrays under anybody's names, understood: which value each is, in our order, and what each call was given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import computation_order, value_named
from numpy_llama.precision import DTYPES
from numpy_llama.study.trace.about import About
from numpy_llama.study.trace.deducing import (
    dtype_of,
    head_dim_of,
    llama_cpp_head_dim_of,
    llama_cpp_tokens_of,
    tokens_of,
)
from numpy_llama.study.trace.eval_callback import RESOLUTION
from numpy_llama.study.trace.following import positions_that_do_not_follow
from numpy_llama.study.trace.foreign_names import (
    Foreign,
    in_llama_cpp,
    llama_cpp_line,
    meta_line,
    own_name,
    program_of,
    rank,
)
from numpy_llama.study.trace.given import GIVEN, PAST, checked_given, past_of
from numpy_llama.study.trace.layouts import Laid, Sizes, has_heads, laid
from numpy_llama.study.trace.lazy_values import LazyValues
from numpy_llama.study.trace.patterns import LOGITS, call_name
from numpy_llama.study.trace.trace import Partial, Trace, TracedCall

UNKNOWN = "of names that aren't known here: "  # how a note on them begins
MOST_NAMED = 3  # names in a note; of the others only the number


@dataclass(frozen=True)
class Found:
    """One array as it was found.

    theirs   its name there, without the call
    shape    as it is stored
    read     gives it
    known    of what llama-eval-callback printed: which elements were shown; None where the whole array is there
    op       and the operation that made it
    sources  and its operands
    in_call  whether its name began with call.NNNN/
    """

    theirs: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    known: np.ndarray | None = None
    op: str = ""
    sources: str = ""
    in_call: bool = False


def understood(
    calls: Mapping[int, list[Found]], about: About, source: str, config: LlamaConfig | None, as_named: bool = False
) -> Trace:
    """The trace.

    calls     number → arrays, in the order in which they were found
    about     what was said beside them
    config    of the model, where about doesn't say
    as_named  take names as they are, whatever they are: they are our own
    raises    LlamaError where something can't be
    """
    trace = Trace([], about.config, about.dtype, source)
    names = [found.theirs for arrays in calls.values() for found in arrays]
    program = "" if as_named else program_of(dict.fromkeys(names))
    D = head_dim_of(config, about.config)
    before = 0
    for index in sorted(calls):
        reader = _CallReader(trace, index, program, D, as_named)
        before = reader.read(calls[index], about, before)
    for full, resolution in about.partial.items():
        if full in trace and trace[full].dtype.name in DTYPES:
            trace.partial[full] = Partial(~np.isnan(trace[full]), resolution)
    if trace.dtype is None and not trace.partial:
        trace.dtype = dtype_of(trace)
    _note_others(trace)
    trace.notes += positions_that_do_not_follow(trace.calls)
    return trace


class _CallReader:
    """Reads one call into a trace.

    program   whose names they are: "llama.cpp", "Meta" or ""
    head_dim  D, or None where nothing says so
    """

    def __init__(self, trace: Trace, index: int, program: str, head_dim: int | None, as_named: bool):
        self.trace, self.index, self.program, self.as_named = trace, index, program, as_named
        self.head_dim = head_dim
        self.where = f"{trace.source}: {call_name(index)}"
        self.readers: dict[str, Callable[[], np.ndarray]] = {}
        self.left_out: list[str] = []

    def read(self, arrays: list[Found], about: About, before: int) -> int:
        """Add the call to the trace. Returns the tokens in the cache after it; `before` is that of the call before."""
        told = {found.theirs: found.read() for found in arrays if found.theirs in (*GIVEN, PAST)}
        given = checked_given(told, self.where)
        if given.past is None:
            given = given._replace(past=about.pasts.get(self.index))
        values = [found for found in arrays if found.theirs not in told]
        ids = given.input_ids if given.input_ids is not None else given.position_ids
        new = None if ids is None else ids.shape[1]
        if self.program == "llama.cpp":
            there = [(found.theirs, found.shape) for found in values]
            new = new or llama_cpp_tokens_of(there)
            self.head_dim = self.head_dim or llama_cpp_head_dim_of(there, new)
        lines = self._lines(values, new)
        shapes = {ours: found.shape for ours, (found, _) in lines.items() if self.program != "llama.cpp"}
        new = new or tokens_of(shapes)
        past, guessed = past_of(given, shapes, new, before)
        if guessed and values and values[0].op:
            past = before  # a prompt goes through llama.cpp's graph piece by piece
        if guessed:
            self._note(f"nothing says how many tokens came before it: {past} were supposed")
        sizes = Sizes(self.head_dim, new, None if new is None else past + new)
        for ours, (found, line) in lines.items():
            self._take(ours, found, line, sizes)
        if self.left_out:
            self._note("left out: " + _some(self.left_out))
        ordered = {name: self.readers[name] for name in sorted(self.readers, key=computation_order)}
        self.trace.calls.append(
            TracedCall(self.index, past, given.input_ids, given.attention_mask, given.position_ids, LazyValues(ordered))
        )
        return past + (new or 0)

    def _lines(self, values: list[Found], new: int | None) -> dict[str, tuple[Found, Foreign]]:
        """Our name → the array that is it, and the table's line that says so."""
        lines: dict[str, tuple[Found, Foreign]] = {}
        for found in values:
            line = self._line(found, new)
            if line is None or not line.ours:
                if line is None:
                    self.left_out.append(found.theirs)
                continue
            other = lines.get(line.ours)
            if other is not None and self.program != "llama.cpp":
                expected = "one of them"
                both = f"{other[0].theirs} and {found.theirs}"
                raise LlamaError(f"two arrays for {line.ours}", where=self.where, expected=expected, found=both)
            # Of two names in llama.cpp's table the later one; of two tensors of a name, too.
            if other is None or other[0].theirs == found.theirs or rank(other[1]) <= rank(line):
                lines[line.ours] = (found, line)
        return lines

    def _line(self, found: Found, new: int | None) -> Foreign | None:
        """The line of a table for an array; a line of its own for a name that is ours or nobody's."""
        theirs = found.theirs
        if self.as_named:
            return Foreign(theirs, theirs)
        if self.program == "llama.cpp":
            line = llama_cpp_line(theirs, has_heads(found.shape, new), found.op, found.sources)
            if line is not None or found.op:
                return line
            return None if in_llama_cpp(theirs) else Foreign(theirs, own_name(theirs) or theirs)
        line = meta_line(theirs) if self.program == "Meta" else None
        return line or Foreign(theirs, own_name(theirs) or theirs)

    def _take(self, ours: str, found: Found, line: Foreign, sizes: Sizes) -> None:
        """Put one array into the call's values, or say why not."""
        value = value_named(ours)
        if self.as_named or value is None:
            self.readers[ours] = found.read
            return
        axes = len(value.shape)
        if self.program != "llama.cpp" or ours == LOGITS:  # only there are values of the last tokens alone
            sizes = Sizes(sizes.head_dim, None, sizes.total)
        how = laid(line.layout, axes, found.shape, sizes)
        if isinstance(how, str):
            self.left_out.append(f"{found.theirs} ({how})")
            return
        self.readers[ours] = _reader(found.read, how)
        known = _known(found, how, sizes)
        if known is not None:
            resolution = 0.0 if found.known is None else RESOLUTION * how.factor
            self.trace.partial[f"{call_name(self.index)}/{ours}"] = Partial(known, resolution)

    def _note(self, text: str) -> None:
        self.trace.notes.append(f"{call_name(self.index)}: {text}")


def _reader(read: Callable[[], np.ndarray], how: Laid) -> Callable[[], np.ndarray]:
    def converted() -> np.ndarray:
        array = how.convert(read(), np.nan)
        return array if how.factor == 1 else array.astype(np.float64) * how.factor

    return converted


def _known(found: Found, how: Laid, sizes: Sizes) -> np.ndarray | None:
    """Which elements of a value are known; None where all are."""
    if found.known is None and not how.causal and not how.tokens_missing(found.shape):
        return None
    shown = np.broadcast_to(True, found.shape) if found.known is None else found.known
    known = how.convert(shown, False)
    if how.causal and sizes.new is not None and sizes.total is not None:
        queries, keys = np.arange(sizes.new)[:, None], np.arange(sizes.total)
        known = known & (keys <= queries + sizes.total - sizes.new)  # (1, H, T, S)
    return known


def _note_others(trace: Trace) -> None:
    others = [name for name in trace if value_named(name.rpartition("/")[2]) is None]
    if others:
        trace.notes.append(UNKNOWN + _some(others))


def _some(names: list[str]) -> str:
    """The first few names of a list, and how many there are."""
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(name[:80] for name in names[:MOST_NAMED]) + more
