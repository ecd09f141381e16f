"""What a loss must do, whatever the logits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError
from numpy_llama.model.losses import (
    causal_lm_loss,
    last_real_token,
    question_answering_loss,
    sequence_classification_loss,
    token_classification_loss,
)
from numpy_llama.precision import DTYPES

# Some tens of float64 roundings of losses up to 30.
ROUNDINGS = 1e-13

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
SINGLE, MULTI = "single_label_classification", "multi_label_classification"


@st.composite
def cases(draw):
    """Logits (B, T, V) in float64 and labels (B, T), none of them ignored; at least two tokens."""
    B, T, V = draw(st.integers(1, 4)), draw(st.integers(2, 6)), draw(st.integers(2, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = generator.standard_normal((B, T, V)) * draw(st.sampled_from([0.1, 1, 10]))
    return logits, generator.integers(0, V, (B, T))


def probabilities(logits):
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def close(result, expected):
    np.testing.assert_allclose(float(result), float(expected), rtol=0, atol=ROUNDINGS * max(1, abs(float(expected))))


# -- cross entropy -----------------------------------------------------------------------------------------------------


@given(cases())
def test_a_token_loss_is_the_mean_of_minus_log_p(case):
    logits, labels = case
    p = np.take_along_axis(probabilities(logits), labels[..., None], axis=-1)
    close(token_classification_loss(logits, labels), -np.log(p).mean())


@given(cases())
def test_a_causal_loss_is_the_token_loss_of_the_next_token(case):
    logits, labels = case
    close(causal_lm_loss(logits, labels), token_classification_loss(logits[:, :-1], labels[:, 1:]))


@given(cases())
def test_the_first_label_and_the_last_logits_are_never_looked_at(case):
    logits, labels = case
    before = causal_lm_loss(logits, labels)
    labels[:, 0] = -100
    logits[:, -1] = np.arange(logits.shape[2])
    assert causal_lm_loss(logits, labels) == before


@every_dtype
@pytest.mark.parametrize("size", [2, 7, 128])
def test_knowing_nothing_costs_log_v(dtype, size):
    """Uniform logits, of whatever height: −log 1/V."""
    unit = np.finfo(np.float64).eps if dtype == "float64" else 2.0**-23
    for height in (0, -3, 100):
        logits = np.full((2, 3, size), height, DTYPES[dtype])
        loss = causal_lm_loss(logits, np.ones((2, 3), int))
        assert loss.dtype == (np.float64 if dtype == "float64" else np.float32)
        assert abs(float(loss) - math.log(size)) <= 2 * unit * math.log(size)


@every_dtype
def test_being_sure_costs_nothing_when_right_and_the_margin_when_wrong(dtype):
    logits = np.array([[[0, 40], [0, 40], [0, 40]]], DTYPES[dtype])
    assert float(token_classification_loss(logits, [[1, 1, 1]])) == 0
    assert float(token_classification_loss(logits, [[0, 0, 0]])) == 40
    # Two bytes: a mean of 40, 0 and 0 in the dtype itself, or in float32.
    assert abs(float(sequence_classification_loss(logits[0], [0, 1, 1], SINGLE)) - 40 / 3) <= 40 * 2.0**-8


@given(cases(), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_changes_nothing(case, constant):
    logits, labels = case
    close(causal_lm_loss(logits + constant, labels), causal_lm_loss(logits, labels))
    starts, positions = logits[:, :, 0], np.zeros(len(logits), int)
    before = question_answering_loss(starts, starts, positions, positions)
    close(question_answering_loss(starts + constant, starts, positions, positions), before)


@given(cases(), st.data())
def test_ignoring_a_label_is_leaving_it_out(case, data):
    logits, labels = case
    counts = np.array(data.draw(st.lists(st.booleans(), min_size=labels.size, max_size=labels.size)))
    counts[0] = True
    ignored = np.where(counts.reshape(labels.shape), labels, -100)
    left = token_classification_loss(
        logits.reshape(1, -1, logits.shape[2])[:, counts], labels.reshape(1, -1)[:, counts]
    )
    close(token_classification_loss(logits, ignored), left)


@given(cases())
def test_a_batch_costs_the_mean_of_its_rows(case):
    logits, labels = case
    rows = [causal_lm_loss(logits[b : b + 1], labels[b : b + 1]) for b in range(len(labels))]
    close(causal_lm_loss(logits, labels), np.mean(rows))
    rows = [sequence_classification_loss(logits[b : b + 1, 0], labels[b : b + 1, 0]) for b in range(len(labels))]
    close(sequence_classification_loss(logits[:, 0], labels[:, 0]), np.mean(rows))


@given(cases())
def test_the_order_of_the_classes_is_a_matter_of_names(case):
    logits, labels = case
    order = np.random.default_rng(0).permutation(logits.shape[2])
    close(causal_lm_loss(logits[..., order], order.argsort()[labels]), causal_lm_loss(logits, labels))


@every_dtype
def test_where_nothing_counts_the_loss_is_nan(dtype):
    logits = np.zeros((2, 3, 4), DTYPES[dtype])
    none = np.full((2, 3), -100)
    assert np.isnan(float(causal_lm_loss(logits, none)))
    assert np.isnan(float(causal_lm_loss(logits[:, :1], none[:, :1])))  # one token has no next one
    assert np.isnan(float(token_classification_loss(logits, none)))
    assert np.isnan(float(sequence_classification_loss(logits[:, 0], none[:, 0])))
    assert np.isnan(float(question_answering_loss(logits[:, 0], logits[:, 0], [9, 9], [9, 9])))


@every_dtype
def test_logits_may_be_large(dtype):
    """exp of 16,384 is infinite; the loss is the difference of the logits."""
    logits = np.array([[[16_384, 16_128], [-16_384, -16_128]]], DTYPES[dtype])
    assert float(token_classification_loss(logits, [[1, 0]])) == 256


@every_dtype
def test_dtypes(dtype):
    """In the model's dtype, but for the two that Transformers takes in float32."""
    logits = np.ones((2, 3, 4), DTYPES[dtype])
    pooled = logits[:, 0]
    wide = np.float64 if dtype == "float64" else np.float32
    losses = [
        (causal_lm_loss(logits, np.ones((2, 3), int)), wide),
        (token_classification_loss(logits, np.ones((2, 3), int)), wide),
        (question_answering_loss(pooled, pooled, [0, 1], [1, 2]), DTYPES[dtype]),
        (sequence_classification_loss(pooled, [0, 1]), DTYPES[dtype]),
        (sequence_classification_loss(pooled, np.zeros((2, 4), DTYPES[dtype])), DTYPES[dtype]),
        (sequence_classification_loss(pooled, np.zeros((2, 4), DTYPES[dtype]), "regression"), DTYPES[dtype]),
        (sequence_classification_loss(pooled[:, :1], [0, 1]), DTYPES[dtype]),
    ]
    for loss, expected in losses:
        assert isinstance(loss, np.ndarray) and loss.shape == () and loss.dtype == expected


@pytest.mark.parametrize("kind", [SINGLE, "regression", MULTI])
def test_a_float16_loss_may_be_infinite_and_says_nothing(kind):
    """65,504 is the largest float16. Warnings are errors in this suite."""
    logits = np.array([[-60_000, 60_000]], np.float16)
    labels = {SINGLE: [0], "regression": [[0.0, 0.0]], MULTI: [[1.0, 0.0]]}[kind]
    loss = float(sequence_classification_loss(logits, labels, kind))
    assert loss == (60_000 if kind == MULTI else np.inf)


# -- question answering ------------------------------------------------------------------------------------------------


@given(cases())
def test_an_answer_costs_the_mean_of_its_two_ends(case):
    logits, _ = case
    start, end = logits[:, :, 0], logits[:, :, 1]  # (B, T)
    first = np.arange(len(start)) % start.shape[1]
    last = (first + 1) % start.shape[1]
    rows = np.arange(len(start))
    expected = -np.log(probabilities(start)[rows, first]).mean() - np.log(probabilities(end)[rows, last]).mean()
    close(question_answering_loss(start, end, first, last), expected / 2)
    column = question_answering_loss(start, end, first[:, None], last[:, None])
    assert column == question_answering_loss(start, end, first, last)


def test_positions_outside_the_text():
    """A negative one is 0; one that was cut off doesn't count, and leaves the other answers as they are."""
    logits = np.random.default_rng(0).standard_normal((2, 3, 5))
    start, end = logits[:, 0], logits[:, 1]
    whole = question_answering_loss(start, end, [0, 4], [0, 4])
    assert question_answering_loss(start, end, [-7, 4], [-1, 4]) == whole
    close(question_answering_loss(start, end, [0, 5], [0, 99]), question_answering_loss(start[:1], end[:1], [0], [0]))


# -- kinds of sequence classification ----------------------------------------------------------------------------------


@given(cases())
def test_regression_is_the_mean_square(case):
    logits, _ = case
    pooled = logits[:, 0]
    targets = np.random.default_rng(0).standard_normal(pooled.shape)
    close(sequence_classification_loss(pooled, targets, "regression"), np.mean((pooled - targets) ** 2))
    assert sequence_classification_loss(pooled, pooled, "regression") == 0
    one = pooled[:, :1]
    expected = np.mean((one[:, 0] - targets[:, 0]) ** 2)
    for shape in ((len(one),), (len(one), 1)):
        close(sequence_classification_loss(one, targets[:, 0].reshape(shape)), expected)


@given(cases())
def test_several_labels_are_as_many_yes_or_no_questions(case):
    """Each answered by two logits, 0 and x."""
    logits, labels = case
    pooled = logits[:, 0]
    there = (np.arange(pooled.shape[1]) < labels[:, :1]).astype(float)
    questions = np.stack((np.zeros_like(pooled), pooled), axis=-1)  # (B, N, 2)
    close(sequence_classification_loss(pooled, there), token_classification_loss(questions, there.astype(int)))


def test_what_kind_of_labels_there_are_shows():
    """One label: regression. Integers: one of several. Anything else: several at once."""
    pooled = np.random.default_rng(0).standard_normal((2, 3))
    assert sequence_classification_loss(pooled, [0, 2]) == sequence_classification_loss(pooled, [0, 2], SINGLE)
    many = [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    assert sequence_classification_loss(pooled, many) == sequence_classification_loss(pooled, many, MULTI)
    switched = np.array(many, bool)
    assert sequence_classification_loss(pooled, switched) == sequence_classification_loss(pooled, many, MULTI)
    whole = np.array(many, int)  # with the type given, zeros and ones may be integers
    assert sequence_classification_loss(pooled, whole, MULTI) == sequence_classification_loss(pooled, many, MULTI)
    one = sequence_classification_loss(pooled[:, :1], [0, 2])
    assert one == sequence_classification_loss(pooled[:, :1], [0.0, 2.0], "regression")


@every_dtype
def test_logits_and_labels_are_left_as_they_are(dtype):
    logits = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(DTYPES[dtype])
    labels = np.array([[1, -100, 0], [3, 2, 1]])
    before = logits.copy(), labels.copy()
    causal_lm_loss(logits, labels)
    token_classification_loss(logits, labels)
    question_answering_loss(logits[:, 0], logits[:, 1], labels[:, 1], labels[:, 2])
    for kind in (SINGLE, "regression", MULTI):
        sequence_classification_loss(logits[:, 0], labels[:, 0] if kind == SINGLE else logits[:, 0] > 0, kind)
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(labels, before[1])


# -- where a text ends -------------------------------------------------------------------------------------------------


def test_the_last_real_token():
    """Padding right, left, on both sides, inside, nowhere and everywhere."""
    ids = np.array([[5, 6, 0, 0], [0, 0, 5, 6], [0, 5, 6, 0], [5, 0, 6, 0], [5, 6, 7, 8], [0, 0, 0, 0]])
    assert last_real_token(ids, 0).tolist() == [1, 3, 2, 2, 3, 0]


# -- what can't be -----------------------------------------------------------------------------------------------------

LOGITS = np.zeros((2, 3, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: causal_lm_loss(LOGITS, [[0, 1, 2], [3, 4, 5]]), r"labels\[1, 2\]: .*out of range.* 0 … 4.*found 5"),
        (lambda: causal_lm_loss(LOGITS, [[0, 1, -1], [0, 0, 0]]), r"labels\[0, 2\]: .*or -100.*found -1"),
        (lambda: causal_lm_loss(LOGITS, [[0, 1, 2]]), r"labels: wrong shape.*\(2, 3\).*\(1, 3\)"),
        (lambda: causal_lm_loss(LOGITS[:, -1:], [[0, 1, 2], [0, 1, 2]]), r"labels: wrong shape.*\(2, 1\)"),
        (lambda: causal_lm_loss(LOGITS, np.zeros((2, 3))), "labels: wrong dtype.*integers.*float64"),
        (lambda: causal_lm_loss(LOGITS, [[0], [1, 2]]), "labels: rows of several lengths"),
        (lambda: token_classification_loss(LOGITS, [[0, 1, 2], [5, 0, 0]]), r"labels\[1, 0\].*found 5"),
        (lambda: token_classification_loss(LOGITS, [0, 1]), r"labels: wrong shape"),
        (lambda: question_answering_loss(LOGITS[0], LOGITS[0], [0.5, 1], [1, 1]), "start_positions: wrong dtype"),
        (lambda: question_answering_loss(LOGITS[0], LOGITS[0], [0, 1, 2], [1]), "end_positions: wrong shape"),
        (lambda: sequence_classification_loss(LOGITS[0], [0, 1, 5]), r"labels\[2\]: .*0 … 4.*found 5"),
        (lambda: sequence_classification_loss(LOGITS[0], [0, 1]), r"labels: wrong shape.*\(3,\).*\(2,\)"),
        (lambda: sequence_classification_loss(LOGITS[0], [0.0, 1.0, 1.0]), r"labels: wrong shape.*\(3, 5\)"),
        (lambda: sequence_classification_loss(LOGITS[0], [0.0, 1.0, 1.0], SINGLE), "labels: wrong dtype.*integers"),
        (lambda: sequence_classification_loss(LOGITS[0], [1, 2, 3], "regression"), r"labels: wrong shape.*\(3, 5\)"),
        (lambda: sequence_classification_loss(LOGITS[0], LOGITS[0] + 2, MULTI), r"labels\[0, 0\].*0 … 1.*found 2"),
        (lambda: sequence_classification_loss(LOGITS[0], LOGITS[0] + np.nan, "regression"), r"labels\[0, 0\].*finite"),
        (lambda: sequence_classification_loss(LOGITS[0], [["a"] * 5] * 3, MULTI), "labels: not an array of numbers"),
        (lambda: sequence_classification_loss(LOGITS[0], [[0, 1], [2]]), "labels: rows of several lengths"),
        (lambda: sequence_classification_loss(LOGITS[0], [0, 1, 2], "ranking"), "problem_type: .*found 'ranking'"),
    ],
)
def test_wrong_labels(call, message):
    with pytest.raises(LlamaError, match=message):
        call()
