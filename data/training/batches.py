"""Endless batches of fresh stories, and the held-out stories, as token ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import sentencepiece
import torch

from .grammar import Story
from .plots import GRAMMAR
from .tokenizer import BOS_ID, EOS_ID

TRAINING_SEED = 1
HELD_OUT_SEED = 2

STORIES = 16  # in a batch of single stories
POOL = 8  # batches made at once, so that stories of like length share a batch
PACKED_ROWS = 6  # in a batch of whole stories packed to the full context
IGNORE = -100  # a label that counts for nothing


class Batch(NamedTuple):
    ids: torch.Tensor  # (B, T), padded at the end
    labels: torch.Tensor  # (B, T), ids with IGNORE where there is padding
    tokens: int  # predicted ones


def encode(tokenizer: sentencepiece.SentencePieceProcessor, story: Story) -> list[int]:
    return [BOS_ID, *tokenizer.encode(story.text), EOS_ID]


def pad(rows: list[list[int]]) -> Batch:
    width = max(map(len, rows))
    ids = torch.tensor([row + [EOS_ID] * (width - len(row)) for row in rows])
    labels = torch.tensor([row + [IGNORE] * (width - len(row)) for row in rows])
    return Batch(ids, labels, int((labels[:, 1:] != IGNORE).sum()))


def training_batches(
    tokenizer: sentencepiece.SentencePieceProcessor, context: int, start: int = 0
) -> Iterator[tuple[Batch, int]]:
    """Batches of stories never told before, each with the number of the next pool's first story.

    Of every eight batches seven hold single stories, sorted by length to waste little on padding; the last holds rows
    of several whole stories, so that the network meets every position of its context.
    """
    while True:
        stream = enumerate(GRAMMAR.stories(TRAINING_SEED, start), start)
        numbered = ((encode(tokenizer, story), number) for number, story in stream)
        singles = sorted(itertools.islice(numbered, (POOL - 1) * STORIES), key=lambda pair: len(pair[0]))
        rows = [[ids for ids, _ in singles[i : i + STORIES]] for i in range(0, len(singles), STORIES)]
        packed: list[list[int]] = [[]]
        for ids, number in numbered:
            if len(packed[-1]) + len(ids) > context:
                if len(packed) == PACKED_ROWS:
                    start = number + 1
                    break
                packed.append([])
            packed[-1].extend(ids)
        # Short and long batches take turns in an order that no two neighbouring pools share.
        shift = start % POOL
        batches = rows + [packed]
        for made in batches[shift:] + batches[:shift]:
            yield pad(made), start


def held_out(tokenizer: sentencepiece.SentencePieceProcessor, count: int) -> list[tuple[Story, list[int]]]:
    stories = itertools.islice(GRAMMAR.stories(HELD_OUT_SEED), count)
    return [(story, encode(tokenizer, story)) for story in stories]
