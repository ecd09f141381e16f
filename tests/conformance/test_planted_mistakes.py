"""The properties can fail: every classic mistake is caught by the properties of its own block."""

import pytest

from numpy_llama.blocks.record import Blocks
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import PROPERTIES, block_of
from numpy_llama.conformance.runner import EXAMPLES, try_property
from numpy_llama.mistakes.wrong_blocks.table import WRONG_BLOCKS

FEW_THEN_ALL = (5, EXAMPLES)  # most are caught at once, and a pass costs all the examples


def catches(property_, mistake, **settings):
    return not try_property(property_, mistake.planted(Port()), shrink=False, **settings).passed


def calls(property_, mistake):
    """Whether a property calls the function with the mistake itself: worth trying first."""
    return mistake.field in property_.__code__.co_names


@pytest.mark.parametrize("name", WRONG_BLOCKS)
def test_a_mistake_is_caught_by_the_properties_of_its_block(name):
    mistake = WRONG_BLOCKS[name]
    # The last property first: it is the whole formula, which most mistakes break, so that the others needn't be tried.
    properties = sorted(PROPERTIES[block_of(mistake.field)], key=lambda p: calls(p, mistake))[::-1]
    assert any(catches(property_, mistake, examples=n) for n in FEW_THEN_ALL for property_ in properties)


# Where few mistakes break a property: words in their names. They are tried first, since the others cost time.
KNOWN = {
    "keeps_shape_and_dtype": "promoted to float64",
    "order_of_tokens_does_not_matter": "keys in another order than values",
    "rows_do_not_know_each_other": "first row",
    "products_know_the_distance_alone": "minus of rotate_half left out",
    "a_draw_grows_with_u": "cumulative sum from the other end",
    "a_low_score_counts_where_it_is_the_highest": "one maximum",
    "a_row_far_below_another_is_that_row_alone": "maximum over everything",
}

OF_A_BLOCK = [(block, property_) for block, row in PROPERTIES.items() if block != "model" for property_ in row]


@pytest.mark.parametrize(("block", "property_"), OF_A_BLOCK, ids=lambda value: getattr(value, "__name__", value))
def test_every_property_catches_a_mistake(block, property_):
    """A property that nothing breaks says nothing."""
    mistakes = [mistake for mistake in WRONG_BLOCKS.values() if block_of(mistake.field) == block]
    mistakes.sort(key=lambda mistake: not calls(property_, mistake))
    known = [mistake for mistake in mistakes if KNOWN.get(property_.__name__, "\n") in mistake.name]
    assert any(
        catches(property_, mistake, examples=n) for some in (known, mistakes) for n in FEW_THEN_ALL for mistake in some
    )


# The mistakes that a property of the whole model is there to catch; each is tried on that property alone.
CAUGHT_BY_THE_MODEL = {
    "the_future_changes_nothing": ("nothing masked", "a token sees the next one", "mask not used"),
    "the_past_matters": ("mask upper triangular",),
    "prefill_and_decode_are_one_pass": (
        "past tokens forgotten",
        "one cache for all layers",
        "positions from zero in every call",
        "mask forgets the cached tokens",
    ),
    "a_row_does_not_know_its_neighbours": ("mean over the whole array",),
    "padding_changes_nothing": ("padding not masked", "padding mask upside down"),
    "padding_in_the_cache_changes_nothing": ("padding not masked in the cache",),
    "only_distances_matter": ("minus of rotate_half left out", "keys and values swapped"),
    "order_of_tokens_matters": ("rotation left out",),
    "nothing_changes_its_dtype": (
        "norm promoted to float64",
        "tables in float64",
        "mask in float64",
        "cache in float64",
    ),
    "pieces_are_the_whole": ("past tokens forgotten", "one cache for all layers", "positions from zero in every call"),
    "each_row_is_alone": ("padding not masked", "padding not masked in the cache", "mean over the whole array"),
    "the_future_is_not_seen": ("nothing masked",),
    "repeated_heads_are_grouped_heads": ("key/value heads tiled instead of repeated",),
    "nothing_added_leaves_the_embedding": ("mean subtracted, as in LayerNorm", "columns of the table instead of rows"),
    "the_head_is_linear": (),  # no block can break it: tests/mistakes/ does
    "every_rope_type_is_its_formula": ("exponent −i/D instead of −2i/D",),
    "is_the_formula": ("gate and up swapped", "scores scaled by 1/√E"),
}


@pytest.mark.parametrize(
    ("property_", "name"),
    [(property_, name) for property_ in PROPERTIES["model"] for name in CAUGHT_BY_THE_MODEL[property_.__name__]],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_mistake_is_caught_in_the_whole_model(property_, name):
    assert catches(property_, WRONG_BLOCKS[name])


@pytest.mark.parametrize("field", sorted({mistake.field for mistake in WRONG_BLOCKS.values()}))
def test_a_mistake_stands_under_the_name_it_replaces(field):
    assert field in Port.__dataclass_fields__
    assert block_of(field) in PROPERTIES


def test_every_function_of_the_record_has_mistakes():
    fields = Port.__dataclass_fields__.keys()
    assert fields == {mistake.field for mistake in WRONG_BLOCKS.values()}
    assert Blocks.__dataclass_fields__.keys() < fields


def test_names_are_names():
    for name, mistake in WRONG_BLOCKS.items():
        assert name == mistake.name
        assert 0 < len(name) < 60
        assert "\n" not in name
