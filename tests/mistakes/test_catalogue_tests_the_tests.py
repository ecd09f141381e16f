"""The catalogue tests the tests: each mistake in it must break properties, and published values, where it is exposed.

A mistake that slips through is a hole in our tests.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest
from safetensors import safe_open

from numpy_llama.blocks.record import Blocks
from numpy_llama.checkpoints import data_folder, embedded_model_folder
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import PROPERTIES, block_of, whole_model
from numpy_llama.conformance.published_cases import PublishedCase, differences, run_model
from numpy_llama.conformance.published_logits import compare_logits, logits_cases
from numpy_llama.conformance.rounding import Broken
from numpy_llama.conformance.runner import EXAMPLES, try_property
from numpy_llama.files import read_json
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.mistakes.planting import with_observer
from numpy_llama.model import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.study.subject import Asked, Subject

PUBLISHED = data_folder() / "published_logits"
FEW_THEN_ALL = (5, EXAMPLES)  # most are caught at once, and a pass costs all the examples
# The whole formula first, which most mistakes break.
OF_A_MODEL = whole_model.PROPERTIES[::-1]

# Where the block that is swapped isn't wrong itself: it only remembers its tables for what comes later.
RIGHT_IN_ITSELF = {"rope-on-values"}
# In float64 a rounding in two bytes has no place, so whole models, which are judged in it, can't show these. They are
# seen in the blocks' properties, in two bytes.
IN_TWO_BYTES_ONLY = {"norm-in-half", "norm-rounded-after-weight"}
# What shows in no logits by definition: a mask of −10⁴ breaks the properties of causal_mask; shifted positions show in
# published inner values, and in logits where rope types look at positions themselves (dynamic, longrope).
INVISIBLE = {"mask-minus-1e4", "positions-shifted"}
# Published masks are booleans (who sees whom), published scores stand where something is seen, and hidden keys have the
# weight 0 either way: no number of Transformers' says what hides them.
UNPUBLISHED = {"mask-minus-1e4"}


pytestmark = pytest.mark.filterwarnings("ignore::numpy_llama.LlamaWarning")  # many cases go past the trained context


@pytest.fixture(autouse=True)
def silence():
    with np.errstate(all="ignore"):  # a mistake may divide by zero
        yield


# -- subjects ----------------------------------------------------------------------------------------------------------


def subject_of(case, dtype):
    calls, past = [], 0
    for index in range(len(case.calls)):
        calls.append(Asked(**case.inputs(index, dtype), past=past))
        past += calls[-1].input_ids.shape[1]
    return Subject(LlamaConfig.from_dict(case.description["config"]), case.weights(dtype), calls)


@cache
def published(dtype):
    """(case, subject) of every published case that a model of ids and logits can be asked, the smallest first."""
    return [(case, subject_of(case, dtype)) for case in logits_cases()]


@cache
def embedded(dtype):
    """(name, subject): the embedded model and one of the published prompts."""
    prompt = read_json(PUBLISHED / "prompts.json")["prompts"][0]
    model = LlamaForCausalLM.from_pretrained(embedded_model_folder(), dtype)
    return prompt["name"], Subject(model.config, model.tensors, [Asked(np.array([prompt["ids"]]))])


@cache
def stored(dtype, name):
    with safe_open(PUBLISHED / f"{dtype}.safetensors", framework="np") as file:
        return file.get_tensor(name)


def exposed(mistake, subject):
    return all(EXPOSURES[name].holds(subject) for name in mistake.exposed_by)


def subjects():
    for dtype in ("float32", "bfloat16"):
        yield from (subject for _, subject in published(dtype))
        yield embedded(dtype)[1]


@cache
def variants(key):
    """label → (subject, planted) of each way in which a mistake is made, in the first published model that shows it."""
    found = {}
    for subject in subjects():
        if found and subject.config.num_hidden_layers > 4:
            continue  # what can be done to each layer is shown with a few of them
        if exposed(CATALOGUE[key], subject):
            for label, planted in CATALOGUE[key].plant(subject):
                found.setdefault(label, (subject, planted))
    return found


EVERY = [(key, label) for key in CATALOGUE for label in variants(key)]


def test_every_mistake_can_be_planted_in_some_published_model():
    assert {key for key, _ in EVERY} == CATALOGUE.keys()


# -- properties --------------------------------------------------------------------------------------------------------


class Planted(Port):
    """A port that makes a mistake in whatever it is asked, where it can be made."""

    def __init__(self, key, label):
        super().__init__()
        object.__setattr__(self, "planted", (key, label))

    def run(self, subject):
        key, label = self.planted
        return dict(CATALOGUE[key].plant(subject)).get(label, subject).run()


def breaks(port, properties):
    return any(
        not try_property(property_, port, shrink=False, examples=n).passed
        for n in FEW_THEN_ALL
        for property_ in properties
    )


def swapped(subject, planted):
    """The blocks that a mistake has put in."""
    names = [field.name for field in dataclasses.fields(Blocks)]
    both = {name: (getattr(subject.blocks, name), getattr(planted.blocks, name)) for name in names}
    return {name: now for name, (before, now) in both.items() if now is not before}


IN_BLOCKS = [(key, label) for key, label in EVERY if swapped(*variants(key)[label]) and key not in RIGHT_IN_ITSELF]


@pytest.mark.parametrize(("key", "label"), IN_BLOCKS)
def test_a_mistake_in_a_block_breaks_the_properties_of_that_block(key, label):
    blocks = swapped(*variants(key)[label])
    of_blocks = [property_ for block in {block_of(name) for name in blocks} for property_ in PROPERTIES[block][::-1]]
    assert breaks(dataclasses.replace(Port(), **blocks), of_blocks)


@pytest.mark.parametrize(("key", "label"), [each for each in EVERY if each[0] not in IN_TWO_BYTES_ONLY | INVISIBLE])
def test_a_mistake_breaks_the_properties_of_a_whole_model(key, label):
    assert breaks(Planted(key, label), OF_A_MODEL)


CAUGHT = {
    "pieces_are_the_whole": "cache-keys-before-rotation",
    "each_row_is_alone": "positions-of-first-row",
    "the_future_is_not_seen": "mask-shows-one-ahead",
    "repeated_heads_are_grouped_heads": "query-heads-regrouped",
    "nothing_added_leaves_the_embedding": "residual-missing-mlp",
    "the_head_is_linear": "logits-soft-capped",
    "every_rope_type_is_its_formula": "rope-scaling-missing",
    "is_the_formula": "layers-sorted-as-text",
}


@pytest.mark.parametrize("property_", whole_model.PROPERTIES, ids=lambda property_: property_.__name__)
def test_every_property_of_a_whole_model_catches_a_mistake(property_):
    key = CAUGHT[property_.__name__]
    assert breaks(Planted(key, next(iter(variants(key)))), [property_])


# -- published values --------------------------------------------------------------------------------------------------


def strays(case, dtype, logits):
    """Whether some call's logits aren't Transformers'."""
    try:
        for index, got in enumerate(logits):
            compare_logits(case, index, dtype, got)
    except Broken:
        return True
    return False


