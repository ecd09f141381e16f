"""Run `generate` of Transformers, and write a file for each case: data/published_logits/generation/."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from numpy_llama.reference.case import Case
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.case_file import CaseWriter
from numpy_llama.reference.case_generation import generation_cases
from numpy_llama.reference.publish_cases import load_class
from numpy_llama.reference.record import provenance, to_torch, true_to_dtype

JITTER = 1e-5  # of each weight: a hundred roundings of float32


def publish_generation(folder: Path, command: str) -> list[int]:
    """Write every case; returns the sizes."""
    cases = list(generation_cases())
    folder.mkdir(parents=True, exist_ok=True)
    for stale in set(folder.glob("*.safetensors")) - {folder / f"{case.name}.safetensors" for case in cases}:
        stale.unlink()
    return [_publish(case, folder, command) for case in cases]


def _publish(case: Case, folder: Path, command: str) -> int:
    """raises  AssertionError where a token hangs on the last bits, so that an implementation could choose another"""
    draws = Draws(f"generation {case.name}")
    weights = draw_weights(case.class_name, case.config, draws)
    shaken = {name: array * (1 + draws.evenly(array.shape, JITTER)) for name, array in weights.items()}
    writer = CaseWriter()
    writer.weights(weights)
    for call in case.calls:
        writer.call(call.inputs, call.arguments)
    texts = [generate(case, tensors, dtype) for tensors in (weights, shaken) for dtype in ("float64", "float32")]
    for index, sequences in enumerate(zip(*texts, strict=True)):
        results = {str(number): array for number, array in enumerate(sequences)}
        writer.exact_output(index, "sequences", results)
    description = {
        "name": case.name,
        "about": case.about,
        "class": case.class_name,
        "config": case.config,
        "made_by": {"command": command, **provenance()},
    }
    return writer.write(folder / f"{case.name}.safetensors", description)


def generate(case: Case, weights: Mapping[str, np.ndarray], dtype: str) -> list[np.ndarray]:
    """The sequences of every call, (R, T + N) each, prompts included."""
    model = load_class(case.class_name, case.config, dict(weights), dtype, "eager")
    with torch.no_grad(), true_to_dtype(model):
        return [
            model.generate(**{name: to_torch(array) for name, array in call.inputs.items()}, **call.arguments).numpy()
            for call in case.calls
        ]
