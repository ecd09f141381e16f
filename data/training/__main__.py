"""Make the storyteller: `python -m data.training`, from the root of the repository."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

from .plots import GRAMMAR


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m data.training", description=__doc__)
    steps = parser.add_subparsers(dest="step", metavar="step", title="single steps (none: train, evaluate, card)")
    steps.add_parser("train", help="train the tokenizer and the network; goes on where an earlier run stopped")
    steps.add_parser("evaluate", help="measure the exported network and write evaluation.json")
    steps.add_parser("card", help="write the model card and the picture of the loss")
    tell = steps.add_parser("tell", help="print stories of the grammar (needs no package)")
    tell.add_argument("count", type=int, nargs="?", default=1)
    tell.add_argument("--seed", type=int, default=0)
    judge = steps.add_parser("judge", help="say whether a text file obeys the grammar (needs no package)")
    judge.add_argument("file", help="- for standard input")
    chosen = parser.parse_args()

    if chosen.step == "tell":
        for story in itertools.islice(GRAMMAR.stories(chosen.seed), chosen.count):
            print(f"{story.text}\n({len(story.choices)} choices, {story.nats:.2f} nats)\n")
        return 0
    if chosen.step == "judge":
        text = sys.stdin.read() if chosen.file == "-" else Path(chosen.file).read_text()
        verdict = GRAMMAR.judge(text.strip())
        if verdict.obeys:
            print(f"obeys: {verdict.derivations[0].nats:.2f} nats")
            return 0
        print(f"does not obey: {verdict.problem}")
        return 1

    from . import train  # needs torch, transformers and sentencepiece; so do the steps below

    if chosen.step in (None, "train"):
        train.train()
    if chosen.step in (None, "evaluate"):
        from .evaluate import evaluate

        figures = evaluate(train.STORYTELLER)
        print(json.dumps({key: figures[key] for key in ("network", "corpus", "held_out")}, indent=2))
        print("obey the grammar:", figures["sampled"]["obey"], "of", figures["sampled"]["stories"])
    if chosen.step in (None, "card"):
        from .card import write_card

        write_card(train.STORYTELLER, train.RUN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
