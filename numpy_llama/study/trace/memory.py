"""How much a trace will take, before it is recorded; and how much there is."""

import shutil
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import VALUES
from numpy_llama.study.trace.keeping import OF_THE_CACHE
from numpy_llama.study.trace.patterns import about_calls, fits

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
OF_MEMORY = 0.8  # what a trace may take of the memory that is free


def call_bytes(
    config: LlamaConfig, call: tuple[int, int, int], itemsize: int, kept: Mapping[str, int]
) -> tuple[int, int]:
    """Bytes that one call adds to a trace, by the shapes in the table of values.

    call      (B, T, S)
    itemsize  bytes of one number
    kept      name in the table of values → in how many layers it is kept
    returns   those of all values but keys and values of the cache, and those of these two
    """
    B, T, S = call
    letters = {"B": B, "T": T, "S": S, "1": 1}
    letters |= {"H": config.num_attention_heads, "K": config.num_key_value_heads, "D": config.head_dim}
    letters |= {"E": config.hidden_size, "F": config.intermediate_size, "V": config.vocab_size}
    plain = cached = 0
    for name, layers in kept.items():
        axes = (axis.rpartition("|")[2].split("·") for axis in VALUES[name].shape)
        size = layers * itemsize * prod(letters[letter] for axis in axes for letter in axis)
        if name.endswith(OF_THE_CACHE):
            cached += size
        else:
            plain += size
    return plain, cached


def kept_values(config: LlamaConfig, index: int, only: tuple[str, ...]) -> dict[str, int]:
    """Name in the table of values → in how many layers a call's value is kept."""
    kept = {}
    for name in VALUES:
        layers = range(config.num_hidden_layers) if "{i}" in name else range(1)
        kept[name] = sum(any(fits(each, index, name.replace("{i}", str(i))) for each in only) for i in layers)
    return {name: layers for name, layers in kept.items() if layers}


def check_room(
    config: LlamaConfig, calls: Iterable[tuple[int, int, int]], itemsize: int, only: tuple[str, ...], to: Path | None
) -> None:
    """See to it that a trace fits, before it is recorded.

    calls     (B, T, S) of each call that will be made
    itemsize  bytes of one number
    only      patterns of what is kept
    to        the file it is written to, or None where it is kept in memory, where the calls of a text share its keys
    raises    LlamaError, with the numbers and the ways out, where it would take more than there is
    """
    room = _room_in_memory() if to is None else _room_on_disk(to)
    if room is None:
        return
    of_calls = any(about_calls(pattern) and not pattern.startswith("*/") for pattern in only)
    kept = kept_values(config, 0, only)
    total = largest = 0
    for index, call in enumerate(calls):
        kept = kept_values(config, index, only) if of_calls else kept
        plain, cached = call_bytes(config, call, itemsize, kept)
        # In memory the array that grows has room for as much again; on disk each call has its own.
        largest = max(largest, 2 * cached) if to is None else largest + cached
        total += plain
        if total + largest > room:
            found = f"{size(total + largest)} by call {index}"
            where, ways = (None, ", or to disk with --out") if to is None else (to, ", or of fewer --steps")
            medium = "of memory" if to is None else "on disk"
            expected = f"at most {size(room)} {medium}: record less with --only{ways}"
            raise LlamaError("the trace would be too large", where=where, expected=expected, found=found)


def _room_in_memory() -> int | None:
    free = available_memory()
    return None if free is None else int(OF_MEMORY * free)


def _room_on_disk(to: Path) -> int:
    """Half of what is free: values are put down first, and then copied behind the table of all of them."""
    folder = next(up for up in (to.parent, *to.absolute().parents) if up.is_dir())
    return shutil.disk_usage(folder).free // 2


def available_memory() -> int | None:
    """Bytes of memory that a process may still have; None where the system doesn't say."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(max(int(limit) - int((group / "memory.current").read_text()), 0))
    except (OSError, ValueError, IndexError):
        pass
    return min(found, default=None)


def size(count: int) -> str:
    """Bytes as a person reads them: 1.35 GB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{count} bytes" if unit == 0 else f"{value:.3g} {UNITS[unit]}"
