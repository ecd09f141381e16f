"""A trace as a safetensors file: tensors `call.0000/NAME`, what else is known in the metadata.

    call.0000/input_ids            (B, T) int64
    call.0000/attention_mask       (B, S) int64
    call.0000/position_ids         (B or 1, T) int64
    call.0000/model.embed_tokens   (B, T, E), and so on: the names of model/values.py
    metadata numpy_llama.trace     JSON: {"format": 1, "config": {…}, "config_hash": …, "dtype": …,
                                          "calls": [{"past": 0}, {"past": 5}, …]}

docs/trace-format.md says it for somebody who writes such a file from another language.
"""

from pathlib import Path

from numpy_llama.files import as_path
from numpy_llama.study.trace.about import METADATA, about_text
from numpy_llama.study.trace.given import GIVEN
from numpy_llama.study.trace.reading import load_trace
from numpy_llama.study.trace.spool import Spool
from numpy_llama.study.trace.trace import Trace, TracedCall

__all__ = ["load_trace", "put_given", "save_trace"]


def save_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace, whole or not at all; one value at a time is in memory for it.

    raises  LlamaError where it can't be written there
    """
    with Spool(as_path(path)) as spool:
        for call in trace.calls:
            put_given(spool, call)
        for name in trace:
            spool.put(name, trace[name])
        spool.write({METADATA: about_text(trace)})


def put_given(spool: Spool, call: TracedCall) -> None:
    """Put down what a call was given."""
    for name in GIVEN:
        given = getattr(call, name)
        if given is not None:
            spool.put(f"{call.name}/{name}", given)
