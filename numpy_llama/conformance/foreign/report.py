"""What became of somebody's code: which properties hold, which don't, which couldn't be tried, and why."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from numpy_llama.conformance.findings import Finding


@dataclass(frozen=True)
class ForeignReport:
    """What became of somebody's code.

    target     what was judged, as it was named
    functions  names of the functions that were judged
    findings   one for each property that was tried, in order; fewer where the process was stopped
    not_tried  (sentence, why) of what couldn't be tried
    stopped    why judging ended early, in plain words; empty where it didn't
    mistakes   for each function, or "the whole model": names of the mistakes that give the same wrong numbers
    notes      sentences for a reader about what was found
    """

    target: str
    functions: Sequence[str]
    findings: Sequence[Finding]
    not_tried: Sequence[tuple[str, str]] = ()
    stopped: str = ""
    mistakes: dict[str, list[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether all that was tried holds, and something was."""
        return bool(self.findings) and not self.stopped and all(finding.passed for finding in self.findings)

    @property
    def status(self) -> int:
        """0 all holds, 1 something doesn't, 2 nothing could be judged."""
        return 0 if self.passed else 1 if self.findings or self.stopped else 2

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {**asdict(self), "passed": self.passed, "status": self.status}
