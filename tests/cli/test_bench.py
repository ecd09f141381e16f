"""`numpy-llama bench`: that it measures what it says."""

import json
import time

import pytest

from numpy_llama import embedded_model_folder
from numpy_llama.study import bench

NEW = 4


@pytest.fixture
def small(monkeypatch):
    """Few tokens, and no contestant beside ours."""
    monkeypatch.setattr(bench, "NEW_TOKENS", NEW)
    monkeypatch.setattr(bench, "TASKS", {"prefill": bench.PROMPT_TOKENS, "decode": NEW, "generate": NEW})
    monkeypatch.setattr(bench, "find_spec", lambda name: None)


class Fake:
    """A contestant that takes its time."""

    def __init__(self, name, seconds, log, answer=7):
        self.name, self.seconds, self.log, self.answer = name, seconds, log, answer

    def prefill(self, ids):
        assert ids.shape == (1, bench.PROMPT_TOKENS)
        return self._work(1)

    def decode(self, first, steps):
        return self._work(steps)

    def generate(self, first, steps):
        return self._work(steps)

    def _work(self, steps):
        self.log.append(self.name)
        time.sleep(self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0])
        return [self.answer] * steps


def test_contestants_take_turns_and_the_best_round_counts(small):
    log = []
    ours = Fake("numpy_llama", [0.3, 0.3, 0.3, 0.01], log)  # the first round is slow
    result = bench.compare([ours, Fake("other", [0.03], log)], rounds=2, vocab_size=100)
    assert log == ["numpy_llama", "other"] * 6
    assert result.same_tokens
    for task in bench.TASKS:
        seconds = {name: bench.TASKS[task] / speeds[task] for name, speeds in result.speeds.items()}
        assert 0.01 <= seconds["numpy_llama"] < 0.3
        assert seconds["other"] >= 0.03
        assert result.ratio(task, "other") == pytest.approx(seconds["other"] / seconds["numpy_llama"])


def test_other_tokens_are_noticed(small):
    found = [Fake("numpy_llama", [0], []), Fake("other", [0], [], answer=8)]
    assert bench.compare(found, rounds=1, vocab_size=100).same_tokens is False


def test_loop_and_generate_choose_the_same(small):
    ours = bench.Ours(embedded_model_folder())
    assert ours.decode(1, 20) == ours.generate(1, 20)


def test_a_process_is_timed_from_its_start():
    times = bench.time_process(embedded_model_folder(), rounds=1)
    assert 0.01 < times.first_token < times.whole
    assert times.cpu is None or times.cpu > 0.01


def test_the_command(small, command):
    status, out, err = command("bench", "--rounds", 1, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["same_tokens"] is None
    assert found["tokens_per_second"]["numpy_llama"].keys() == bench.TASKS.keys()
    assert found["ratios"] == {}
    assert err.splitlines() == ["numpy-llama: round 1 of 1", "numpy-llama: fresh processes"]


def test_the_table(command):
    from numpy_llama.cli.bench import as_text

    speeds = {
        "numpy_llama": {"prefill": 9000.0, "decode": 1200.0},
        "transformers, eager": {"prefill": 3.0, "decode": 200.0},
    }
    found = {
        "tokens": {"prefill": 256, "decode": 200},
        "tokens_per_second": speeds,
        "ratios": {"transformers, eager": {"prefill": 3000.0, "decode": 6.0}},
        "same_tokens": False,
        "process_seconds": {"first_token": 0.4, "whole": 0.7, "cpu": None},
    }
    text = as_text(found)
    assert "6.00×" in text
    assert "same tokens chosen: NO" in text
    assert "0.40" in text
