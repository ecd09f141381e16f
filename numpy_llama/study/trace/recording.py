"""Record a trace: `with trace() as t: model.generate(…)`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path
from numpy_llama.precision import DTYPES
from numpy_llama.probe import Call, record
from numpy_llama.study.trace.about import METADATA, about_text
from numpy_llama.study.trace.keeping import KeptInMemory, KeptOnDisk
from numpy_llama.study.trace.patterns import as_patterns, call_name, fits, nearest
from numpy_llama.study.trace.reading import load_trace
from numpy_llama.study.trace.spool import Spool
from numpy_llama.study.trace.trace import Trace, TracedCall
from numpy_llama.study.trace.trace_file import put_given


@contextmanager
def trace(only: str | Sequence[str] = "*", to: str | Path | None = None) -> Iterator[Trace]:
    """While this lasts, everything that models compute is recorded.

        with trace() as t:
            model.generate([[1, 306]], max_new_tokens=8)
        t["call.0000/model.layers.0.self_attn.scores"]      # of the prompt
        t["call.0001/model.layers.0.self_attn.scores"]      # of the first new token

        with trace(to="x.safetensors", only="model.layers.3.*") as t:      # on disk, however long it gets
            model.generate([[1, 306]], max_new_tokens=500)

    only    a pattern, or several: only values that fit one are kept ("*/model.layers.3.*"); see study/trace/patterns.py
    to      a file to be written: values go to disk as they come, and memory holds one of them at a time. It is there
            when the block ends without an exception; otherwise nothing is
    yields  a Trace that grows; the values are as they were after any patching. They are copies, not to be written to
    raises  LlamaError when the block ends, with the nearest names, where models were called and nothing fitted `only`;
            and where `to` can't be written
    """
    patterns = as_patterns(only)
    if to is None:
        with _recorded(Trace(), patterns, KeptInMemory()) as recorded:
            yield recorded
        return
    path = as_path(to)
    with Spool(path) as spool:
        with _recorded(Trace(source=str(path)), patterns, KeptOnDisk(spool)) as recorded:
            yield recorded
        for call in recorded.calls:
            put_given(spool, call)
        spool.write({METADATA: about_text(recorded)})
    written = load_trace(path)
    recorded.calls[:] = written.calls  # values were read from the temporary file, which is gone


@contextmanager
def _recorded(recorded: Trace, patterns: tuple[str, ...], kept: KeptInMemory | KeptOnDisk) -> Iterator[Trace]:
    latest: Call | None = None
    seen: dict[str, None] = {}  # names that were not kept, for a message

    def keep(name: str, value: np.ndarray, call: Call) -> None:
        nonlocal latest
        if call.index < 0:
            return  # a block that no model called
        if latest is None or call.index != latest.index:
            latest = call
            recorded.calls.append(_begun(call, len(recorded.calls)))
            recorded.config = call.config.to_dict()
        traced = recorded.calls[-1]
        if recorded.dtype is None and value.dtype.name in DTYPES:
            recorded.dtype = value.dtype.name
        if any(fits(pattern, traced.index, name) for pattern in patterns):
            traced.values = kept.put(traced.values, traced, name, value)
        elif not len(recorded):
            seen[f"{call_name(traced.index)}/{name}"] = None

    with record(keep):
        yield recorded
    if seen and not len(recorded):
        expected = nearest(patterns[0], seen)
        raise LlamaError(f"no value fits {' or '.join(map(repr, patterns))}", where="only", expected=expected)


def _begun(call: Call, index: int) -> TracedCall:
    given = call.arguments
    mask = given.attention_mask if given.scores_mask is None else given.scores_mask
    return TracedCall(index, call.past, given.input_ids, mask, given.position_ids, {})
