"""The published cases of the sampler: (logits, settings, uniforms) → tokens.

Two references that share nothing are asked, and must agree. Transformers' own processors say which tokens are kept. An
exact reference, below, in sixty decimal digits, finds the kept tokens once more, their probabilities, and the token
that each uniform number falls on. No uniform falls within MARGIN of a border between two tokens, and no token is within
MARGIN of the border between kept and removed, so an implementation in float32 must agree, too. The one exception is
said in its case.
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import torch
import transformers
from transformers.generation import logits_process

MARGIN = 1e-5  # a hundred roundings of float32
NONE = -float("inf")
LAST_DOUBLE = 1 - 2**-53  # the largest float64 below 1, which a generator does return once in 2^53 draws

RULES = (
    ("repetition_penalty", logits_process.RepetitionPenaltyLogitsProcessor),
    ("temperature", logits_process.TemperatureLogitsWarper),
    ("top_k", logits_process.TopKLogitsWarper),
    ("top_p", logits_process.TopPLogitsWarper),
    ("min_p", logits_process.MinPLogitsWarper),
)  # in the order in which they are applied


def sampler_cases() -> dict[str, Any]:
    """The content of data/published_sampler/cases.json."""
    return {
        "command": "python -m numpy_llama.reference.publish",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "margin": MARGIN,
        "order": [name for name, _ in RULES],
        "cases": [*_named_cases(), *_drawn_cases()],
    }


def _named_cases() -> list[dict[str, Any]]:
    evenly = [0.0, 0.124, 0.126, 0.3, 0.5001, 0.74, 0.876, 0.9997]
    hill = [-1.0, 0.5, 2.0, 3.0, 2.5, 1.0, 0.0, -2.0]
    odd = [1.0, 2.0, NONE, 3.0, NONE]
    tied = [1.0, 3.0, 3.0, 2.0, 3.0]
    return [
        _case("one token", [0.3], {}, evenly),
        _case("all alike", [2.5] * 8, {}, evenly),
        _case("zero falls on the first", hill, {}, [0.0]),
        _case("ruled-out tokens are never drawn", odd, {}, evenly),
        _case("zero skips ruled-out tokens", [NONE, NONE, 0.0, 0.0], {}, [0.0, 0.49, 0.51]),
        _case("the last double below one falls on the last token that can be drawn", odd, {}, [LAST_DOUBLE]),
        _case("large logits don't overflow", [1000.0, 999.0, 1001.0, -1000.0], {}, evenly),
        _case("very small logits don't vanish", [-1000.0, -999.0, -1001.0], {}, evenly),
        _case("low temperature", hill, {"temperature": 0.1}, evenly),
        _case("high temperature", hill, {"temperature": 5.0}, evenly),
        _case("top 1", hill, {"top_k": 1}, evenly),
        _case("top 3", hill, {"top_k": 3}, evenly),
        _case("all that equal the k-th are kept", tied, {"top_k": 2}, evenly),
        _case("top_k past the vocabulary keeps all", hill, {"top_k": 50}, evenly),
        _case("top_p keeps the token that crosses it", hill, {"top_p": 0.6}, evenly),
        _case("top_p near zero keeps one", hill, {"top_p": 0.0001}, evenly),
        _case("top_p near one", hill, {"top_p": 0.999}, evenly),
        _case("min_p", hill, {"min_p": 0.2}, evenly),
        _case("min_p near one keeps the likeliest, all of them", tied, {"min_p": 0.99}, evenly),
        _case(
            "a penalty divides positive logits and multiplies negative ones",
            hill,
            {"repetition_penalty": 1.5},
            evenly,
            [2, 7],
        ),
        _case("a token seen twice is penalised once", hill, {"repetition_penalty": 2.0}, evenly, [3, 3, 3, 0, 0]),
        _case("a penalty below one makes repetition likelier", hill, {"repetition_penalty": 0.5}, evenly, [5, 0]),
        _case("temperature comes before top_p", hill, {"temperature": 2.0, "top_p": 0.7}, evenly),
        _case("top_k comes before top_p, which sees new probabilities", hill, {"top_k": 3, "top_p": 0.8}, evenly),
        _case(
            "the penalty comes before temperature", hill, {"repetition_penalty": 1.2, "temperature": 0.5}, evenly, [3]
        ),
    ]


def _drawn_cases() -> list[dict[str, Any]]:
    """Random logits under every kind of setting, alone and together."""
    generator = np.random.default_rng(20)
    cases = []
    settings: list[dict[str, float]] = [
        {},
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"repetition_penalty": 1.3},
        {"temperature": 0.8, "top_k": 10, "top_p": 0.95},
        {"temperature": 1.3, "min_p": 0.1},
        {"repetition_penalty": 1.1, "temperature": 0.9, "top_k": 20, "top_p": 0.85, "min_p": 0.02},
    ]
    for size in (16, 48):
        for chosen in settings:
            logits = [round(float(x), 4) for x in 2.5 * generator.standard_normal(size)]
            ids = [int(i) for i in generator.integers(0, size, 12)] if "repetition_penalty" in chosen else []
            uniforms = [round(float(u), 6) for u in generator.random(12)]
            name = f"{size} random logits, " + (", ".join(chosen) or "no rule")
            cases.append(_case(name, logits, chosen, uniforms, ids))
    return cases


def _case(
    name: str, logits: list[float], settings: dict[str, float], uniforms: list[float], ids: Sequence[int] = ()
) -> dict[str, Any]:
    """One case, both references asked.

    raises  AssertionError where they disagree, or where the case is closer to a border than MARGIN
    """
    processed = kept_by_transformers(logits, settings, ids)
    with localcontext(prec=60):
        weights = exact_weights(logits, settings, ids)
        total = sum(weights)
        kept = [token for token, weight in enumerate(weights) if weight]
        assert kept == [token for token, logit in enumerate(processed) if logit > NONE], name
        tokens = [exact_draw(weights, uniform, name) for uniform in uniforms]
        probabilities = [float(weight / total) for weight in weights]
    return {
        "name": name,
        "settings": settings,
        "ids": list(ids),
        "logits": [None if logit == NONE else logit for logit in logits],  # JSON has no infinity
        "kept": kept,
        "probabilities": probabilities,
        "uniforms": uniforms,
        "tokens": tokens,
    }


def kept_by_transformers(logits: Sequence[float], settings: dict[str, float], ids: Sequence[int]) -> list[float]:
    """The logits after Transformers' own processors, in float64; −∞ where a token is removed."""
    scores = torch.tensor([logits], dtype=torch.float64)
    for name, processor in RULES:
        if name in settings:
            scores = processor(settings[name])(torch.tensor([list(ids)], dtype=torch.int64), scores)
    return [float(score) for score in scores[0]]


