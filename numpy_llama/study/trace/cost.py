"""What it costs that every value has a name, while nobody looks.

    python -m numpy_llama.study.trace.cost [storyteller | smollm2 | FOLDER]

The doors of probe.py are counted in one decode step, and each is timed by itself, with nobody observing: a step with
and without them can't be told apart by the clock. What is allowed: 3 % of a step of storyteller, 1 % of SmolLM2's.
"""

import sys
import time
import timeit
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from numpy_llama.checkpoints.known_models import EMBEDDED, checkpoint_path
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.probe import collect, is_observed, model_call, probe, scope

# Each door of probe.py, used as the model uses it.
USES = {
    "probe": "probe('mlp', value)",
    "scope": "with scope('mlp'): pass",
    "collect": "with collect('weights', [], wanted=False): pass",
    "is_observed": "is_observed()",
    "model_call": "model_call(None, None)",
}
TIMES, REPEAT = 20_000, 7


@dataclass(frozen=True)
class Cost:
    """What was found: seconds of a decode step, and of all doors in it."""

    step: float
    doors: float

    @property
    def share(self) -> float:
        """Of the step."""
        return self.doors / self.step


def measure_cost(model: LlamaForCausalLM, steps: int = 30) -> Cost:
    """Time a decode step, the quickest of some, and the doors that it goes through."""
    output = model([[1]], use_cache=True)
    cache, quickest = output.past_key_values, np.inf
    for _ in range(steps):
        start = time.perf_counter()
        model([[5]], past_key_values=cache)
        quickest = min(quickest, time.perf_counter() - start)
    names = {"probe": probe, "scope": scope, "collect": collect, "is_observed": is_observed, "model_call": model_call}
    each = {
        door: min(timeit.repeat(use, globals={**names, "value": np.ones(3)}, number=TIMES, repeat=REPEAT)) / TIMES
        for door, use in USES.items()
    }
    return Cost(quickest, sum(times * each.get(door, 0) for door, times in _doors_of(model, cache).items()))


def _doors_of(model: LlamaForCausalLM, cache: Any) -> dict[str, int]:
    """How often each function of probe.py is called in one decode step."""
    counts: dict[str, int] = {}

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename == probe.__code__.co_filename:
            counts[frame.f_code.co_name] = counts.get(frame.f_code.co_name, 0) + 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        model([[5]], past_key_values=cache)
    finally:
        sys.setprofile(before)
    return counts


def main() -> None:
    """The command."""
    name = sys.argv[1] if len(sys.argv) > 1 else EMBEDDED
    cost = measure_cost(LlamaForCausalLM.from_pretrained(checkpoint_path(name)))
    times = f"a decode step takes {1e3 * cost.step:.3f} ms, the doors for observers {1e6 * cost.doors:.1f} µs of it"
    print(f"{name}: {times}: {cost.share:.3%}")


if __name__ == "__main__":
    main()