def strays_in_a_case(key, label):
    """In float32; nearly every mistake does in the smallest case that exposes it."""
    for case, subject in published("float32"):
        if exposed(CATALOGUE[key], subject):
            planted = dict(CATALOGUE[key].plant(subject)).get(label)
            if planted is not None and strays(case, "float32", planted.run()):
                return True
    return False


def strays_in_the_embedded_model(key, label):
    name, subject = embedded("float32")
    planted = dict(CATALOGUE[key].plant(subject)).get(label) if exposed(CATALOGUE[key], subject) else None
    # 1e-4: the absolute error that tests/published/test_published_logits.py allows, for the reason given there.
    return planted is not None and np.abs(planted.run()[0][0] - stored("float32", f"{name}.logits")).max() > 1e-4


def bits_after_one_layer(subject, dtype, name):
    """How many numbers of the hidden states after the first layer are Transformers', to the last bit."""
    seen = []

    def look(value_name, value, call):
        if value_name == "model.layers.0":
            seen.append(value[0])

    with_observer(subject, lambda: look).run()
    return np.mean(seen[0] == stored(dtype, f"{name}.hidden_states")[1])


def strays_in_its_bits(key, label):
    """In two bytes, after one layer of the embedded model. 0.8 as in tests/published/test_published_logits.py."""
    for dtype in ("bfloat16", "float16"):
        name, subject = embedded(dtype)
        planted = dict(CATALOGUE[key].plant(subject)).get(label) if exposed(CATALOGUE[key], subject) else None
        if planted is not None and bits_after_one_layer(planted, dtype, name) < 0.8:
            return True
    return False


def strays_in_named_values(key, label):
    """In the cases whose every inner value is published."""
    for path in sorted((PUBLISHED / "cases").glob("named_*.safetensors")):
        case = PublishedCase.read(path)
        subject = subject_of(case, "float32")
        planted = dict(CATALOGUE[key].plant(subject)).get(label) if exposed(CATALOGUE[key], subject) else None
        if planted is not None and differences(case, "float32", run_model(case, "float32", planted.blocks)):
            return True
    return False


@pytest.mark.parametrize(("key", "label"), [each for each in EVERY if each[0] not in UNPUBLISHED])
def test_a_mistake_strays_from_the_published_values(key, label):
    mistake = CATALOGUE[key]
    ways = [strays_in_a_case, strays_in_the_embedded_model]
    if mistake.rounding:
        ways.append(strays_in_its_bits)
    if mistake.invisible:
        ways.append(strays_in_named_values)
    assert any(way(key, label) for way in ways)


def test_without_a_mistake_nothing_strays():
    """What the tests above go by holds for ours."""
    for case, subject in published("float32"):
        assert not strays(case, "float32", subject.run()), case.name
    for dtype in ("bfloat16", "float16"):
        name, subject = embedded(dtype)
        assert bits_after_one_layer(subject, dtype, name) >= 0.8
