"""Record a trace: `with trace() as t: model.generate(…)`."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

import numpy as np

from numpy_llama.precision import DTYPES
from numpy_llama.probe import Call, record
from numpy_llama.study.trace.trace import Trace, TracedCall


@contextmanager
def trace(only: str = "*") -> Iterator[Trace]:
    """While this lasts, everything that models compute is recorded.

        with trace() as t:
            model.generate([[1, 306]], max_new_tokens=8)
        t["call.0000/model.layers.0.self_attn.scores"]      # of the prompt
        t["call.0001/model.layers.0.self_attn.scores"]      # of the first new token

    only    a pattern: of the values, those whose full name fits it are kept ("*/model.layers.3.*")
    yields  a Trace that grows; the values are copies, and as they were after any patching
    """
    recorded = Trace()
    latest: list[Call | None] = [None]

    def keep(name: str, value: np.ndarray, call: Call) -> None:
        if call.index < 0:
            return  # a block that no model called
        if latest[0] is None or call.index != latest[0].index:
            latest[0] = call
            recorded.calls.append(_begun(call, len(recorded.calls)))
            recorded.config = call.config.to_dict()
        traced = recorded.calls[-1]
        if recorded.dtype is None and value.dtype.name in DTYPES:
            recorded.dtype = value.dtype.name
        if fnmatchcase(f"{traced.name}/{name}", only):
            traced.values[name] = value.copy()  # type: ignore[index]  # a dict here

    with record(keep):
        yield recorded


def _begun(call: Call, index: int) -> TracedCall:
    given = call.arguments
    mask = given.attention_mask if given.scores_mask is None else given.scores_mask
    return TracedCall(index, call.past, given.input_ids, mask, given.position_ids, {})
