"""What quantization costs and saves: the error of every matrix, the memory, and the perplexity before and after."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpy_llama.blocks.quantized_weight import QuantizedWeight, dequantize
from numpy_llama.checkpoints.auto import AutoTokenizer
from numpy_llama.checkpoints.embedded import data_folder
from numpy_llama.errors import LlamaError
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.quantization import Quantization, is_quantizable
from numpy_llama.study.perplexity import Perplexity, perplexity


@dataclass(frozen=True)
class MatrixError:
    """How far a quantized matrix is from what it was.

    layer, name  0, "q_proj"
    relative     ‖W − Ŵ‖ / ‖W‖, root of the sums of squares
    """

    layer: int
    name: str
    relative: float


@dataclass(frozen=True)
class QuantizationReport:
    """A model before and after.

    matrices       of all layers, in order of use
    matrix_bytes   that these take before and after
    model_bytes    that all weights take
    perplexities   on the same texts
    """

    quantization: Quantization
    matrices: list[MatrixError]
    numbers: int
    matrix_bytes: tuple[int, int]
    model_bytes: tuple[int, int]
    perplexities: tuple[Perplexity, Perplexity]

    @property
    def bits_per_weight(self) -> float:
        """Of a quantized matrix: codes, scales and zeros together."""
        return 8 * self.matrix_bytes[1] / self.numbers


def quantization_report(
    model: LlamaForCausalLM, quantization: Quantization, texts: Sequence[Sequence[int]]
) -> QuantizationReport:
    """Quantize a model, and look at what it has lost.

    texts   token ids of each, for the perplexity
    raises  LlamaError where the model is quantized already, and as perplexity does
    """
    tensors = {**model.tensors}
    matrices: list[MatrixError] = []
    for name in model.tensor_shapes(model.config):  # in order of use, as a file may not have them
        weight = model.tensors[name]
        if isinstance(weight, QuantizedWeight):
            raise LlamaError("quantized already", where=name, expected="a model loaded without quantization")
        if is_quantizable(name):
            tensors[name] = quantized = quantization(name, weight)  # type: ignore[assignment]
            _, layer, _, short, _ = name.removeprefix(model.base_model_prefix).split(".")
            matrices.append(MatrixError(int(layer), short, relative_error(weight, dequantize(quantized))))
    after = LlamaForCausalLM(model.config, tensors, blocks=model.blocks, source=None)
    changed = [name for name in tensors if is_quantizable(name)]
    return QuantizationReport(
        quantization,
        matrices,
        numbers=sum(tensors[name].size for name in changed),
        matrix_bytes=(_bytes(model, changed), _bytes(after, changed)),
        model_bytes=(_bytes(model, list(tensors)), _bytes(after, list(tensors))),
        perplexities=(perplexity(model, texts), perplexity(after, texts)),
    )


def relative_error(weight: np.ndarray, approximation: np.ndarray) -> float:
    """‖W − Ŵ‖ / ‖W‖, in float64; 0 where both are zero."""
    weight, approximation = weight.astype(np.float64), approximation.astype(np.float64)
    length = np.linalg.norm(weight)
    return float(np.linalg.norm(weight - approximation) / length) if length else 0.0


def stories() -> list[str]:
    """Sixteen stories, such as the embedded model was trained on, but none of those."""
    path = data_folder() / "published_quantization" / "stories.txt"
    return path.read_text(encoding="utf-8").splitlines()


def report_on(path: Path, quantization: Quantization, texts: Sequence[str] | None = None) -> QuantizationReport:
    """quantization_report of a checkpoint in float32.

    texts   each read on its own; stories() unless given
    raises  LlamaError where the checkpoint, or its tokenizer, can't be read
    """
    model = LlamaForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = [tokenizer(text)["input_ids"] for text in (stories() if texts is None else texts)]
    return quantization_report(model, quantization, ids)


def _bytes(model: LlamaForCausalLM, names: Sequence[str]) -> int:
    return sum(model.tensors[name].nbytes for name in names)
