"""Runs of a small model, and of the embedded one, to be stepped through."""

import pytest

from numpy_llama.study.step import Session, first_run


@pytest.fixture(scope="package")
def small_run(make_model):
    """A prefill of five tokens and two decode steps of a model of two layers."""
    return first_run(make_model(), [1, 17, 3, 58, 40], steps=2)


@pytest.fixture
def session(small_run):
    return Session(small_run.trace, lambda token_id: f"t{token_id}", small_run)
