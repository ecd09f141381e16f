"""What a mistake is: a small deviation of a whole Llama, with what is known about it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from numpy_llama.study.subject import Subject

GITHUB = "https://github.com"

Variants = Iterable[tuple[str, Subject]]


@dataclass(frozen=True)
class Mistake:
    """A mistake that ports of Llama make.

    key         a slug: "rope-interleaved"
    says        ends the sentence "Your logits are those of a Llama …": "whose RoPE pairs neighbouring channels"
    looks_like  what somebody sees who has made it: a clause or more, with no full stop at the end
    mend        what to change, in the same way
    wild        where it was made: addresses of threads or commits, each with a few words
    exposed_by  what a model and its calls must have for it to show in logits; keys of EXPOSURES. Empty: anything
                shows it
    first       the first named value that is wrong, as model/values.py has it: what to dump to know
    plant       the mistake put into a subject: (label, subject) for each variant, as for each layer that may be left
                out; nothing where it can't be made there (no bias to drop). The label is "" where there is one variant.
                A call may come to one token less than was asked: its logits are those of the last
    twins       keys of mistakes with the same logits; `first` tells them apart
    invisible   whether it shows in no float32 logits at all; then inner values must be looked at
    rounding    whether it is one of rounding, to be judged in two-byte dtypes or by inner values
    """

    key: str
    says: str
    looks_like: str
    mend: str
    wild: tuple[str, ...]
    first: str
    plant: Callable[[Subject], Variants]
    exposed_by: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    invisible: bool = False
    rounding: bool = False
