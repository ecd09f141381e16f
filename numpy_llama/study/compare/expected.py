"""What every value should be, and how far an honest run may be from it: measured with a model, or estimated without.

With a model, the float64 truth and error bars of eight runs. With traces alone nothing can be measured: ours is taken
for the truth, and the bar is so many last bits of the row's size, more in each further layer. That is a rule of thumb,
taken from measurements of small models, and it says so.
"""

from dataclasses import dataclass

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import computation_order, layer_of
from numpy_llama.study.compare.error_bars import RUNS, ErrorBar, error_bars, half_last_bit, last_bit, row_size
from numpy_llama.study.compare.judging import MASK, Seen, seen
from numpy_llama.study.compare.put_in import Given
from numpy_llama.study.subject import Asked, Subject
from numpy_llama.study.trace.trace import Trace

ROUGH = {"float32": 16.0, "float16": 4.0, "bfloat16": 4.0}  # last bits, in the first layer


@dataclass(frozen=True)
class Expected:
    """What theirs is held to, call by call.

    bars    name → ErrorBar, of the values that theirs has
    names   every value that the call has, in order of computation
    seen    what counts: no padding, no hidden scores
    how     where the bars come from, in words
    """

    bars: list[dict[str, ErrorBar]]
    names: list[list[str]]
    seen: list[Seen]
    how: str


def from_model(subject: Subject, dtype: str, theirs: Trace, given: Given | None = None) -> Expected:
    """The float64 truth of what theirs was asked, and measured bars.

    subject  in float64, its weights as `dtype` holds them
    given    values of theirs to go on from
    """
    names: list[dict[str, None]] = [{} for _ in subject.calls]

    def wanted(call: int, name: str) -> bool:
        names[call][name] = None
        return name in theirs.calls[call].values or name == MASK

    try:
        bars = error_bars(subject, dtype, wanted, given)
    except LlamaError as error:
        raise error.inside(theirs.source) from None
    masks = [bar[MASK].truth if MASK in bar else None for bar in bars]
    counted = [seen(asked, mask) for asked, mask in zip(subject.calls, masks, strict=True)]
    return Expected(bars, [list(some) for some in names], counted, f"measured with {RUNS} float64 runs")


def from_trace(expected: Expected, ours: Trace) -> Expected:
    """The values of a trace of ours with measured bars; it may be as far from the truth as theirs, √2 between them."""
    bars: list[dict[str, ErrorBar]] = []
    for index, of_call in enumerate(expected.bars):
        values = ours.calls[index].values if index < len(ours.calls) else {}
        bars.append(
            {
                name: ErrorBar(values[name].astype(np.float64), bar.bar * 2**0.5)
                for name, bar in of_call.items()
                if name in values and values[name].shape == bar.truth.shape
            }
        )
    names = [list(call.values) for call in ours.calls]
    names += [[] for _ in range(len(bars) - len(names))]
    return Expected(bars, names, expected.seen, expected.how)


def without_model(ours: Trace, asked: tuple[Asked, ...], theirs: Trace, dtype: str) -> Expected:
    """The values of a trace of ours, and bars by a rule of thumb."""
    rough = ROUGH.get(dtype, ROUGH["float32"]) * last_bit("float32" if dtype == "float64" else dtype)
    layers = int((ours.config or {}).get("num_hidden_layers", 1))
    bars, names, counted = [], [], []
    for index, one in enumerate(asked):
        values = ours.calls[index].values if index < len(ours.calls) else {}
        some: dict[str, ErrorBar] = {}
        for name in sorted(values, key=computation_order):
            if name in theirs.calls[index].values:
                truth = values[name].astype(np.float64)
                depth = 1 + _layer(name, layers)
                some[name] = ErrorBar(truth, np.maximum(rough * depth * row_size(truth), half_last_bit(truth, dtype)))
        bars.append(some)
        names.append(sorted(values, key=computation_order))
        counted.append(seen(one, _mask(one, values.get(MASK))))
    return Expected(bars, names, counted, "a rule of thumb, since without a model none can be measured")


def config_of(trace: Trace) -> LlamaConfig:
    """The config in a trace's file.

    raises  LlamaError where there is none
    """
    if trace.config is None:
        raise LlamaError("no config", where=trace.source, expected="one in the file, or a model (--model)")
    return LlamaConfig.from_dict(trace.config)


def _layer(name: str, layers: int) -> int:
    """How many layers a value has behind it."""
    layer = layer_of(name)
    if layer is not None:
        return layer
    return 0 if computation_order(name)[0] == 0 else layers


def _mask(asked: Asked, mask: np.ndarray | None) -> np.ndarray | None:
    """The causal mask of a call, where a trace doesn't have it."""
    if mask is not None or asked.input_ids.shape[1] == 1:
        return mask
    T, S = asked.input_ids.shape[1], asked.past + asked.input_ids.shape[1]
    return np.where(np.arange(S) <= np.arange(S - T, S)[:, None], 0.0, -np.inf)[None, None]
