"""Our blocks have every property of numpy_llama.conformance; the two-byte dtypes and float32 and float64 alike."""

import pytest

from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import PROPERTIES
from numpy_llama.conformance.runner import try_property
from numpy_llama.precision import DTYPES

EVERY = [(block, property_) for block, row in PROPERTIES.items() for property_ in row]


@pytest.mark.parametrize(("block", "property_"), EVERY, ids=lambda value: getattr(value, "__name__", value))
def test_ours_holds(block, property_):
    verdict = try_property(property_, Port())
    assert verdict.passed, (
        f"{verdict.sentence}\n{verdict.message}\n{verdict.example}\n{verdict.expected}\n{verdict.got}"
    )


KEEPS_DTYPE = [
    (block, property_)
    for block, property_ in EVERY
    if property_.__name__
    in (
        "keeps_shape_and_dtype",
        "nothing_changes_its_dtype",
        "any_split_gives_the_concatenation",
        "tables_are_the_formula",
    )
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("block", "property_"), KEEPS_DTYPE, ids=lambda value: getattr(value, "__name__", value))
def test_no_block_promotes_any_dtype(block, property_, dtype):
    """The same property once for each dtype, whatever the draw would have been."""

    def with_this_dtype(port, draw):
        property_(port, lambda name, strategy: DTYPES[dtype] if name == "dtype" else draw(name, strategy))

    verdict = try_property(with_this_dtype, Port(), examples=3)
    assert verdict.passed, verdict.message


def test_every_block_has_a_property_about_its_dtype():
    """The sampler aside, whose logits are float32 or float64 and whose rules check that they stay so."""
    assert {block for block, _ in KEEPS_DTYPE} == PROPERTIES.keys() - {"sampler"}