def exact_weights(logits: Sequence[float], settings: dict[str, float], ids: Sequence[int]) -> list[Decimal]:
    """exp(logit) of every kept token, 0 for the others: each rule by its definition, in the context's precision."""
    set_to = {name: Decimal(value) for name, value in settings.items()}
    exact: list[Decimal | None] = [None if logit == NONE else Decimal(logit) for logit in logits]
    for token in sorted(set(ids)):
        logit, penalty = exact[token], set_to["repetition_penalty"]
        if logit is not None:
            exact[token] = logit * penalty if logit < 0 else logit / penalty
    shift = max(logit for logit in exact if logit is not None)
    heat = set_to.get("temperature", Decimal(1))
    weights = [Decimal(0) if logit is None else ((logit - shift) / heat).exp() for logit in exact]
    falling = sorted(range(len(weights)), key=lambda token: -weights[token])
    if "top_k" in set_to:
        k = min(int(set_to["top_k"]), len(weights))
        smallest = weights[falling[k - 1]]
        weights = [weight if weight >= smallest else Decimal(0) for weight in weights]
    if "top_p" in set_to:
        total, before = sum(weights), Decimal(0)
        for token in falling:
            _far_enough(before / total, set_to["top_p"])
            share, weights[token] = weights[token], weights[token] if before / total < set_to["top_p"] else Decimal(0)
            before += share
    if "min_p" in set_to:
        largest = max(weights)
        for weight in weights:
            _far_enough(weight / largest, set_to["min_p"])
        weights = [weight if weight / largest >= set_to["min_p"] else Decimal(0) for weight in weights]
    return weights


def exact_draw(weights: Sequence[Decimal], uniform: float, name: str = "") -> int:
    """The first token at which the running sum of probabilities is larger than the uniform number."""
    total, running = sum(weights), Decimal(0)
    chosen = None
    for token, weight in enumerate(weights):
        running += weight
        if uniform not in (0.0, LAST_DOUBLE):  # on the border of the first and of the last token, as they should be
            _far_enough(running / total, Decimal(uniform), name)
        if chosen is None and running / total > Decimal(uniform):
            chosen = token
    assert chosen is not None
    return chosen


def _far_enough(value: Decimal, border: Decimal, name: str = "") -> None:
    assert abs(value - border) >= Decimal(MARGIN), f"{name}: {value:.8f} is too close to {border:.8f}"
