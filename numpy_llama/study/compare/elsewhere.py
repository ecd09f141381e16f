"""Whether a value that disagrees is no mistake of its own: kept in another order, or right for another place."""

from numpy_llama.model.config import LlamaConfig
from numpy_llama.study.compare.descent import without_effect
from numpy_llama.study.compare.difference import REARRANGED, difference
from numpy_llama.study.compare.error_bars import ErrorBar, Place
from numpy_llama.study.compare.expected import Expected
from numpy_llama.study.compare.judging import MASK, judge
from numpy_llama.study.compare.pairing import Pairs


def without_consequence(pairs: Pairs, expected: Expected, config: LlamaConfig, dtype: str) -> set[Place]:
    """Values that hold ours in another order or unit, while all that is computed from them agrees."""
    elsewhere: set[Place] = set()
    cached: set[str] = set()
    for call, names in enumerate(expected.names):
        there = {name for index, name in pairs if index == call}
        differs = {name for name in there if not pairs[call, name].judged.agrees}

        def rearranged(name: str, call: int = call) -> bool:
            pair = pairs[call, name]
            how = difference(pair.reading, pair.judged, name, config, dtype)
            return how.kind in REARRANGED and set(how.where) <= {"D"}

        harmless = without_effect(names, differs, there, config.num_hidden_layers, cached, rearranged)
        elsewhere |= {(call, name) for name in harmless}
        cached = {name for name in differs - harmless if name.endswith((".keys", ".values"))}
    return elsewhere


def whose(pairs: Pairs, place: Place, expected: Expected) -> str | None:
    """The full name of a value of ours that theirs agrees with; None for none.

    place  of a value that disagrees with ours of its own name
    """
    reading = pairs[place].reading
    if reading.theirs.size < 8 or place[1] == MASK:
        return None
    for call, bars in enumerate(expected.bars):
        for name, bar in bars.items():
            if (call, name) == place or name == MASK or bar.truth.shape != reading.theirs.shape:
                continue
            if judge(reading.theirs, ErrorBar(bar.truth, bar.bar), reading.counts).agrees:
                return f"call.{call:04d}/{name}"
    return None
