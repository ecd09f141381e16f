"""The picture of the README: where the embedded model looks when it has to remember a name, and what it says next.

python tutorials/pictures/readme.py        writes tutorials/pictures/readme.png
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from numpy_llama import LlamaForCausalLM, LlamaTokenizer, embedded_model_folder, observe
from numpy_llama.blocks import softmax

TEXT = (
    "Once upon a time, there was a kind girl named Mia. She had a red kite and loved it very much. "
    'One sunny day, the red kite was gone. "Where is my kite?" asked'
)
NAME = "Mia"
BLUE, ORANGE, INK = "#0072B2", "#D55E00", "#222222"  # of Okabe and Ito's palette, told apart by colour-blind eyes


def attention_of(model: LlamaForCausalLM, ids: list[int]) -> np.ndarray:
    """(L, H, T): how much the last token looks at each token, in every head of every layer."""
    rows = []

    def keep(name: str, value: np.ndarray, call: object) -> None:
        if name.endswith(".self_attn.weights"):
            rows.append(value[0, :, -1])

    with observe(keep):
        model([ids])
    return np.stack(rows)


def main() -> None:
    """Draw and save."""
    tokenizer = LlamaTokenizer.from_pretrained(embedded_model_folder())
    model = LlamaForCausalLM.from_pretrained(embedded_model_folder())
    ids = tokenizer.encode(TEXT)
    pieces = [piece.replace("▁", " ") for piece in tokenizer.convert_ids_to_tokens(ids)]
    attention = attention_of(model, ids)
    name_at = next(i for i, piece in enumerate(pieces) if piece.strip() == NAME)
    layer, head = np.unravel_index(attention[:, :, name_at].argmax(), attention.shape[:2])
    probabilities = softmax(model([ids]).logits[0, -1])
    likeliest = probabilities.argsort()[::-1][:6]

    figure, (text_axes, bar_axes) = plt.subplots(
        1, 2, figsize=(10.4, 2.9), width_ratios=(2.7, 1), constrained_layout=True
    )
    draw_text(text_axes, pieces, attention[layer, head])
    text_axes.set_title(f"Where the last word looks (layer {layer}, head {head})", fontsize=12, color=INK, loc="left")
    names = [tokenizer.convert_ids_to_tokens([int(i)])[0].replace("▁", "") for i in likeliest]
    bar_axes.barh(names, probabilities[likeliest], color=[ORANGE if n == NAME else BLUE for n in names])
    bar_axes.invert_yaxis()
    bar_axes.set_xlim(0, 1)
    bar_axes.set_xlabel("probability")
    bar_axes.set_title("What it says next", fontsize=12, color=INK, loc="left")
    bar_axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


def draw_text(axes: plt.Axes, pieces: list[str], weights: np.ndarray, width: int = 62) -> None:
    """Write the tokens in lines, each on a ground as dark as it is looked at."""
    axes.axis("off")
    column, line = 0, 0
    for index, (piece, weight) in enumerate(zip(pieces[1:], weights[1:], strict=True)):  # without <s>
        word_length = len(piece)
        if column + word_length > width and piece.startswith(" "):
            column, line = 0, line + 1
        last = index == len(pieces) - 2
        axes.text(
            column, -line, piece, family="DejaVu Sans Mono", fontsize=12, color=INK, va="center",
            weight="bold" if last else "normal",
            bbox={"facecolor": ORANGE, "alpha": float(min(1.0, weight) * 0.85), "edgecolor": "none", "pad": 2.0},
        )  # fmt: skip
        column += word_length
    axes.set_xlim(0, width + 8)
    axes.set_ylim(-line - 0.8, 0.8)


if __name__ == "__main__":
    main()
