"""Greedy continuations compared token by token, in spite of near-ties.

Two correct implementations differ in the last digits of their logits. Where the two likeliest tokens are closer than
that, either may choose the other one, and from there on the two texts have nothing to do with each other. So the second
implementation is fed with the first one's tokens: at every step it is asked what it would have said, a near-tie is
noted, and the comparison goes on to the end.

    logits = logits_along(model, prompt, published_tokens)
    comparison = follow_greedy(logits, published_tokens, error_bar=2e-4)
    comparison.differences    # must be empty
    comparison.ties           # worth a line in the report
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Fork:
    """A step where a continuation could have taken, or did take, another token.

    step      0 for the first token after the prompt
    expected  the token of the other implementation
    chosen    ours: the likeliest by our logits
    gap       our logit of the likeliest token less that of the expected one, or of the runner-up where they are the
              same
    """

    step: int
    expected: int
    chosen: int
    gap: float

    def __str__(self) -> str:
        return f"step {self.step}: expected token {self.expected}, chosen {self.chosen}, logits {self.gap:.3g} apart"


@dataclass(frozen=True)
class GreedyComparison:
    """What follow_greedy found.

    steps        how many were compared
    ties         near-ties: a gap that the error bar covers, whether or not the same token was chosen
    differences  another token was chosen, and by more than the error bar: a mistake in one of the two
    """

    steps: int
    ties: tuple[Fork, ...]
    differences: tuple[Fork, ...]


def follow_greedy(logits: np.ndarray, tokens: Sequence[int] | np.ndarray, error_bar: float) -> GreedyComparison:
    """Hold our logits, step by step, to the greedy tokens of another implementation.

    logits     (N, V): ours at each step, after the prompt and the *expected* tokens before that step
    tokens     (N,): the expected ones
    error_bar  a gap between two logits that says nothing: twice the error allowed for a single logit
    returns    GreedyComparison
    raises     ValueError where the lengths differ
    """
    if len(logits) != len(tokens):
        raise ValueError(f"follow_greedy: {len(logits)} rows of logits for {len(tokens)} tokens")
    ties, differences = [], []
    for step, (row, expected) in enumerate(zip(logits, tokens, strict=True)):
        row = row.astype(np.float64)
        chosen = int(row.argmax())
        other = int(expected) if chosen != expected else _runner_up(row, chosen)
        fork = Fork(step, int(expected), chosen, float(row[chosen] - row[other]))
        if fork.gap <= error_bar:
            ties.append(fork)
        elif chosen != expected:
            differences.append(fork)
    return GreedyComparison(len(tokens), tuple(ties), tuple(differences))


def logits_along(model: Callable[..., Any], prompt: Sequence[int], tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    """The logits that a model has at each step of a continuation that is given, not its own.

    model    called as our LlamaForCausalLM: model(ids, past_key_values=…, use_cache=True)
    prompt   (T,) ids, at least one
    tokens   (N,) ids of the continuation; the prompt is prefilled, then one token a call goes through the cache
    returns  (N, V): row i before token i was seen
    """
    output = model([list(prompt)], use_cache=True)
    rows = [output.logits[0, -1]]
    for token in tokens[:-1]:
        output = model([[int(token)]], past_key_values=output.past_key_values, use_cache=True)
        rows.append(output.logits[0, -1])
    return np.stack(rows)  # (N, V)


def _runner_up(row: np.ndarray, best: int) -> int:
    rest = row.copy()
    rest[best] = -np.inf
    return int(rest.argmax())
