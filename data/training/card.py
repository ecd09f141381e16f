"""Write the model card and the picture of the loss, from the figures that training and evaluation left behind."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template

import matplotlib

from . import batches, evaluate, tokenizer, train
from .network import storyteller_config
from .words import NAMES, PLACES, SPOTS, THINGS

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PROMISED_EXCESS = 0.03
PROMISED_SHARE = 0.95


def draw(log: list[dict], path: Path) -> None:
    """The held-out loss against the entropy it cannot beat, and the distance between the two."""
    millions = [line["tokens"] / 1e6 for line in log]
    entropy = log[-1]["held_out"] - log[-1]["excess"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    left.plot(millions, [line["held_out"] for line in log], label="held-out loss")
    left.axhline(entropy, color="black", linestyle="--", linewidth=1, label=f"entropy, {entropy:.3f}")
    left.set(xlabel="million tokens seen", ylabel="nats a token", ylim=(0, 1), title="Loss")
    left.legend(frameon=False)
    right.plot(millions, [line["excess"] for line in log], label="held-out loss − entropy")
    right.axhline(PROMISED_EXCESS, color="tab:red", linestyle=":", label=f"aim: at most {PROMISED_EXCESS}")
    right.set(xlabel="million tokens seen", ylabel="nats a token", yscale="log", title="Loss above the entropy")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def verdict(kept: bool) -> str:
    return "reached" if kept else "**missed**"


def facts(figures: dict, last: dict) -> dict[str, object]:
    """What the card says, by the names that its template uses."""
    config = storyteller_config()
    network, corpus, held_out, sampled = (figures[part] for part in ("network", "corpus", "held_out", "sampled"))
    more = figures["sampled_more"]
    problems = [f"- {failure['problem']}" for failure in sampled["failures"]]
    return {
        "parameters": f"{network['parameters']:,}",
        "megabytes": f"{network['bytes'] / 1e6:.2f}",
        "first_story": sampled["samples"][0],
        "second_story": sampled["samples"][1],
        "held_out_stories": f"{held_out['stories']:,}",
        "held_out_tokens": f"{held_out['tokens']:,}",
        "loss": f"{held_out['loss']:.4f}",
        "entropy": f"{held_out['entropy']:.4f}",
        "excess": f"{held_out['excess']:.4f}",
        "standard_error": f"{held_out['standard_error']:.4f}",
        "promised_excess": PROMISED_EXCESS,
        "excess_kept": verdict(held_out["excess"] <= PROMISED_EXCESS),
        "temperature": sampled["temperature"],
        "obey": sampled["obey"],
        "sampled": sampled["stories"],
        "share": f"{100 * sampled['share']:.1f}",
        "promised_share": f"{100 * PROMISED_SHARE:.0f}",
        "share_kept": verdict(sampled["share"] >= PROMISED_SHARE),
        "more_sampled": f"{more['stories']:,}",
        "more_obey": more["obey"],
        "more_share": f"{100 * more['share']:.1f}",
        "distinct": sampled["distinct"],
        "plots_used": len(sampled["plots"]),
        "slips": "\n".join(["Where the others went wrong:", "", *problems]) if problems else "",
        "plots": corpus["plots"],
        "corpus_stories": f"{corpus['stories']:.1e}",
        "nats_per_story": f"{corpus['nats_per_story']:.2f}",
        "names": len(NAMES),
        "things": len(THINGS),
        "places": len(PLACES) + len(SPOTS),
        "curve_stories": train.HELD_OUT_STORIES,
        "hidden": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "intermediate": config.intermediate_size,
        "eps": config.rms_norm_eps,
        "context": config.max_position_embeddings,
        "tokens": f"{last['tokens']:,}",
        "steps": f"{last['step']:,}",
        "minutes": f"{last['seconds'] / 60:.0f}",
        "batch": batches.STORIES,
        "packed": batches.PACKED_ROWS,
        "muon_rate": train.MUON_RATE,
        "momentum": train.MOMENTUM,
        "embedding_rate": train.EMBEDDING_RATE,
        "head_rate": train.HEAD_RATE,
        "warm_up": f"{train.WARM_UP:,}",
        "legs": ", ".join(f"from {share:.0%} to nothing at {end:,} tokens" for end, share in train.LEGS),
        "clip": train.CLIP,
        "training_seed": batches.TRAINING_SEED,
        "held_out_seed": batches.HELD_OUT_SEED,
        "tokenizer_seed": tokenizer.CORPUS_SEED,
        "network_seed": train.NETWORK_SEED,
        "sampling_seed": evaluate.SAMPLING_SEED,
        "versions": ", ".join(f"{name} {version}" for name, version in figures["versions"].items()),
        "vocab": f"{tokenizer.VOCAB_SIZE:,}",
        "tokenizer_stories": f"{tokenizer.CORPUS_STORIES:,}",
    }


def write_card(folder: Path, run: Path) -> None:
    """Write README.md, loss.png and training_log.jsonl into the storyteller's folder."""
    if (run / "log.jsonl").exists():
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        kept = ("step", "tokens", "seconds", "held_out", "excess")
        text = "".join(json.dumps({name: line[name] for name in kept}) + "\n" for line in lines)
        (folder / "training_log.jsonl").write_text(text)
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    figures = json.loads((folder / "evaluation.json").read_text())
    draw(log, folder / "loss.png")
    template = Template((Path(__file__).parent / "card.md").read_text())
    (folder / "README.md").write_text(template.substitute(facts(figures, log[-1])))
