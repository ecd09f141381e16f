"""Streaming, shown: a made-up checkpoint with the shapes of Llama-2-7B, run in a fraction of its size.

    python -m numpy_llama.study.stream_demo FOLDER

writes 13.5 GB of random bfloat16 numbers into FOLDER (removed afterwards unless --keep says otherwise), loads it with
`weights="stream"`, and reports, of a prompt of 128 tokens:

    the time of the first call, which reads from the disk what isn't in the system's memory already, and checks every
    number; of a second call; and of one more token
    the most anonymous memory in use: what the process holds itself, as opposed to the mapped checkpoint, which the
    system takes back whenever it likes
    the time that the second call spent in matrix products, which no way of holding weights could do without: its
    share of the call says what binds it
"""

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from numpy_llama.blocks import Blocks, linear
from numpy_llama.checkpoints.write_folder import write_folder
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import tensor_shapes
from numpy_llama.precision import DTYPES

LLAMA_2_7B = LlamaConfig(max_position_embeddings=4096, rms_norm_eps=1e-5)
SHARD = "1GB"  # numbers of one file at a time are in memory while the checkpoint is written
PATTERN = 1 << 22  # random numbers that a large tensor repeats: their values change no time


def write_made_up_checkpoint(folder: Path, config: LlamaConfig, seed: int = 0) -> int:
    """Write a checkpoint of random bfloat16 weights, in shards, a shard at a time.

    Matrices are drawn with the spread that keeps the length of a vector, norms around 1. A matrix larger than PATTERN
    numbers repeats them.

    returns  bytes of all weights
    raises   LlamaError where the folder can't be written
    """
    dtype = DTYPES["bfloat16"]
    shapes = dict(tensor_shapes(config))
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(PATTERN, dtype=np.float32)

    def drawn(name: str) -> np.ndarray:
        shape = shapes[name]
        if len(shape) == 1:
            return (1 + 0.1 * noise[: shape[0]]).astype(dtype)
        start = generator.integers(PATTERN)
        pattern = (np.roll(noise, start) / np.sqrt(shape[-1])).astype(dtype)
        return np.resize(pattern, shape)

    sizes = {name: int(np.prod(shape)) * dtype.itemsize for name, shape in shapes.items()}
    write_folder(folder, "LlamaForCausalLM", config, sizes, drawn, {}, SHARD)
    return sum(sizes.values())


@dataclass(frozen=True)
class Measured:
    """What a run found; seconds, and bytes.

    opening           from_pretrained
    first, second     calls with the prompt
    token             one more token after it
    products          of the second call: in the products with the layers' matrices
    anonymous         most anonymous memory while the model ran; None where the system doesn't tell
    operations        multiplications and additions in these products
    """

    opening: float
    first: float
    second: float
    token: float
    products: float
    anonymous: int | None
    operations: int

    @property
    def share_of_products(self) -> float:
        """Part of the second call that its matrix products took."""
        return self.products / self.second


def measure(folder: Path, tokens: int) -> Measured:
    """Run a prompt through the streamed model.

    raises  LlamaError where the folder can't be read
    """
    spent = 0.0

    def timed_linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        nonlocal spent
        begin = time.perf_counter()
        y = linear(x, weight, bias)
        if isinstance(weight, np.ndarray):  # and not the head, which is widened in there
            spent += time.perf_counter() - begin
        return y

    with peak_of_anonymous_memory() as peak:
        begin = time.perf_counter()
        blocks = Blocks().swap(linear=timed_linear)
        model = LlamaForCausalLM.from_pretrained(folder, weights="stream", blocks=blocks)
        opening = time.perf_counter() - begin
        prompt = np.random.default_rng(0).integers(3, model.config.vocab_size, (1, tokens))  # past the special tokens
        begin = time.perf_counter()
        model(prompt)
        first = time.perf_counter() - begin
        spent, begin = 0.0, time.perf_counter()
        output = model(prompt)
        second, products = time.perf_counter() - begin, spent
        begin = time.perf_counter()
        model(prompt[:, :1], past_key_values=output.past_key_values)
        token = time.perf_counter() - begin
    in_layers = [shape for name, shape in tensor_shapes(model.config) if ".layers." in name and len(shape) == 2]
    operations = 2 * tokens * sum(rows * columns for rows, columns in in_layers)
    return Measured(opening, first, second, token, products, peak.value, operations)


class Peak:
    """The largest value seen; None while there was none."""

    value: int | None = None


@contextmanager
def peak_of_anonymous_memory(every: float = 0.01) -> Iterator[Peak]:
    """Watch the process's anonymous memory from a thread; afterwards, `value` is the most it had.

    every  seconds between two looks
    """
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            now = anonymous_memory()
            if now is not None:
                peak.value = max(now, peak.value or 0)
            done.wait(every)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def anonymous_memory() -> int | None:
    """Bytes of memory that the process holds and no file does; None where the system doesn't tell (Linux does)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


def report(measured: Measured, stored: int, tokens: int) -> str:
    """What was measured, in lines."""
    gigabytes = 1e9
    memory = "unknown" if measured.anonymous is None else f"{measured.anonymous / gigabytes:.2f} GB"
    speed = measured.operations / measured.products / 1e9
    return "\n".join(
        [
            f"checkpoint on disk          {stored / gigabytes:.2f} GB",
            f"anonymous memory, at most   {memory}",
            f"opening                     {measured.opening:.2f} s",
            f"prompt of {tokens} tokens{'':<{9 - len(str(tokens))}}{measured.first:.1f} s the first time",
            f"                            {measured.second:.1f} s the second time",
            f"  in matrix products        {measured.products:.1f} s, {measured.share_of_products:.0%} of it, at "
            f"{speed:.0f} GFLOP/s",
            f"one more token              {measured.token:.1f} s",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """The command: write, measure, report, clean up."""
    parser = argparse.ArgumentParser(prog="stream_demo", description="Run a made-up 7B checkpoint from the disk.")
    parser.add_argument("folder", type=Path, help="where to write it: a new folder; 13.5 GB")
    parser.add_argument("--tokens", type=int, default=128, help="in the prompt (default: 128)")
    parser.add_argument("--layers", type=int, default=LLAMA_2_7B.num_hidden_layers, help="fewer, for a quick look")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint, and use the one that is there")
    chosen = parser.parse_args(arguments)
    folder, ours = chosen.folder, not chosen.folder.exists()
    if not ours and not (chosen.keep and (folder / "config.json").is_file()):
        parser.error(f"{folder} is there already; with --keep, the checkpoint in it is used")
    config = replace(LLAMA_2_7B, num_hidden_layers=chosen.layers)
    try:
        if ours:
            write_made_up_checkpoint(folder, config)
        stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        print(report(measure(folder, chosen.tokens), stored, chosen.tokens))
    finally:
        if ours and not chosen.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
