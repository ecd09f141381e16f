"""An attention mask as a matplotlib figure: one panel for each row of the batch."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Patch

from numpy_llama.study.mask_text import EARLIER, LONGEST_LABEL, MEANINGS, MOST_ROWS, MOST_TOKENS, title

if TYPE_CHECKING:
    from numpy_llama.study.attention_mask import AttentionMaskView

# By kind of cell, as in mask_text, and one more for every other packed text. The palette of Okabe and Ito, which the
# colour-blind can tell apart; the colours differ in lightness, too, for a grey print.
COLORS = ("#eeeeee", "#0072b2", "#e69f00", "#cc3377", "#bdbdbd", "#009e73")
OTHER_TEXT = 5
FONT = "DejaVu Sans"  # comes with matplotlib
LEGEND = {**dict(enumerate(MEANINGS)), OTHER_TEXT: "the same, every other text"}


def mask_figure(view: "AttentionMaskView") -> Figure:
    """Draw a view, of a large one the first 12 rows and 100 tokens.

    returns  a Figure that belongs to no window: savefig writes it, a notebook shows it
    """
    total = view.padding.shape
    view = view.clipped(MOST_ROWS, MOST_TOKENS)
    rows, tokens = view.padding.shape
    abreast = min(rows, 3 if tokens <= 16 else 2 if tokens <= 40 else 1)
    down = -(-rows // abreast)
    labels = [[_drawable(token) for token in row] for row in view.tokens]
    longest = max(len(label) for row in labels for label in row)
    cell = 0.26 if tokens <= 40 else 0.13  # inches
    side = 0.7 + 0.09 * longest + cell * max(tokens, 8)
    width = max(5.0, 0.4 + abreast * side)
    figure = Figure(figsize=(width, 1.1 + down * side), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    panels = figure.subplots(down, abreast, squeeze=False)
    kinds = view.kinds
    kinds[(kinds == EARLIER) & (view.sequence[:, :, None] % 2 == 1)] = OTHER_TEXT
    for index, axes in enumerate(panels.flat):
        if index < rows:
            _draw(axes, kinds[index], labels[index], view.sequence[index], view.padding[index])
            if rows > 1:
                axes.set_title(f"row {index}", fontsize=10)
        else:
            axes.set_axis_off()
    figure.suptitle(title(view, *total), fontsize=12, wrap=True)
    there = [kind for kind in (2, 1, OTHER_TEXT, 3, 0, 4) if kind in kinds]
    figure.legend(
        handles=[Patch(facecolor=COLORS[kind], edgecolor="#888888", label=LEGEND[kind]) for kind in there],
        loc="outside lower center",
        ncols=max(2, min(len(there), int(width / 1.6))),
        frameon=False,
        fontsize=9,
    )
    return figure


def _draw(axes: Axes, kinds: np.ndarray, labels: list[str], sequence: np.ndarray, padding: np.ndarray) -> None:
    """One panel: queries downwards, keys to the right."""
    count = len(labels)
    colors = ListedColormap(COLORS)
    axes.pcolormesh(kinds, cmap=colors, vmin=-0.5, vmax=len(COLORS) - 0.5, edgecolors="white", linewidth=1.0)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    for border in (np.flatnonzero(np.diff(sequence)) + 1).tolist():  # between packed texts
        axes.axhline(border, color="black", linewidth=1.0)
        axes.axvline(border, color="black", linewidth=1.0)
    size = 9 if count <= 40 else 6
    places = np.arange(count) + 0.5
    axes.set_xticks(places, labels, rotation=90, fontsize=size, family=FONT, parse_math=False)
    axes.set_yticks(places, labels, fontsize=size, family=FONT, parse_math=False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("key: the token that is looked at", fontsize=9)
    axes.set_ylabel("query: the token that looks", fontsize=9)
    axes.tick_params(length=0)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for label, is_padding in zip(ticks, padding, strict=True):
            label.set_color("#999999" if is_padding else "black")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _drawable(token: str) -> str:
    """A token with what the font lacks, or no line can show, escaped; cut where it is too long."""
    escaped = (c if c.isprintable() and ord(c) in _FONT else c.encode("unicode_escape").decode("ascii") for c in token)
    label = "".join(escaped)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 3] + "..."


_FONT = FT2Font(font_manager.findfont(FONT)).get_charmap()
