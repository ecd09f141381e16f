"""What a diagnosis works with: the reference, what the stranger computed, and how the two are held together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import hypot

from numpy_llama.mistakes.mistake import Mistake
from numpy_llama.study.diagnose.stranger import Stranger
from numpy_llama.study.diagnose.trial import Distance, Measure
from numpy_llama.study.subject import Subject
from numpy_llama.study.trace.trace import Trace

# How many error bars an honest run may be off, root mean square. A float32 sum of thousands of products is off by a few
# last bits, in an order of its own; two-byte runs add up in wider numbers, and round where the bar rounds.
HONEST = {"float64": 10.0, "float32": 10.0, "float16": 4.0, "bfloat16": 4.0}


@dataclass
class Case:
    """One diagnosis on its way.

    subject      the reference; its calls don't count
    theirs       the stranger's trace, and `stranger`, what it says
    catalogue    the mistakes that are tried
    progress     told how far it is, a line at a time
    thorough     whether the search goes on after a mistake that fits, however long it takes
    tried        how many runs were made
    shortened    whether it ended with the first mistake that fits
    interrupted  whether somebody stopped it
    unseen       keys of mistakes that were planted and changed nothing
    """

    subject: Subject
    theirs: Trace
    stranger: Stranger
    catalogue: Mapping[str, Mistake]
    progress: Callable[[str], None]
    thorough: bool = False
    tried: int = 0
    shortened: bool = False
    interrupted: bool = False
    unseen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.measure = Measure(self.stranger)
        # Most runs are made once, quickly; those that count are measured exactly afterwards.
        self.quick = "float64" if self.stranger.dtypes[0] == "float64" else "float32"

    def asked(self, convention: str, dtype: str | None = None) -> Subject:
        """The reference with the stranger's calls, by one convention of positions, and its weights in his dtype."""
        weights_as_his = self.subject.in_dtype(dtype or self.stranger.dtypes[0])
        return replace(weights_as_his, calls=self.stranger.asked[convention])

    def bar(self, rounding: float, dtype: str) -> float:
        """Rounding of the computation and of the writing; the last rounding of logits in their dtype is the writing."""
        is_last = dtype in ("float16", "bfloat16") and not self.stranger.reading.mistake
        return hypot(rounding, 0.0 if is_last else self.stranger.written)


@dataclass(frozen=True)
class Baseline:
    """A run without a mistake.

    convention  of positions
    dtype       that the stranger is taken to compute in
    distance    how far it is from his logits
    bar         how far it may be: rounding of the computation and of the writing together
    """

    convention: str
    dtype: str
    distance: Distance
    bar: float

    @property
    def agrees(self) -> bool:
        """Whether the stranger is honest."""
        return self.distance.rms <= HONEST[self.dtype] * self.bar
