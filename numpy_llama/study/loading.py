"""What loading a GGUF file costs, beside what the gguf package needs to read and dequantize it.

    python -m numpy_llama.study.loading [FILE] [--repeat 5]

Each run is a process of its own, the two by turns, so that neither finds the memory that the other has warmed. The
median time of each is printed, and the most memory that a process had: file pages that are mapped count, too.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.errors import LlamaError

GGUF_PACKAGE = """
from gguf import GGUFReader
from gguf.quants import dequantize
def load(path):
    return [dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(path).tensors]
"""
OURS = """
import gguf
from numpy_llama import LlamaForCausalLM
def load(path):
    return LlamaForCausalLM.from_pretrained(path).tensors.values()
"""
MEASURE = """
import json, resource, sys, time
start = time.perf_counter()
arrays = load(sys.argv[1])
seconds = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps([seconds, peak, sum(array.nbytes for array in arrays)]))
"""


@dataclass(frozen=True)
class Loading:
    """What loading cost: median seconds, most bytes of memory of the process, bytes of the weights."""

    seconds: float
    peak: int
    weights: int


def measure_loading(path: Path, repeat: int = 5) -> tuple[Loading, Loading]:
    """Load a GGUF file with the gguf package, and with from_pretrained: what each costs.

    raises  LlamaError where one of the two can't
    """
    runs: tuple[list[list[float]], list[list[float]]] = ([], [])
    for _ in range(repeat):
        for found, load in zip(runs, (GGUF_PACKAGE, OURS), strict=True):
            command = [sys.executable, "-c", load + MEASURE, str(path)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise LlamaError(f"can't be loaded ({result.stderr.strip().splitlines()[-1]})", where=path)
            found.append(json.loads(result.stdout))
    theirs, ours = (
        Loading(
            statistics.median(seconds for seconds, _, _ in found),
            int(max(peak for _, peak, _ in found)),
            int(found[0][2]),
        )
        for found in runs
    )
    return theirs, ours


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="What loading a GGUF file costs.")
    parser.add_argument("file", nargs="?", default="smollm2", help="a GGUF file; default: smollm2's")
    parser.add_argument("--repeat", type=int, default=5, help="times that each is loaded")
    given = parser.parse_args()
    theirs, ours = measure_loading(checkpoint_path(given.file), given.repeat)
    for name, one in (("the gguf package", theirs), ("from_pretrained", ours)):
        print(f"{name:>16}: {one.seconds:.2f} s, at most {one.peak / 1e6:.0f} MB, weights {one.weights / 1e6:.0f} MB")
    print(f"{'ours':>16}: {ours.seconds / theirs.seconds:.2f} × its time, {ours.peak / ours.weights:.2f} × the weights")


if __name__ == "__main__":
    main()
