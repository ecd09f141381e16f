"""Judge a whole model of somebody's: `make(config, weights)` or `logits(input_ids)`; runs in the judge's process."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.embedded import embedded_model_folder
from numpy_llama.conformance.findings import Finding, as_finding, show
from numpy_llama.conformance.foreign.arrays import Border
from numpy_llama.conformance.foreign.whole import Whole, made
from numpy_llama.conformance.foreign.whole_mistakes import named_mistakes
from numpy_llama.conformance.foreign.whole_properties import PROPERTIES, lacking
from numpy_llama.conformance.foreign.whole_published import Compared, compare_cases, compare_loaded
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties.model import CONFIG, build
from numpy_llama.conformance.published_logits import config_of, in_common, logits_cases
from numpy_llama.conformance.runner import explain, sentence_of
from numpy_llama.model.config import LlamaConfig

Tell = Callable[..., None]
Attempt = Callable[[Any, Any, Tell], Any]
WHOLE_MODEL = "the whole model"


def judge_make(make: Callable[..., Any], border: Border, dtype: str, tell: Tell, attempt: Attempt) -> None:
    """A model that can be made from a config and weights: its properties, then every published case."""
    ours = build(Port())
    # The fields of a config.json as the published cases have them, with the numbers of the properties' tiny model.
    config = {**config_of(logits_cases()[0]), **_plain(CONFIG)}
    try:
        whole = made(make, config, ours.tensors, border, dtype)
    except NotImplementedError as error:
        tell(not_tried=["the properties of a whole model", f"make isn't implemented: {error}"])
    except Exception as error:
        tell(begin=MAKES)
        tell(finding=asdict(Finding("make", MAKES, False, explain(error), {"config": show(config)}, block=WHOLE_MODEL)))
        return
    else:
        _judge_properties(whole, tell, attempt)
    tell(begin=PUBLISHED)
    results = list(compare_cases(make, border, [dtype]))
    tried = [result for result in results if not result.not_tried]
    for reason in sorted({result.not_tried for result in results} - {""}):
        names = [result.case.name for result in results if result.not_tried == reason]
        tell(not_tried=[f"{len(names)} published cases ({names[0]}{', …' if len(names) > 1 else ''})", reason])
    if not tried:
        tell(skip=True)
        return
    failed = [result for result in tried if result.broken is not None]
    tell(finding=asdict(published_finding(tried, failed)))
    if failed:
        common = in_common([r.case for r in failed], [r.case for r in tried if r.broken is None])
        if common:
            tell(note=common)
        tell(mistakes={WHOLE_MODEL: named_mistakes(failed)})


MAKES = "make(config, weights) makes a model."
PUBLISHED = "Logits are those that Transformers gives."


def judge_loaded(
    logits: Callable[..., Any], border: Border, dtype: str, model: str | None, tell: Tell, attempt: Attempt
) -> None:
    """A model that is already loaded: its properties, then the logits of its checkpoint."""
    folder = embedded_model_folder() if model is None else Path(model)
    config = LlamaConfig.from_pretrained(folder)
    whole = Whole(logits, config.vocab_size, border, dtype)
    _judge_properties(whole, tell, attempt)
    tell(begin=PUBLISHED)
    compared = list(compare_loaded(whole, folder))
    failed = [(name, asked, broken) for name, asked, broken, _ in compared if broken is not None]
    sentence = f"{PUBLISHED[:-1]}: {len(compared) - len(failed)} of {len(compared)} prompts."
    if not failed:
        tell(finding=asdict(Finding("published", sentence, True, block=WHOLE_MODEL)))
        return
    name, asked, broken = failed[0]
    tell(finding=asdict(_broken("published", sentence, f"{name}: {broken.message}", asked, broken)))


def _judge_properties(whole: Whole, tell: Tell, attempt: Attempt) -> None:
    for property_, needed in PROPERTIES.items():
        reason = lacking(whole, needed)
        if reason:
            tell(not_tried=[sentence_of(property_), reason])
            continue
        verdict = attempt(property_, whole, tell)
        if verdict is not None:
            tell(finding=asdict(as_finding(verdict, WHOLE_MODEL)))


def published_finding(tried: list[Compared], failed: list[Compared]) -> Finding:
    """What became of the published cases, with the smallest that fails."""
    sentence = f"{PUBLISHED[:-1]}: {len(tried) - len(failed)} of {len(tried)} published cases."
    if not failed:
        return Finding("published", sentence, True, block=WHOLE_MODEL)
    first, broken = failed[0], failed[0].broken  # the smallest
    assert broken is not None
    asked: dict[str, Any] = {"case": first.case.name, "about": first.case.description["about"]}
    call = min(len(first.logits), len(first.case.calls)) - 1 if first.logits else 0
    for index in range(call + 1):
        prefix = f"call {index}: " if len(first.case.calls) > 1 else ""
        asked.update({prefix + name: array for name, array in first.case.inputs(index, first.dtype).items()})
    others = [result.case.name for result in failed[1:]]
    more = f"; so do {len(others)} more: {', '.join(others[:8])}{', …' if len(others) > 8 else ''}" if others else ""
    return _broken("published", sentence, f"{broken.message}; case {first.case.name} fails{more}", asked, broken)


def _broken(name: str, sentence: str, message: str, asked: dict[str, Any], broken: Any) -> Finding:
    expected = "" if broken.expected is None else show(np.asarray(broken.expected))
    got = "" if broken.got is None else show(broken.got)
    example = {key: show(value) for key, value in asked.items()}
    return Finding(name, sentence, False, message, example, expected, got, WHOLE_MODEL)


def _plain(config: LlamaConfig) -> dict[str, Any]:
    fields = config.to_dict()
    return {name: fields[name] for name in fields if name in config_of(logits_cases()[0])}
