"""What a comparison found."""

from dataclasses import dataclass, field
from typing import Any

from numpy_llama.model.values import layer_of, table_name, value_named
from numpy_llama.study.compare.difference import Difference

AGREES, DIFFERS, ELSEWHERE, MISFIT = "agrees", "differs", "elsewhere", "misfit"


@dataclass(frozen=True)
class Finding:
    """One value of one call, compared.

    call        its number: call.0003 is 3
    place       which of the calls that is: others may have been left out
    name        of the value
    verdict     "agrees"; "differs"; "elsewhere": differs, but all that is computed from it agrees, so it was taken down
                elsewhere or in another order; "misfit": its shape is none that ours could have
    typical, worst    error bars between theirs and the float64 truth: in the mean of squares, and at the worst number
    local       the same worst, where our model goes on from *their* values before it; None where that wasn't run
    explained   whether it follows from what differs before it: computed from their values, it agrees
    sourced     whether all that it is computed from is there, cached keys and values included: only then it is known
                to be wrong by itself where it isn't explained
    note        how their shape was read
    difference  how it differs; None where it agrees, or only follows
    """

    call: int
    place: int
    name: str
    verdict: str
    typical: float = 0.0
    worst: float = 0.0
    local: float | None = None
    explained: bool = False
    sourced: bool = False
    note: str = ""
    difference: Difference | None = None

    @property
    def full_name(self) -> str:
        """ "call.0000/model.norm" """
        return f"call.{self.call:04d}/{self.name}"

    @property
    def by_itself(self) -> bool:
        """Whether it is known to be wrong by itself: all that it is computed from is there, and explains nothing."""
        return self.verdict == DIFFERS and not self.explained and self.sourced

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        fields: dict[str, Any] = {
            "call": self.call,
            "name": self.name,
            "layer": layer_of(self.name),
            "verdict": self.verdict,
            "typical_error_bars": _number(self.typical),
            "worst_error_bars": _number(self.worst),
            "worst_from_their_values": None if self.local is None else _number(self.local),
            "explained": self.explained,
            "wrong_by_itself": self.by_itself,
            "note": self.note,
        }
        if self.difference is not None:
            d = self.difference
            fields["difference"] = {
                "kind": d.kind, "says": d.says, "where": d.where, "index": list(d.worst), "ours": _number(d.ours),
                "theirs": _number(d.theirs), "bar": _number(d.bar), "differing": d.bad[0], "of": d.bad[1],
                "relative": _number(d.relative),
            }  # fmt: skip
        return fields


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    ours, theirs  what the two are called
    dtype         that theirs was computed in
    bars          where the error bars come from, in words
    kinds         of each call: "prefill", …
    findings      every value that both have, in order of computation
    missing       for each call, the names that theirs lacks
    unknown       full names in theirs that no Llama has
    nearest       for each of those without its call, the name of ours that is spelt most like it, if any
    notes         what had to be understood, and what else is worth a line
    before        the nearest values before the first that differs, that agree
    between       values before the first that differs which theirs lacks: the mistake may be in any of them
    tokens        for each call and row, the tokens as text; empty without a tokenizer
    """

    ours: str
    theirs: str
    dtype: str
    bars: str
    kinds: list[str]
    findings: list[Finding]
    missing: list[list[str]]
    unknown: list[str]
    notes: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    between: list[str] = field(default_factory=list)
    tokens: list[list[list[str]]] = field(default_factory=list)
    nearest: dict[str, str] = field(default_factory=dict)

    @property
    def differing(self) -> list[Finding]:
        """The values that disagree."""
        return [finding for finding in self.findings if finding.verdict == DIFFERS]

    @property
    def first(self) -> Finding | None:
        """The first value that disagrees."""
        return next(iter(self.differing), None)

    @property
    def following(self) -> list[Finding]:
        """What disagrees because of what disagrees before it."""
        return [finding for finding in self.differing[1:] if finding.explained]

    @property
    def others(self) -> list[Finding]:
        """What disagrees after the first and doesn't follow from it."""
        return [finding for finding in self.differing[1:] if finding.by_itself]

    @property
    def unsure(self) -> list[Finding]:
        """What disagrees after the first and may follow from it: something that it is computed from isn't there."""
        return [finding for finding in self.differing[1:] if not finding.explained and not finding.sourced]

    @property
    def misfits(self) -> list[Finding]:
        """Values whose shape is none that ours could have."""
        return [finding for finding in self.findings if finding.verdict == MISFIT]

    @property
    def status(self) -> int:
        """0 all that could be compared agrees, 1 something disagrees, 2 something could not be compared."""
        if self.differing:
            return 1
        return 2 if self.misfits or not any(finding.verdict == AGREES for finding in self.findings) else 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status, "ours": self.ours, "theirs": self.theirs, "dtype": self.dtype, "bars": self.bars,
            "calls": self.kinds, "first": None if self.first is None else self.first.as_dict(),
            "agreeing_before_it": self.before, "not_there_between": self.between,
            "following": len(self.following),
            "may_follow": [finding.full_name for finding in self.unsure],
            "others": [finding.as_dict() for finding in self.others],
            "findings": [finding.as_dict() for finding in self.findings],
            "missing": self.missing, "unknown": self.unknown,
            "nearest_names": self.nearest, "notes": self.notes,
        }  # fmt: skip


def grouped(findings: list[Finding]) -> list[list[Finding]]:
    """Findings of the same value, in the same way, in several layers and calls, together."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kind = "" if finding.difference is None else finding.difference.kind
        groups.setdefault((table_name(finding.name), kind), []).append(finding)
    return list(groups.values())


def formula_of(name: str) -> str:
    """How the value is computed."""
    value = value_named(name)
    return "" if value is None else value.formula


def _number(value: float) -> float | str:
    """A number, or its name where JSON has none."""
    return float(value) if abs(value) < float("inf") else str(value)
