"""Every mistake that the litmus models expose leaves logits of its own: nobody's, and no other mistake's."""

import itertools

import numpy as np
import pytest

from numpy_llama import LlamaForCausalLM
from numpy_llama.checkpoints import data_folder
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.study.subject import Subject, calls_of
from numpy_llama.study.trace import load_trace

FOLDER = data_folder() / "litmus"
APART = 100  # times the rounding error of float32: what tells two fingerprints apart


def litmus(folder):
    model = LlamaForCausalLM.from_pretrained(folder)
    return Subject(model.config, model.tensors, calls_of(load_trace(folder / "script.safetensors")))


def real_logits(subject, logits):
    """Those of tokens, of all calls, in a row: (N,) float64."""
    kept = []
    for asked, of_call in zip(subject.calls, logits, strict=True):
        T = asked.input_ids.shape[1]
        real = np.ones(asked.input_ids.shape, bool)
        if asked.attention_mask is not None:
            real = asked.attention_mask[:, -T:] == 1
        kept.append(of_call[real].astype(np.float64).ravel() if of_call.shape[1] == T else None)
    return None if any(k is None for k in kept) else np.concatenate(kept)


def exposed(subject):
    """The visible mistakes that this model and its script expose."""
    return {
        key: mistake
        for key, mistake in CATALOGUE.items()
        if not mistake.invisible
        and not mistake.rounding
        and all(EXPOSURES[name].holds(subject) for name in mistake.exposed_by)
    }


@pytest.fixture(scope="module", params=["litmus", "plain"])
def fingerprints(request):
    """(rounding error of float32, {(key, label): logits}); the honest logits under ("", "")."""
    subject = litmus(FOLDER if request.param == "litmus" else FOLDER / "plain")
    honest = real_logits(subject, subject.run())
    truth = real_logits(subject, subject.in_dtype("float64").run())
    prints = {("", ""): honest}
    for key, mistake in exposed(subject).items():
        for label, planted in mistake.plant(subject):
            logits = real_logits(subject, planted.run())
            if logits is not None:  # a token more or fewer is a fingerprint, too
                prints[key, label] = logits
    return np.abs(honest - truth).max(), prints


def test_every_mistake_shows(fingerprints):
    """In one of its variants at least: positions that ignore padding in every call are all shifted alike."""
    rounding, prints = fingerprints
    honest, shown = prints["", ""], dict[str, float]()
    for (key, _), logits in prints.items():
        if key:
            with np.errstate(invalid="ignore"):
                shown[key] = max(shown.get(key, 0), np.nan_to_num(np.abs(logits - honest), nan=np.inf).max())
    assert {key: apart / rounding for key, apart in shown.items() if not apart > APART * rounding} == {}


def test_all_mistakes_differ_pairwise_by_a_hundred_rounding_errors(fingerprints):
    rounding, prints = fingerprints
    alike = []
    for one, other in itertools.combinations(prints, 2):
        if not one[0] or one[0] == other[0] or other[0] in CATALOGUE[one[0]].twins:
            continue
        apart = np.abs(prints[one] - prints[other]).max()
        if not apart > APART * rounding and np.isfinite(apart):
            alike.append(f"{one} and {other}: {apart / rounding:.3g} rounding errors")
    assert not alike, "\n".join(alike)


def test_the_two_models_expose_all_that_a_model_of_their_kind_can():
    """What neither shows needs another rope type, another activation or two-byte numbers."""
    shown = set().union(*(exposed(litmus(folder)) for folder in (FOLDER, FOLDER / "plain")))
    visible = {key for key, mistake in CATALOGUE.items() if not mistake.invisible and not mistake.rounding}
    unusual = {name for name in EXPOSURES if "rope" in name or "activation" in name or "gelu" in name}
    assert {key for key in visible - shown if not set(CATALOGUE[key].exposed_by) & unusual} == set()
