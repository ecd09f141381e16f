"""What a diagnosis says."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["agrees", "mistake", "pair", "partly", "unknown"]


@dataclass(frozen=True)
class Candidate:
    """Mistakes that were planted, and how near the reference then came.

    mistakes  their keys
    labels    which variant of each: "layer 3"; "" where there is one
    after     the largest difference that is left
    rms       the root mean square of what is left
    """

    mistakes: tuple[str, ...]
    labels: tuple[str, ...]
    after: float
    rms: float


@dataclass(frozen=True)
class CallSeen:
    """One call whose logits (where there are none: whose values) were judged without any mistake.

    call    its number: call.0003 is 3
    given   "chunk of 5 after 14"
    agrees  whether its real positions are the reference's, as near as rounding lets them be
    """

    call: int
    given: str
    agrees: bool


@dataclass(frozen=True)
class Diagnosis:
    """Which known mistake makes a stranger's logits what they are.

    verdict      agrees: no mistake, as far as these calls show
                 mistake, pair: with it planted the reference gives the stranger's numbers
                 partly: with it planted they are much nearer, but not the same: a suspicion
                 unknown: they disagree, and nothing in the catalogue explains it
    mistakes     keys of what is blamed; () for agrees and unknown
    labels       which variant of each
    equals       keys of others that give the same logits on these calls
    before       largest difference without any mistake
    after        largest difference with them planted; equal to before where nothing is blamed
    before_rms, after_rms  the same, root mean square
    rounding     root mean square of what rounding makes of an honest run (with the mistakes planted)
    dtype        in which the stranger computes, as far as is known
    positions    how many logit vectors were judged
    tried        how many runs were made
    unseen       keys of mistakes that these calls can't show
    add          which calls would show them: exposure → the keys; what only another model would show isn't there
    tell_apart   what would tell `equals` from `mistakes`: exposures that are lacking, or values to dump that aren't
                 there; () where these calls make all of them the same
    dump         where the mistakes that are blamed begin, unless that value is there: to be sure
    candidates   others that came at least twice as near as no mistake, the nearest first
    assumptions  what the file doesn't say and was filled in; what was noticed about its numbers
    first        the first value that disagrees, where the trace holds inner values: "call.0001/model.layers.0.…"
    unexplained  that value, or the first that what is blamed doesn't explain, and how it differs, in words
    calls        which of several calls agree without any mistake; () for one call, and where all agree
    last_bits    where inner values alone tell: (value, share of its numbers that are right without it, with it)
    interrupted  whether the search was stopped before its end
    """

    verdict: Verdict
    mistakes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    equals: tuple[str, ...] = ()
    before: float = 0.0
    after: float = 0.0
    before_rms: float = 0.0
    after_rms: float = 0.0
    rounding: float = 0.0
    dtype: str = "float32"
    positions: int = 0
    tried: int = 0
    unseen: tuple[str, ...] = ()
    add: dict[str, tuple[str, ...]] | None = None
    tell_apart: tuple[str, ...] = ()
    dump: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    assumptions: tuple[str, ...] = ()
    first: str | None = None
    unexplained: tuple[str, str] | None = None
    calls: tuple[CallSeen, ...] = ()
    last_bits: tuple[str, float, float] | None = None
    interrupted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
