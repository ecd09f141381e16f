"""A comparison as a picture: every value of every layer and call, by how many error bars it is away."""

from pathlib import Path

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from numpy_llama.model.values import VALUES, computation_order, layer_of, table_name
from numpy_llama.study.compare.comparison import ELSEWHERE, MISFIT, Comparison, Finding
from numpy_llama.study.compare.places import ranges

# Dark to light, and in steps that print and eyes of all kinds keep apart; past the border of what agrees, blue is left.
BORDERS = (0.0, 3.0, 25.0, 1e3, 1e5, 1e7)
COLORS = ("#d9e6f2", "#8fb8de", "#f6c667", "#e07b39", "#8c1c13")
LABELS = ("up to 3", "up to 25: agrees", "to 1,000", "to 100,000", "more")
MISSING = "#ffffff"
MOST_CALLS = 6
_PREFIX = "model.layers.{i}"


def comparison_figure(comparison: Comparison) -> Figure:
    """Values downwards in order of computation, layers to the right, a panel for each call.

    Of many calls six are shown: the first, or those from the one before the first that disagrees; the title says which.

    returns  a Figure that belongs to no window: savefig writes it
    """
    by_call: dict[int, list[Finding]] = {}
    for finding in comparison.findings:
        by_call.setdefault(finding.place, []).append(finding)
    calls = _chosen(comparison, list(by_call))
    rows = sorted({table_name(finding.name) for finding in comparison.findings}, key=_row)
    layers = 1 + max((layer_of(finding.name) or 0 for finding in comparison.findings), default=0)
    panel = max(1.9, 0.34 * layers + 0.5)
    figure = Figure(figsize=(3.9 + panel * len(calls), 1.9 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(calls), squeeze=False, sharey=True)[0]
    for ax, call in zip(axes, calls, strict=True):
        _panel(ax, by_call[call], rows, layers, comparison)
        number = by_call[call][0].call
        ax.set_title(f"call {number}: {comparison.kinds[call]}", fontsize=12)
        if any(layer_of(finding.name) is not None for finding in comparison.findings):
            ax.set_xlabel("layer", fontsize=11)
        else:
            ax.set_xticks([])
    axes[0].set_yticks(np.arange(len(rows)) + 0.5, [_label(row) for row in rows], fontsize=10)
    axes[0].set_ylabel("value, in order of computation" if len(rows) > 12 else "value", fontsize=11)
    figure.suptitle(_title(comparison) + _which(by_call, calls), fontsize=14, wrap=True)
    handles = [
        Patch(facecolor=color, edgecolor="#888888", label=label) for color, label in zip(COLORS, LABELS, strict=True)
    ]
    handles.append(Patch(facecolor=MISSING, edgecolor="#888888", hatch="////", label="not in theirs"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3 if len(calls) < 2 else 6, frameon=False, fontsize=10,
        title="error bars between theirs and ours, at the worst number;  × wrong by itself,  ○ only in another order",
    )  # fmt: skip
    return figure


def _chosen(comparison: Comparison, calls: list[int]) -> list[int]:
    """The calls that are drawn: the first six, or those around the first that disagrees."""
    first = 0 if comparison.first is None else calls.index(comparison.first.place)
    begin = max(0, min(first - 1, len(calls) - MOST_CALLS))
    return calls[begin : begin + MOST_CALLS]


def _panel(ax: object, findings: list[Finding], rows: list[str], layers: int, comparison: Comparison) -> None:
    units = np.full((len(rows), layers), np.nan)
    place = {}
    for finding in findings:
        row, layer = rows.index(table_name(finding.name)), layer_of(finding.name)
        worst = BORDERS[-1] if finding.verdict == MISFIT else min(finding.worst, BORDERS[-1] * 0.99)
        if layer is None:
            units[row] = worst
        else:
            units[row, layer] = worst
        place[finding.name] = (row, layer)
    norm = BoundaryNorm(BORDERS, len(COLORS))
    shown = np.ma.masked_invalid(units)
    ax.set_facecolor(MISSING)  # type: ignore[attr-defined]
    ax.pcolormesh(shown, cmap=ListedColormap(COLORS), norm=norm, edgecolors="white", linewidth=1.0)  # type: ignore[attr-defined]
    lacking = {table_name(name) for name in comparison.missing[findings[0].place]}
    for row, layer in np.argwhere(np.isnan(units)):
        if rows[row] not in lacking:
            continue  # neither has it: one new token needs no mask
        ax.add_patch(Rectangle((layer, row), 1, 1, fill=False, hatch="////", edgecolor="#cccccc", linewidth=0))  # type: ignore[attr-defined]
    first = comparison.first
    for finding in findings:
        row, layer = place[finding.name]
        left, width = (0, layers) if layer is None else (layer, 1)
        if finding is first:
            ax.add_patch(Rectangle((left, row), width, 1, fill=False, edgecolor="black", linewidth=2.5, zorder=3))  # type: ignore[attr-defined]
        elif finding.by_itself:
            ax.plot(left + width / 2, row + 0.5, "X", color="white", markeredgecolor="black", markersize=8, zorder=3)  # type: ignore[attr-defined]
        elif finding.verdict == ELSEWHERE:
            ax.plot(left + width / 2, row + 0.5, "o", color="white", markeredgecolor="black", markersize=6, zorder=3)  # type: ignore[attr-defined]
    ax.invert_yaxis() if not ax.yaxis_inverted() else None  # type: ignore[attr-defined]
    step = 1 if layers <= 16 else 4
    ax.set_xticks(np.arange(0, layers, step) + 0.5, [str(i) for i in range(0, layers, step)], fontsize=10)  # type: ignore[attr-defined]
    ax.tick_params(length=0)  # type: ignore[attr-defined]


def _title(comparison: Comparison) -> str:
    first = comparison.first
    if first is None:
        return f"{Path(comparison.theirs).name}: all values agree ({comparison.dtype})"
    return f"{Path(comparison.theirs).name}: the first that disagrees (framed) is {first.full_name}"


def _which(by_call: dict[int, list[Finding]], drawn: list[int]) -> str:
    """ "; calls 0–5 of 8", where some aren't drawn"""
    if len(drawn) == len(by_call):
        return ""
    return f"\ncalls {ranges([by_call[call][0].call for call in drawn])} of {len(by_call)}"


def _row(name: str) -> tuple[int, int]:
    order = list(VALUES)
    return (order.index(name) if name in order else len(order), computation_order(name)[2])


def _label(name: str) -> str:
    return name.removeprefix(_PREFIX + ".").removeprefix("model.") if name != _PREFIX else "layer's output"
