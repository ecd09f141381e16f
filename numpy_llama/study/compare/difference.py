"""How one value differs, in words: where, in which way, and the worst number."""

from dataclasses import dataclass, field, replace

import numpy as np

from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import value_named
from numpy_llama.study.compare.arithmetic import arithmetic, coarse, vectors
from numpy_llama.study.compare.arrangement import arrangement
from numpy_llama.study.compare.hidden import hidden_apart, hides_too_much, mask_in_words
from numpy_llama.study.compare.judging import Judged
from numpy_llama.study.compare.layouts import Reading
from numpy_llama.study.compare.places import axes_of, in_words, places
from numpy_llama.study.compare.suspicion import Suspect

FEW_ELEMENTS = 16
# Kinds in which theirs holds the numbers of ours, in another order or another unit.
REARRANGED = ("permuted", "transposed", "scale", "sign", "signs", "channels", "offset", "shift")


@dataclass(frozen=True)
class Difference:
    """How a value differs.

    kind        "nan", "zeros", "scale", "permuted", "moved", …; "unlike" where theirs has nothing to do with ours,
                "other" for anything else
    says        the same for a person
    where       axis → indices at which it differs; axes on which it does everywhere are left out
    place       the same for a person; "" for everywhere
    worst       index of the number that is farthest away
    ours, theirs, bar   of that number
    units       error bars between the two
    bad         how many numbers differ, of how many
    relative    root mean square of the difference, relative to ours
    """

    kind: str
    says: str
    where: dict[str, list[int]] = field(default_factory=dict)
    place: str = ""
    worst: tuple[int, ...] = ()
    ours: float = 0.0
    theirs: float = 0.0
    bar: float = 0.0
    units: float = 0.0
    bad: tuple[int, int] = (0, 0)
    relative: float = 0.0


def difference(reading: Reading, judged: Judged, name: str, config: LlamaConfig, dtype: str) -> Difference:
    """How a value that disagrees differs.

    reading  theirs and ours in one shape
    judged   their distance
    dtype    that theirs was computed in
    """
    value = value_named(name)
    axes, shape = axes_of(value.shape if value is not None else (), reading.theirs.shape, config)
    if "H" not in axes and "K" in axes and shape[axes.index("K")] == config.num_attention_heads:
        axes[axes.index("K")] = "H"  # repeated for every head
    counts = np.broadcast_to(reading.counts, reading.theirs.shape)
    bad = judged.bad
    mask = mask_in_words(reading) if reading.mask_added else ""
    if mask:
        masked = hidden_apart(reading) | hides_too_much(reading)
        bad = bad & ~masked
        if not bad.any():  # where both may look, they agree
            bad = masked
            counts = counts | masked
        else:
            units = np.where(masked, 0.0, judged.units)
            judged = replace(judged, units=units, worst=float(units.max()))
            counts = counts & ~masked
    where = places(bad.reshape(shape), counts.reshape(shape), axes)

    def counting(array: np.ndarray, nothing: float) -> np.ndarray:
        return np.where(counts, array, nothing).reshape(shape)

    suspect = Suspect(
        counting(reading.theirs, 0.0),
        counting(reading.expected.truth, 0.0),
        counting(reading.expected.bar, 1.0),
        counts.reshape(shape),
        axes,
        config.head_dim,
        _numbers(config),
    )
    if mask and (bad == masked).all():
        kind, says, everywhere = "mask", mask, False
    else:
        kind, says, everywhere = _kind(suspect, where, bad, dtype)
        says = f"{says}; and {mask}" if mask else says
    where = {} if everywhere else where
    index = tuple(int(i) for i in np.unravel_index(int(judged.units.argmax()), judged.units.shape))
    with np.errstate(all="ignore"):
        off = np.where(counts, reading.theirs - reading.expected.truth, 0.0)
        relative = np.sqrt((off**2).sum() / max((np.where(counts, reading.expected.truth, 0.0) ** 2).sum(), 1e-300))
    return Difference(
        kind,
        says,
        where,
        in_words(where, axes, shape),
        index,
        float(reading.expected.truth[index]),
        float(reading.theirs[index]),
        float(reading.expected.bar[index]),
        judged.worst,
        (int(bad.sum()), judged.compared),
        float(relative),
    )


def _kind(suspect: Suspect, where: dict[str, list[int]], bad: np.ndarray, dtype: str) -> tuple[str, str, bool]:
    """Kind, words, and whether the whole value differs so, the numbers that happen to agree included."""
    theirs = suspect.theirs[suspect.counts]
    broken = ~np.isfinite(theirs)
    if broken.any():
        nan, what = np.isnan(theirs).any(), "not a number" if np.isnan(theirs).any() else "infinite"
        share = "all" if broken.all() else f"{int(broken.sum())} of {broken.size}"
        return (
            "nan" if nan else "infinite",
            f"{share} of its numbers {'are' if broken.sum() != 1 else 'is'} {what}",
            False,
        )
    if 0 < bad.sum() <= FEW_ELEMENTS and bad.sum() < bad.size / 8 and not _fills(bad, where):
        count = int(bad.sum())
        return "elements", "one number differs" if count == 1 else f"{count} numbers differ, the rest agree", False
    parts = (suspect, suspect.part(where)) if where else (suspect,)
    for patterns in (arrangement, lambda part: arithmetic(part, dtype), vectors, lambda part: coarse(part, dtype)):
        for part in parts:
            for kind, says in patterns(part):
                return kind, says, part is suspect
    return *_otherwise(suspect), False


def _fills(bad: np.ndarray, where: dict[str, list[int]]) -> bool:
    """Whether the places found make a whole head, position or row, however few numbers that is."""
    cells = 1
    sizes = [len(indices) for indices in where.values()]
    for size in sizes:
        cells *= size
    return len(where) == 1 and int(bad.sum()) > cells * 2


def _otherwise(suspect: Suspect) -> tuple[str, str]:
    theirs, ours = suspect.theirs[suspect.counts], suspect.ours[suspect.counts]
    size = float(np.sqrt((theirs**2).sum() * (ours**2).sum()))
    alike = float((theirs * ours).sum()) / size if size else 0.0
    # By chance a cosine is 1/√n; of few numbers it may be anything, and then says nothing.
    chance = min(4 / np.sqrt(max(theirs.size, 1)), 0.35)
    if abs(alike) < max(0.1, chance) and theirs.size >= 16:
        return "unlike", f"nothing in common with ours (cosine {alike:.2f})"
    return "other", f"cosine {alike:.6f} with ours" if alike < 0.999999 else "very close to ours, yet too far"


def _numbers(config: LlamaConfig) -> dict[str, float]:
    D, E = config.head_dim, config.hidden_size
    numbers = {"√D": D**0.5, "D": float(D), "√E": E**0.5, "E": float(E), "√2": 2**0.5}
    return {name: number for name, number in numbers.items() if number != 1}
