"""A trace as a safetensors file: tensors `call.0000/NAME`, what else is known in the metadata.

call.0000/input_ids            (B, T) int64
call.0000/attention_mask       (B, S) int64
call.0000/position_ids         (B or 1, T) int64
call.0000/model.embed_tokens   (B, T, E), and so on: the names of model/values.py
metadata numpy_llama.trace     JSON: {"format": 1, "config": {…}, "config_hash": …, "dtype": …,
                                          "calls": [{"past": 0}, {"past": 5}, …]}
"""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from numpy_llama.files import write_atomically
from numpy_llama.study.trace.trace import Trace, TracedCall

METADATA = "numpy_llama.trace"
GIVEN = ("input_ids", "attention_mask", "position_ids")


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace, whole or not at all."""
    tensors = {name: np.ascontiguousarray(value) for name, value in trace.items()}
    for call in trace.calls:
        for name in GIVEN:
            given = getattr(call, name)
            if given is not None:
                tensors[f"{call.name}/{name}"] = np.ascontiguousarray(given)
    about = {
        "format": 1,
        "config": trace.config,
        "config_hash": trace.config_hash,
        "dtype": trace.dtype,
        "calls": [{"past": call.past} for call in trace.calls],
    }
    metadata = {METADATA: json.dumps(about)}
    write_atomically(Path(path), lambda temporary: save_file(tensors, temporary, metadata))


def load_trace(path: Path) -> Trace:
    """Read a trace."""
    with safe_open(path, framework="np") as file:
        about = json.loads((file.metadata() or {}).get(METADATA, "{}"))
        trace = Trace(config=about.get("config"), dtype=about.get("dtype"), source=str(path))
        calls: dict[str, dict[str, np.ndarray]] = {}
        for full in file.keys():  # noqa: SIM118  (not a dict)
            call, _, name = full.rpartition("/")
            calls.setdefault(call or "call.0000", {})[name] = file.get_tensor(full)
    for index, (_, values) in enumerate(sorted(calls.items())):
        given = {name: values.pop(name, None) for name in GIVEN}
        if "logits" in values:
            values["lm_head"] = values.pop("logits")
        past = about["calls"][index]["past"] if "calls" in about else None
        trace.calls.append(TracedCall(index, past, **given, values=values))
    return trace
