"""What quantization costs, as a matplotlib figure: the error of each matrix by layer, and the perplexity."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from numpy_llama.study.quantization import QuantizationReport

# A mark and a colour for each matrix: the palette of Okabe and Ito, which the colour-blind can tell apart.
STYLES = {
    "q_proj": ("o", "#0072b2"),
    "k_proj": ("s", "#56b4e9"),
    "v_proj": ("D", "#009e73"),
    "o_proj": ("^", "#000000"),
    "gate_proj": ("v", "#d55e00"),
    "up_proj": ("P", "#e69f00"),
    "down_proj": ("X", "#cc79a7"),
}


def quantization_figure(report: QuantizationReport, title: str) -> Figure:
    """Draw a report.

    returns  a Figure that belongs to no window: savefig writes it, a notebook shows it
    """
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    errors, bars = figure.subplots(1, 2, width_ratios=(3, 1))
    for name, (mark, color) in STYLES.items():
        of_it = [(matrix.layer, matrix.relative) for matrix in report.matrices if matrix.name == name]
        layers, relative = zip(*of_it, strict=True)
        errors.plot(layers, relative, marker=mark, color=color, markersize=5, linewidth=1.2, label=name)
    errors.set_ylim(bottom=max(0.0, errors.get_ylim()[0]))
    errors.set_xlabel("layer")
    errors.set_ylabel("relative error ‖W − Ŵ‖ / ‖W‖")
    errors.xaxis.set_major_locator(MaxNLocator(integer=True))
    errors.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(ncols=len(STYLES), fontsize=8, frameon=False, loc="outside lower center")
    errors.grid(alpha=0.3)

    labels = ["float32", f"int{report.quantization.bits}"]
    values = [one.value for one in report.perplexities]
    drawn = bars.bar(labels, values, color=["#999999", "#0072b2"], width=0.6)
    bars.bar_label(drawn, [f"{value:.4g}" for value in values], padding=2)
    bars.set_ylabel("perplexity")
    bars.margins(y=0.12)
    for axes in (errors, bars):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure
