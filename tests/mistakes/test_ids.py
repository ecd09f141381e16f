"""The mistakes that ask other calls are those calls: made by hand, they give the same logits."""

from dataclasses import replace

import numpy as np
import pytest

from numpy_llama.mistakes.ids import bos_doubled, bos_missing
from numpy_llama.mistakes.positions import positions_counting_padding, positions_of_first_row, shift_shows
from numpy_llama.study.subject import Asked

TOLERANCE = 1e-4  # float32 in another order of rows; logits are of a size of 1 to 5


def only(variants):
    ((label, planted),) = variants
    assert label == ""
    return planted


def one_text(subject, ids, splits=(5,)):
    """One row without padding, in calls that are split at some places."""
    calls, past = [], 0
    for part in np.split(np.array([ids]), splits, axis=1):
        calls.append(Asked(part, past=past))
        past += part.shape[1]
    return replace(subject, calls=tuple(calls))


IDS = [1, 9, 22, 14, 30, 8, 17]


def test_a_missing_bos_is_the_text_without_it(exposed):
    missing = only(bos_missing(one_text(exposed(), IDS))).run()
    without = one_text(exposed(), IDS[1:], splits=(4,)).run()
    np.testing.assert_allclose(missing[0], without[0], atol=TOLERANCE)
    np.testing.assert_allclose(missing[1], without[1], atol=TOLERANCE)


def test_a_doubled_bos_is_the_text_with_two(exposed):
    doubled = only(bos_doubled(one_text(exposed(), IDS))).run()
    with_two = one_text(exposed(), [1, *IDS], splits=(6,)).run()
    np.testing.assert_allclose(doubled[0], with_two[0][:, 1:], atol=TOLERANCE)
    np.testing.assert_allclose(doubled[1], with_two[1], atol=TOLERANCE)


@pytest.mark.parametrize("plant", [bos_missing, bos_doubled])
@pytest.mark.parametrize("side", ["left", "right"])
def test_so_it_is_in_a_padded_row(plant, side, exposed):
    subject = exposed()
    texts = [IDS[:5], IDS[:3]]
    ids, mask = np.zeros((2, 5), int), np.zeros((2, 5), int)
    for row, text in enumerate(texts):
        columns = slice(5 - len(text), 5) if side == "left" else slice(0, len(text))
        ids[row, columns], mask[row, columns] = text, 1
    prompt = Asked(ids, mask, np.maximum(mask.cumsum(axis=1) - 1, 0))
    padded = replace(
        subject, calls=(prompt, Asked(np.array([[20], [21]]), _and_one(mask), mask.sum(axis=1)[:, None], 5))
    )
    planted = only(plant(padded))
    logits = planted.run()
    read = mask if plant is bos_doubled else planted.calls[0].attention_mask
    for row, text in enumerate(texts):
        alone = only(plant(one_text(subject, [*text, 20 + row], splits=(len(text),)))).run()
        np.testing.assert_allclose(logits[0][row][read[row] == 1], alone[0][0], atol=TOLERANCE)
        np.testing.assert_allclose(logits[1][row], alone[1][0], atol=TOLERANCE)


def _and_one(mask):
    return np.c_[mask, np.ones(len(mask), int)]


def test_a_text_that_begins_otherwise_has_no_bos_to_lose(exposed):
    subject = one_text(exposed(), IDS[1:])
    assert [*bos_missing(subject), *bos_doubled(subject)] == []


def test_a_constant_shift_of_positions_does_not_show(exposed):
    """Left padding that is counted shifts a row by one number; in a text that goes on, and counts otherwise, by two."""
    subject = exposed()
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    prompt = Asked(np.full((2, 5), 3), mask, positions)
    alone = replace(subject, calls=(prompt,))
    assert not any(shift_shows(alone, planted) for _, planted in positions_counting_padding(alone))
    assert any(shift_shows(alone, planted) for _, planted in positions_of_first_row(alone))  # its first tokens are at 0
    on = Asked(np.full((2, 1), 4), _and_one(mask), positions[:, -1:] + 1, 5)
    both = replace(subject, calls=(prompt, on))
    shows = {label: shift_shows(both, planted) for label, planted in positions_counting_padding(both)}
    assert shows == {"in every call": False, "in calls after the first": True, "in the first call": True}
