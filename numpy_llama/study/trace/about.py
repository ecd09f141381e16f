"""What a trace's file says beside its tensors: JSON, in a safetensors file's metadata or in trace.json of a folder.

    {"format": 1, "config": {…}, "config_hash": "sha256:…", "dtype": "float32",
     "calls": [{"past": 0}, {"past": 5}], "partial": {"call.0000/model.norm": 0.00005}}

Every field may be missing. What is there must be what it claims to be.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES
from numpy_llama.study.trace.trace import Trace

METADATA = "numpy_llama.trace"
FORMAT = 1
LONGEST_TEXT = 16 * 1024 * 1024  # characters
LONGEST_PAST = 2**40  # tokens


@dataclass(frozen=True)
class About:
    """What was said.

    config   of the model, or None
    dtype    "float32", …, or None
    pasts    call number → tokens in the cache before it, for the calls of which it is said
    partial  full name → resolution, for values in which NaN means "not known"
    """

    config: dict[str, Any] | None = None
    dtype: str | None = None
    pasts: dict[int, int] = field(default_factory=dict)
    partial: dict[str, float] = field(default_factory=dict)


def about_text(trace: Trace) -> str:
    """The JSON for a trace."""
    about: dict[str, Any] = {
        "format": FORMAT,
        "config": trace.config,
        "config_hash": trace.config_hash,
        "dtype": trace.dtype,
        "calls": [{"past": call.past} for call in trace.calls],
    }
    if [call.index for call in trace.calls] != list(range(len(trace.calls))):
        about["calls"] = [{"index": call.index, "past": call.past} for call in trace.calls]
    if trace.partial:
        about["partial"] = {name: partial.resolution for name, partial in trace.partial.items()}
    return json.dumps(about, default=str)


def read_about(text: str | None, where: object) -> About:
    """The JSON, understood.

    raises  LlamaError saying which field isn't what it must be
    """
    if text is None:
        return About()
    if len(text) > LONGEST_TEXT:
        raise LlamaError("too long", where=where, expected=f"at most {LONGEST_TEXT} characters", found=len(text))
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LlamaError(f"not valid JSON ({error})", where=where) from None
    check(isinstance(about, dict), where, "an object", about)
    config, dtype = about.get("config"), about.get("dtype")
    check(about.get("format", FORMAT) == FORMAT, f"{where}, format", FORMAT, about.get("format"))
    check(config is None or isinstance(config, dict), f"{where}, config", "an object", config)
    if isinstance(dtype, str):
        dtype = dtype.removeprefix("torch.")
    check(dtype is None or dtype in tuple(DTYPES), f"{where}, dtype", "one of " + ", ".join(DTYPES), dtype)
    return About(config, dtype, _pasts(about.get("calls"), where), _partial(about.get("partial"), where))


def _pasts(calls: Any, where: object) -> dict[int, int]:
    check(calls is None or isinstance(calls, list), f"{where}, calls", "a list", calls)
    pasts = {}
    for place, call in enumerate(calls or []):
        check(isinstance(call, dict), f"{where}, calls[{place}]", "an object", call)
        index, past = call.get("index", place), call.get("past")
        check(_is_count(index), f"{where}, calls[{place}].index", "an integer, 0 or more", index)
        if past is not None:
            check(_is_count(past), f"{where}, calls[{place}].past", "a number of tokens, or null", past)
            pasts[index] = past
    return pasts


def _partial(partial: Any, where: object) -> dict[str, float]:
    check(partial is None or isinstance(partial, dict), f"{where}, partial", "an object", partial)
    for name, resolution in (partial or {}).items():
        holds = isinstance(resolution, int | float) and not isinstance(resolution, bool) and 0 <= resolution < 1e30
        check(holds, f"{where}, partial, {name[:80]}", "a number, 0 or more", resolution)
    return {name: float(resolution) for name, resolution in (partial or {}).items()}


def _is_count(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= LONGEST_PAST


def check(holds: bool, where: object, expected: object, found: object, show: Callable[[object], str] = repr) -> None:
    """raises  LlamaError where something doesn't hold, with the beginning of what was found"""
    if not holds:
        text = show(found)
        found = text if len(text) <= 80 else text[:77] + "…"
        raise LlamaError("wrong value", where=where, expected=expected, found=found)
