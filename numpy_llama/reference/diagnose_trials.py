"""How often diagnosis is right: mistakes planted in a torch Llama, diagnosed from ids and logits alone.

    python -m numpy_llama.reference.diagnose_trials --trials 20
    python -m numpy_llama.reference.diagnose_trials --trials 50 --keys rope-twice layer-skipped --verbose

Each trial draws a model and a script of calls that expose a mistake, as the catalogue says what exposes it; the torch
port makes it, and what it computes is handed to `diagnose`. It is right where the mistake is named first, or one that
gives the same logits. Honest runs, of the same models, must come out as such.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers

from numpy_llama.errors import LlamaWarning
from numpy_llama.mistakes.catalogue import CATALOGUE
from numpy_llama.mistakes.exposures import EXPOSURES
from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.reference.torch_mistakes import PLANTS, NotHere
from numpy_llama.reference.torch_port import TorchPort
from numpy_llama.reference.trial_draws import draw_subject
from numpy_llama.study.diagnose import Diagnosis, diagnose
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.trace import Trace, TracedCall

HONEST = "honest"
DRAWS = 400  # of models, until one exposes a mistake


@dataclass(frozen=True)
class Outcome:
    """One trial.

    key     of the mistake, or "honest"
    dtype   that the port computed in
    label   the way in which the mistake was made
    seed    makes the same trial again
    judged  "named" (it, or one with the same logits), "silent" (nobody blamed), "wrong" (another blamed) or "unseen"
            (the mistake changed no more than rounding does)
    said    the diagnosis; None where nothing was asked
    """

    key: str
    dtype: str
    label: str
    seed: int
    judged: str
    said: Diagnosis | None

    def __str__(self) -> str:
        made = f"{self.key} ({self.label})" if self.label else self.key
        if self.said is None:
            return f"{made}, {self.dtype}, seed {self.seed}: {self.judged}"
        blamed = " + ".join(
            f"{key} ({label})" if label else key
            for key, label in zip(self.said.mistakes, self.said.labels, strict=True)
        )
        return (
            f"{made}, {self.dtype}, seed {self.seed}: {self.judged}; verdict {self.said.verdict} {blamed or 'nobody'}, "
            f"equals {', '.join(self.said.equals) or 'none'}, "
            f"rms {self.said.before_rms:.2g} → {self.said.after_rms:.2g}, rounding {self.said.rounding:.2g}"
        )


def trial(key: str, seed: int, dtype: str = "float32", among: int | None = None, small: bool = False) -> Outcome | None:
    """Plant a mistake ("honest": none) in a random torch Llama, and ask for a diagnosis.

    among    how many others are suspected beside it and its twins, drawn anew each time; all unless given
    small    two layers and two texts, where they can show the mistake
    returns  None where no random model exposes it
    """
    draw = np.random.default_rng([seed, *key.encode()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LlamaWarning)  # positions past the trained context
        found = _exposing(key, draw, dtype, small)
        if found is None:
            return None
        subject, port, label = found
        logits = port.run(subject.calls)
        if not _may_be_silent(key) and not _shows(subject, logits, dtype):
            return Outcome(key, dtype, label, seed, "unseen", None)
        said = diagnose(subject, _handed_over(subject, logits), catalogue=_suspects(key, among, draw))
    return Outcome(key, dtype, label, seed, _judged(key, said), said)


def trials(
    keys: Iterable[str],
    count: int,
    dtypes: Sequence[str] = ("float32",),
    first: int = 0,
    among: int | None = None,
) -> Iterator[Outcome]:
    """`count` trials of each key in each dtype, one after another; those that nothing exposes are left out."""
    for key in keys:
        for dtype in dtypes:
            for seed in range(first, first + count):
                outcome = trial(key, seed, dtype, among)
                if outcome is not None:
                    yield outcome


def _suspects(key: str, among: int | None, draw: np.random.Generator) -> dict[str, Mistake]:
    if among is None:
        return dict(CATALOGUE)
    known = {key, *CATALOGUE[key].twins} & CATALOGUE.keys() if key != HONEST else set()
    others = draw.permutation([name for name in CATALOGUE if name not in known])[:among]
    return {name: mistake for name, mistake in CATALOGUE.items() if name in known or name in others}


def _exposing(key: str, draw: np.random.Generator, dtype: str, small: bool) -> tuple[Subject, TorchPort, str] | None:
    """A subject that exposes a mistake, and a port that makes it: (subject, port, the way it is made)."""
    wanted = CATALOGUE[key].exposed_by if key != HONEST else ()
    layers = 11 if "more-than-ten-layers" in wanted else 2 if small else None
    for _ in range(DRAWS):
        subject = draw_subject(draw, layers, 2 if small else None).in_dtype(dtype)
        if not all(EXPOSURES[name].holds(subject) for name in wanted):
            continue
        port = _port(subject, dtype)
        if key == HONEST:
            return subject, port, ""
        try:
            return subject, port, PLANTS[key](port, draw)
        except NotHere:
            continue
    return None


def _port(subject: Subject, dtype: str) -> TorchPort:
    return TorchPort(subject.config.to_dict(), subject.weights, dtype)


def _shows(subject: Subject, logits: Sequence[np.ndarray], dtype: str) -> bool:
    """Whether a mistake changed the logits by more than ten times what rounding does, at real tokens."""
    honest, ours = _port(subject, dtype).run(subject.calls), subject.run()

    def distance(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
        squares: list[np.ndarray] = []
        for asked, one, other in zip(subject.calls, some, others, strict=True):
            T = min(one.shape[1], other.shape[1])
            real = np.ones_like(asked.input_ids) if asked.attention_mask is None else asked.attention_mask
            real = real[:, real.shape[1] - asked.input_ids.shape[1] :][:, -T:].astype(bool)
            squares.append(np.square(one[:, -T:].astype(float) - other[:, -T:].astype(float))[real].ravel())
        return float(np.sqrt(np.mean(np.concatenate(squares))))

    if any(one.shape != other.shape for one, other in zip(logits, honest, strict=True)):
        return True
    return not distance(logits, honest) <= 10 * distance(honest, ours)  # NaN shows, too


def _handed_over(subject: Subject, logits: Sequence[np.ndarray]) -> Trace:
    """What a stranger sends: what he asked, and the logits."""
    calls = [
        TracedCall(index, asked.past, asked.input_ids, asked.attention_mask, asked.position_ids, {"lm_head": array})
        for index, (asked, array) in enumerate(zip(subject.calls, logits, strict=True))
    ]
    return Trace(calls, source="the port")


def _judged(key: str, said: Diagnosis) -> str:
    if key == HONEST:
        return "silent" if said.verdict == "agrees" else "wrong"
    if said.verdict not in ("mistake", "pair"):
        return "silent"
    if len(said.mistakes) != 1:
        return "wrong"
    first = said.mistakes[0]
    return "named" if key in (first, *said.equals, *CATALOGUE[first].twins) else "wrong"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; prints a table, the misses above it. Returns 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5, metavar="N", help="of each mistake (default: 5)")
    parser.add_argument("--keys", nargs="+", default=[*CATALOGUE, HONEST], metavar="KEY", help="default: all")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--seed", type=int, default=0, help="of the first trial (default: 0)")
    parser.add_argument("--among", type=int, metavar="N", help="suspect so many others, instead of all: quicker")
    parser.add_argument("--verbose", action="store_true", help="print every trial, not the misses alone")
    told = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()  # rope settings that are drawn on purpose
    rows: dict[tuple[str, str], Counter[str]] = {(key, dtype): Counter() for key in told.keys for dtype in told.dtypes}
    started = time.monotonic()
    for outcome in trials(told.keys, told.trials, told.dtypes, told.seed, told.among):
        rows[outcome.key, outcome.dtype][outcome.judged] += 1
        if told.verbose or outcome.judged in ("wrong", "unseen") or not _is_kept(outcome.key, outcome.judged):
            print(outcome, flush=True)
    print(f"\n{'mistake':<36} {'dtype':<9} {'named':>6} {'silent':>6} {'wrong':>6} {'unseen':>6}")
    broken = 0
    for (key, dtype), counts in rows.items():
        kept = keeps_the_promise(key, counts)
        broken += not kept
        counted = " ".join(f"{counts[name]:>6}" for name in ("named", "silent", "wrong", "unseen"))
        print(f"{key:<36} {dtype:<9} {counted}{'' if kept else '   !'}")
    print(f"{broken} of {len(rows)} rows miss the promise; {time.monotonic() - started:.0f} s")
    return 1 if broken else 0


def _is_kept(key: str, judged: str) -> bool:
    return judged == "named" or (_may_be_silent(key) and judged == "silent")


def _may_be_silent(key: str) -> bool:
    """Whether logits need not show it: none planted, one that shows in no logits, one of rounding alone."""
    return key == HONEST or CATALOGUE[key].invisible or CATALOGUE[key].rounding


def keeps_the_promise(key: str, counts: Counter[str]) -> bool:
    """Of trials that show a mistake, nine in ten name it first; where there is none to see, nobody is blamed."""
    if _may_be_silent(key):
        return counts["wrong"] == 0
    return counts["named"] >= 0.9 * (counts.total() - counts["unseen"])


if __name__ == "__main__":
    sys.exit(main())
