"""Measure the storyteller as exported: its loss above the entropy of the corpus, and how well its stories obey."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections import Counter
from pathlib import Path

import sentencepiece
import torch
from transformers import LlamaForCausalLM

from .batches import HELD_OUT_SEED, held_out, pad
from .network import CONTEXT, load
from .plots import GRAMMAR
from .tokenizer import BOS_ID, EOS_ID, load_tokenizer

HELD_OUT_STORIES = 1000
SAMPLED_STORIES = 200
MORE_STORIES = 1000  # others, for a firmer figure
TEMPERATURE = 0.8
SAMPLING_SEED = 0
MORE_SEED = 1
ROWS = 25  # stories in a batch

PACKAGES = ("torch", "transformers", "sentencepiece", "safetensors", "numpy")


@torch.no_grad()
def measure_loss(network: LlamaForCausalLM, tokenizer: sentencepiece.SentencePieceProcessor, count: int) -> dict:
    """Loss and entropy of the same held-out stories, in nats a token. `</s>` counts as a token, `<s>` does not.

    The entropy of a story is the exact -log p of its choices, so the difference, story by story, is free of the luck of
    which stories were drawn; its standard error is that of the mean of these differences.
    """
    pairs = sorted(held_out(tokenizer, count), key=lambda pair: len(pair[1]))
    losses: list[float] = []
    entropies: list[float] = []
    lengths: list[int] = []
    for start in range(0, count, ROWS):
        chunk = pairs[start : start + ROWS]
        entropies += [story.nats for story, _ in chunk]
        lengths += [len(ids) - 1 for _, ids in chunk]
        batch = pad([ids for _, ids in chunk])
        logits = network(batch.ids, use_cache=False).logits
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), batch.labels[:, 1:], reduction="none")
        losses += each.sum(dim=1).tolist()
    tokens = sum(lengths)
    excess = (sum(losses) - sum(entropies)) / tokens
    spread = sum((a - b - excess * n) ** 2 for a, b, n in zip(losses, entropies, lengths, strict=True))
    return {
        "stories": count,
        "seed": HELD_OUT_SEED,
        "tokens": tokens,
        "loss": round(sum(losses) / tokens, 5),
        "entropy": round(sum(entropies) / tokens, 5),
        "excess": round(excess, 5),
        "standard_error": round(math.sqrt(spread) / tokens, 5),
    }


@torch.no_grad()
def sample(network: LlamaForCausalLM, prompt: list[int], rows: int, temperature: float) -> list[list[int]]:
    """Continue a prompt until `</s>` or the end of the context. Nothing cuts the distribution but the temperature."""
    ids = torch.tensor([prompt] * rows)
    told = [list(prompt) for _ in range(rows)]
    cache = None
    for _ in range(CONTEXT - len(prompt)):
        output = network(ids, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        ids = torch.multinomial(torch.softmax(output.logits[:, -1] / temperature, dim=-1), 1)  # (B, 1)
        for row, token in zip(told, ids[:, 0].tolist(), strict=True):
            if row[-1] != EOS_ID:
                row.append(token)
        if all(row[-1] == EOS_ID for row in told):
            break
    return told


def measure_stories(
    network: LlamaForCausalLM, tokenizer: sentencepiece.SentencePieceProcessor, count: int, seed: int
) -> dict:
    """Tell stories from `<s>` alone and judge each by the grammar. One that never ends does not obey."""
    torch.manual_seed(seed)
    told = [row for _ in range(0, count, ROWS) for row in sample(network, [BOS_ID], ROWS, TEMPERATURE)][:count]
    plots = list(GRAMMAR.plots)
    texts, failures = [], []
    plot_counts: Counter[str] = Counter()
    for row in told:
        text = tokenizer.decode([token for token in row if token not in (BOS_ID, EOS_ID)])
        texts.append(text)
        verdict = GRAMMAR.judge(text)
        if row[-1] != EOS_ID:
            failures.append({"problem": "the story does not end", "text": text})
        elif not verdict.obeys:
            failures.append({"problem": verdict.problem, "text": text})
        else:
            plot_counts[plots[verdict.derivations[0].choices[0].taken]] += 1
    return {
        "stories": count,
        "temperature": TEMPERATURE,
        "seed": seed,
        "obey": count - len(failures),
        "share": round(1 - len(failures) / count, 4),
        "distinct": len(set(texts)),
        "plots": dict(sorted(plot_counts.items())),
        "failures": failures,
        "samples": texts[:2],
    }


def evaluate(folder: Path, held_out_stories: int = HELD_OUT_STORIES, sampled: int = SAMPLED_STORIES) -> dict:
    """Measure the folder's network; writes evaluation.json beside it and returns what it wrote."""
    network, tokenizer = load(folder), load_tokenizer(folder)
    entropy, distinct = GRAMMAR.spread()
    more = measure_stories(network, tokenizer, MORE_STORIES, MORE_SEED)
    more = {key: more[key] for key in ("stories", "temperature", "seed", "obey", "share", "distinct")}
    result = {
        "network": {
            "parameters": sum(p.numel() for p in network.parameters()),
            "bytes": (folder / "model.safetensors").stat().st_size,
        },
        "corpus": {"plots": len(GRAMMAR.plots), "stories": distinct, "nats_per_story": round(entropy, 5)},
        "held_out": measure_loss(network, tokenizer, held_out_stories),
        "sampled": measure_stories(network, tokenizer, sampled, SAMPLING_SEED),
        "sampled_more": more,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name).split("+")[0] for name in PACKAGES},
    }
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    return result
