"""Every mistake of the catalogue does what it says of itself: it shows where it is exposed, and not where it isn't, and
it looks like no other but its twins."""

from itertools import combinations

import numpy as np
import pytest

from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.model.values import VALUES, computation_order, table_name
from numpy_llama.probe import record

VISIBLE = 100  # times float32's rounding error, the distance of an honest port's logits from float64's
INVISIBLE = 5  # times that: another order of the same operations, in another place

PAIRS_OF_EXPOSURE = [(key, name) for key, mistake in CATALOGUE.items() for name in mistake.exposed_by]
TWINS = [(key, twin) for key, mistake in CATALOGUE.items() for twin in mistake.twins]


def read(subject, logits):
    """Those of all tokens but padding, (tokens, V) float64. A wrong port's may be infinite or NaN."""
    parts = []
    for asked, one in zip(subject.calls, logits, strict=True):
        B, T = asked.input_ids.shape
        assert one.shape in ((B, T, subject.config.vocab_size), (B, T - 1, subject.config.vocab_size))
        one = np.pad(
            one, ((0, 0), (T - one.shape[1], 0), (0, 0)), constant_values=np.nan
        )  # of a text that lost a token
        mask = asked.attention_mask
        parts.append(one[np.ones((B, T), bool) if mask is None else mask[:, -T:] == 1])
    return np.concatenate(parts).astype(np.float64)


def distance(one, other):
    """The largest difference of two ports' logits, over the tokens that both have logits of."""
    there = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    return np.abs(one[there] - other[there]).max(initial=0)


JUDGED = {}  # id of a subject → the subject, its logits and their rounding error


def honest(subject):
    """A subject's own logits, and float32's rounding error in them."""
    if id(subject) not in JUDGED:
        logits = read(subject, subject.run())
        error = distance(*(read(subject, subject.in_dtype(dtype).run()) for dtype in ("float32", "float64")))
        JUDGED[id(subject)] = subject, logits, error
    return JUDGED[id(subject)][1:]


def distances(mistake, subject):
    """How far each variant's logits are from the subject's own, in units of float32's rounding error."""
    logits, error = honest(subject)
    return {label: distance(read(subject, planted.run()), logits) / error for label, planted in mistake.plant(subject)}


@pytest.mark.parametrize("key", CATALOGUE)
def test_a_mistake_shows_where_it_is_exposed(key, exposed):
    mistake = CATALOGUE[key]
    found = distances(mistake, exposed(*mistake.exposed_by))
    assert found, "no variant"
    if mistake.invisible:
        assert max(found.values()) < INVISIBLE
    else:
        assert max(found.values()) > VISIBLE


@pytest.mark.parametrize(("key", "name"), PAIRS_OF_EXPOSURE)
def test_a_mistake_does_not_show_where_one_of_its_exposures_is_lacking(key, name, unexposed):
    mistake = CATALOGUE[key]
    subject = unexposed(name, mistake.exposed_by)
    assert not EXPOSURES[name].holds(subject)
    assert all(found < INVISIBLE for found in distances(mistake, subject).values())


def arrays_of(subject):
    return [*subject.weights.values(), *(array for asked in subject.calls for array in vars(asked).values())]


def test_no_mistake_looks_like_another_unless_they_are_twins(exposed):
    """And planting them all leaves the subject as it was."""
    subject = exposed()
    _, unit = honest(subject)
    before = [np.array(array, copy=True) for array in arrays_of(subject)]
    planted = [
        (key, read(subject, variant.run()))
        for key, mistake in CATALOGUE.items()
        if not mistake.invisible
        for _, variant in mistake.plant(subject)
    ]
    assert len({key for key, _ in planted}) > 100
    alike = {
        (key, other)
        for (key, one), (other, two) in combinations(planted, 2)
        if key != other and distance(one, two) < VISIBLE * unit
    }
    assert alike <= set(TWINS)
    assert all(np.array_equal(one, two) for one, two in zip(arrays_of(subject), before, strict=True))


@pytest.mark.parametrize(("key", "twin"), TWINS)
def test_twins_have_the_same_logits(key, twin, exposed):
    assert key in CATALOGUE[twin].twins
    subject = exposed(*CATALOGUE[key].exposed_by, *CATALOGUE[twin].exposed_by)
    one, two = ([read(subject, p.run()) for _, p in CATALOGUE[k].plant(subject)] for k in (key, twin))
    assert min(distance(a, b) for a in one for b in two) < INVISIBLE * honest(subject)[1]


def values_of(subject):
    """Every named value of every call, as float64."""
    seen = {}
    with record(lambda name, value, call: seen.setdefault((call.index, name), np.array(value, np.float64))):
        subject.run()
    return seen


RIGHT = {}  # id of a subject → the subject, its values


def right_values(subject):
    if id(subject) not in RIGHT:
        RIGHT[id(subject)] = subject, values_of(subject)
    return RIGHT[id(subject)][1]


@pytest.mark.parametrize("key", CATALOGUE)
def test_the_first_wrong_value_is_the_one_that_it_names(key, exposed):
    """In one variant of it at least; other variants may begin elsewhere."""
    mistake = CATALOGUE[key]
    subject = exposed(*mistake.exposed_by)
    assert mistake.first in VALUES
    right = right_values(subject)
    variants = mistake.plant(subject)
    assert any(first_difference(right, values_of(planted)) == mistake.first for _, planted in variants)


def first_difference(right, wrong):
    """The name of the first value that differs in shape or numbers, in order of computation, a layer written {i}."""
    for at in sorted(right, key=lambda at: (at[0], computation_order(at[1]))):
        one, two = right[at], wrong.get(at)
        if two is None:
            continue
        if one.shape != two.shape or not np.allclose(one, two, rtol=1e-5, atol=1e-6, equal_nan=True):
            return table_name(at[1])
    return None


APART = [
    ("norm-without-weight", "rope-interleaved"),
    ("final-norm-missing", "o-bias-dropped"),
    ("decode-positions-late", "qk-rows-permuted"),
    ("rope-on-values", "head-tied"),
    ("bos-doubled", "embedding-scaled"),
    ("rope-queries-only", "residual-missing-mlp"),
]


@pytest.mark.parametrize("pair", APART)
def test_two_mistakes_stand_in_one_subject(pair, exposed):
    """In different places, they may be planted in either order; and neither hides the other."""
    subject = exposed()
    logits, error = honest(subject)
    alone = [read(subject, first(CATALOGUE[key], subject).run()) for key in pair]
    one, two = (read(subject, planted_in_turn(keys, subject).run()) for keys in (pair, pair[::-1]))
    assert distance(one, two) < INVISIBLE * error
    assert min(distance(one, other) for other in (logits, *alone)) > VISIBLE * error


def planted_in_turn(keys, subject):
    for key in keys:
        subject = first(CATALOGUE[key], subject)
    return subject


def first(mistake, subject):
    return next(iter(mistake.plant(subject)))[1]


@pytest.mark.parametrize("key", CATALOGUE)
def test_a_mistake_is_documented(key):
    mistake = CATALOGUE[key]
    assert mistake.key == key
    texts = (mistake.says, mistake.looks_like, mistake.mend)
    assert all(text and text[-1] not in ".;:, " and "  " not in text for text in texts)
    assert all(name in EXPOSURES for name in mistake.exposed_by)
    assert all(twin in CATALOGUE and key in CATALOGUE[twin].twins for twin in mistake.twins)
    for wild in mistake.wild:
        address, _, words = wild.partition(" ")
        assert address.startswith("https://") and (not words or words[0] + words[-1] == "()")
