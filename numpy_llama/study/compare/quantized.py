"""Ports with quantized weights: judged by what they predict, not number by number.

Their weights are known exactly (a GGUF file dequantizes to plain numbers, and our model takes those), but their kernels
round activations to 8 bits as well before each product, each in its own way. So numbers inside differ by a hundredth,
and no error bar of a float dtype fits. What can be asked is whether they predict the same: how far their distribution
of the next token is from ours (Kullback-Leibler divergence, in nats), how often the likeliest token is the same, and
how well either foresees the text.

How far is honest? Measured: our own model, with the input of every linear layer rounded to 8 bits in blocks of 32, as
such kernels do. A port may be ten times as far as that: kernels for other formats round in blocks of 256, and sums in
half precision come on top. A mistake in the formulas is thousands of times as far.
"""

from dataclasses import dataclass, replace

import numpy as np

from numpy_llama.blocks.linear import linear
from numpy_llama.errors import LlamaError
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.study.compare.calls import asked_again
from numpy_llama.study.compare.judging import seen
from numpy_llama.study.subject import Asked, Subject
from numpy_llama.study.trace.trace import LOGITS, Trace

BLOCK = 32  # numbers that share a scale in ggml's Q8_0
ALLOWED = 10.0  # times the divergence that 8-bit activations cost ours


@dataclass(frozen=True)
class Prediction:
    """How two sets of predictions differ.

    divergence  mean over the tokens of Σ p log(p / q), p ours and q theirs; nats
    worst       the largest of a token
    same_top    share of tokens at which the likeliest next one is the same
    perplexity  of the text that follows, by p and by q; None where no next token is known
    tokens      how many predictions were compared
    """

    divergence: float
    worst: float
    same_top: float
    perplexity: tuple[float, float] | None
    tokens: int


@dataclass(frozen=True)
class QuantizedReport:
    """Theirs beside our model with the same dequantized weights.

    theirs   how their predictions differ from ours
    honest   how ours differ from ours, once activations are rounded to 8 bits
    weights  what quantizing the weights costs by itself: how ours differ from those of the model that was quantized;
             None where that isn't known
    """

    theirs: Prediction
    honest: Prediction
    weights: Prediction | None = None

    @property
    def allowed(self) -> float:
        """The divergence that a port may have, nats."""
        return ALLOWED * self.honest.divergence

    @property
    def status(self) -> int:
        """0 as near as honest kernels are, 1 not."""
        return 0 if self.theirs.divergence <= self.allowed else 1


def compare_quantized(
    theirs: Trace, model: LlamaForCausalLM, original: LlamaForCausalLM | None = None
) -> QuantizedReport:
    """Hold the logits in a trace to our model.

    model     with the dequantized weights of theirs
    original  with the weights before they were quantized, where they are at hand
    raises    LlamaError where there are no logits, or of another vocabulary
    """
    asked, places, _ = asked_again(theirs)
    theirs = replace(theirs, calls=[theirs.calls[place] for place in places])
    subject = Subject(model.config, model.tensors, asked).in_dtype("float64")
    ours = subject.run()
    with_eight_bits = Subject(
        model.config, subject.weights, asked, subject.blocks.swap(linear=linear_of_eight_bits)
    ).run()
    whole = ours
    if original is not None:
        if original.config.vocab_size != model.config.vocab_size:
            expected, found = model.config.vocab_size, original.config.vocab_size
            raise LlamaError("another vocabulary", where="the model that was quantized", expected=expected, found=found)
        whole = Subject(original.config, original.tensors, asked).in_dtype("float64").run()
    p, q, r, w, following = [], [], [], [], []
    for call, one, truth, rounded, unrounded in zip(theirs.calls, asked, ours, with_eight_bits, whole, strict=True):
        if call.logits is None:
            continue
        logits = _shaped(np.asarray(call.logits).astype(np.float64), truth, f"{theirs.source}: {call.name}/{LOGITS}")
        keep = logits.shape[1]
        real = seen(one, None).tokens[:, -keep:]
        p.append(truth[:, -keep:][real])
        q.append(logits[real])
        r.append(rounded[:, -keep:][real])
        w.append(unrounded[:, -keep:][real])
        following.append(_following(one, keep)[real])
    if not p:
        raise LlamaError("no logits", where=theirs.source, expected="call.0000/lm_head, (B, T, V)")
    truth, logits, rounded, unrounded, next_ids = (np.concatenate(parts) for parts in (p, q, r, w, following))
    if not np.isfinite(logits).all():
        raise LlamaError("logits that aren't finite", where=theirs.source, expected="numbers")
    return QuantizedReport(
        predictions(truth, logits, next_ids),
        predictions(truth, rounded, next_ids),
        None if original is None else predictions(unrounded, truth, next_ids),
    )


def predictions(ours: np.ndarray, theirs: np.ndarray, following: np.ndarray) -> Prediction:
    """How two sets of logits differ in what they predict.

    ours, theirs  (N, V)
    following     (N,) the id of the token that really followed, −1 where none is known
    """
    p, q = _log_softmax(ours), _log_softmax(theirs)
    divergence = (np.exp(p) * (p - q)).sum(axis=-1)  # (N,)
    known = following >= 0
    perplexity = None
    if known.any():
        at = following[known][:, None]
        perplexity = tuple(float(np.exp(-np.take_along_axis(x[known], at, -1).mean())) for x in (p, q))
    same = float(np.mean(ours.argmax(-1) == theirs.argmax(-1)))
    return Prediction(float(divergence.mean()), float(divergence.max()), same, perplexity, len(ours))  # type: ignore[arg-type]


def linear_of_eight_bits(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """A linear layer whose input is rounded to 8 bits in blocks of 32, each with a scale: max |x| / 127.

    x        (..., I)
    weight   (O, I)
    bias     (O,) or None
    returns  (..., O), dtype of x
    source   quantize_row_q8_0 of ggml
    """
    size = BLOCK if x.shape[-1] % BLOCK == 0 else x.shape[-1]
    blocks = x.reshape(*x.shape[:-1], -1, size)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / 127
    rounded = np.rint(blocks / np.where(scale == 0, 1, scale)) * scale
    return linear(rounded.reshape(x.shape).astype(x.dtype, copy=False), weight, bias)


def _shaped(theirs: np.ndarray, ours: np.ndarray, where: str) -> np.ndarray:
    """Their logits as (B, T or the last, V)."""
    B, T, V = ours.shape
    if theirs.ndim and theirs.shape[-1] >= V:  # a vocabulary padded to a round number
        cut = theirs[..., :V]
        for tokens in (T, 1):
            if cut.size == B * tokens * V:
                return cut.reshape(B, tokens, V)
    raise LlamaError("wrong shape", where=where, expected=f"{ours.shape}, or of the last token", found=theirs.shape)


def _following(asked: Asked, keep: int) -> np.ndarray:
    """(B, keep) the token after each, −1 where the call ends there."""
    end = np.full((len(asked.input_ids), 1), -1)
    return np.concatenate((asked.input_ids[:, 1:], end), axis=1)[:, -keep:]


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
