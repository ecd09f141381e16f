"""The losses beside Transformers' own, on random logits and labels."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers.loss import loss_utils

from numpy_llama.model import losses
from numpy_llama.precision import DTYPES, float_dtype
from numpy_llama.reference.record import to_numpy

# Sums of up to 300 terms in another order. In two bytes both round at the same places, and may differ in the last one
# where a float32 sum fell on another side of a midpoint: within a unit or two of bfloat16's 2^-8 and float16's 2^-11.
RELATIVE = {"float64": 1e-14, "float32": 2e-6, "float16": 2 / 2**11, "bfloat16": 2 / 2**8}
SAME_BITS = 0.97  # of two-byte losses; a rounding too many or too few in any step takes a tenth to a half away
TIMES = 200

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def tensor(array: np.ndarray, dtype: str | None = None):
    """As a torch tensor, in the dtype of that name where one is given."""
    if array.dtype.kind in "iu":
        return torch.from_numpy(array)
    return torch.from_numpy(array.astype(np.float64)).to(getattr(torch, dtype or array.dtype.name))


@pytest.fixture
def in_float64(monkeypatch):
    """Transformers' `.float()` of logits, lifted: a float64 tensor stays one."""
    narrow = torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, "float", lambda t: t if t.dtype == torch.float64 else narrow(t))


def assert_equal_losses(pairs, dtype: str) -> None:
    """pairs  (ours, Transformers'), each of a scalar of the same dtype."""
    same = []
    for ours, theirs in pairs:
        theirs = to_numpy(theirs)
        assert isinstance(ours, np.ndarray) and ours.shape == ()
        assert ours.dtype == theirs.dtype
        ours, theirs = float(ours), float(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=RELATIVE[dtype], atol=RELATIVE[dtype] / 10)
        same.append(ours == theirs or (np.isnan(ours) and np.isnan(theirs)))
    if dtype in ("float16", "bfloat16"):
        assert np.mean(same) >= SAME_BITS


def draws(dtype: str, classes: int = 60):
    """Logits (B, T, N) of sharp and flat distributions, labels (B, T) some of which don't count."""
    generator = np.random.default_rng(5)
    for _ in range(TIMES):
        shape = (*generator.integers(1, 6, 2), generator.integers(2, classes))
        logits = generator.standard_normal(shape) * generator.choice([0.3, 2, 8])
        labels = generator.integers(0, shape[2], shape[:2])
        labels[generator.random(labels.shape) < generator.choice([0, 0.4])] = -100
        yield generator, logits.astype(float_dtype(dtype)), labels


@every_dtype
def test_causal_lm(dtype, in_float64):
    pairs = [
        (losses.causal_lm_loss(x, y), loss_utils.ForCausalLMLoss(tensor(x), tensor(y), vocab_size=x.shape[2]))
        for _, x, y in draws(dtype)
    ]
    assert_equal_losses(pairs, "float64" if dtype == "float64" else "float32")


@every_dtype
def test_token_classification(dtype, in_float64):
    pairs = []
    for _, x, y in draws(dtype):
        config = SimpleNamespace(num_labels=x.shape[2])
        pairs.append(
            (losses.token_classification_loss(x, y), loss_utils.ForTokenClassification(tensor(x), tensor(y), config))
        )
    assert_equal_losses(pairs, "float64" if dtype == "float64" else "float32")


@every_dtype
def test_question_answering(dtype):
    """Positions before the text, in it, past it."""
    pairs = []
    for generator, x, _ in draws(dtype, classes=300):
        start, end = x[:, 0], x[:, -1]  # (B, T)
        positions = generator.integers(-2, x.shape[2] + 3, (2, len(x)))
        shape = (len(x), 1) if generator.random() < 0.3 else (len(x),)
        first, last = (p.reshape(shape) for p in positions)
        theirs = loss_utils.ForQuestionAnsweringLoss(
            tensor(start), tensor(end), tensor(first.copy()), tensor(last.copy())
        )
        pairs.append((losses.question_answering_loss(start, end, first, last), theirs))
    assert_equal_losses(pairs, dtype)


@every_dtype
@pytest.mark.parametrize("kind", ["regression", "single_label_classification", "multi_label_classification", None])
def test_sequence_classification(dtype, kind):
    """Each problem type, and the one that the labels and their number stand for."""
    pairs = []
    for generator, x, y in draws(dtype):
        logits = x[:, 0]  # (B, N)
        wanted = kind or generator.choice(["regression", "single_label_classification", "multi_label_classification"])
        if wanted == "regression" and (kind is None or generator.random() < 0.5):
            logits = logits[:, :1]
        labels = {
            "regression": generator.standard_normal(logits.shape).astype(logits.dtype),
            "single_label_classification": y[:, 0],
            "multi_label_classification": generator.integers(0, 2, logits.shape).astype(logits.dtype),
        }[wanted]
        if logits.shape[1] == 1 and generator.random() < 0.5:
            labels = labels[:, 0]
        config = SimpleNamespace(num_labels=logits.shape[1], problem_type=kind)
        theirs = loss_utils.ForSequenceClassificationLoss(tensor(labels), tensor(logits), config)
        pairs.append((losses.sequence_classification_loss(logits, labels, kind), theirs))
        assert config.problem_type == wanted
    assert_equal_losses(pairs, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_float32_labels_of_a_two_byte_model(dtype, kind):
    """What torch's own default dtype for labels comes to: the loss is float32."""
    pairs = []
    for generator, x, _ in draws(dtype):
        labels = generator.integers(0, 2, x[:, 0].shape).astype(np.float32)
        config = SimpleNamespace(num_labels=x.shape[2], problem_type=kind)
        theirs = loss_utils.ForSequenceClassificationLoss(tensor(labels), tensor(x[:, 0]), config)
        pairs.append((losses.sequence_classification_loss(x[:, 0], labels, kind), theirs))
    assert_equal_losses(pairs, "float32")


@every_dtype
def test_nothing_counts(dtype, in_float64):
    logits = np.ones((2, 3, 4), float_dtype(dtype))
    none = np.full((2, 3), -100)
    theirs = loss_utils.ForCausalLMLoss(tensor(logits), tensor(none), vocab_size=4)
    ours = losses.causal_lm_loss(logits, none)
    assert np.isnan(float(theirs)) and np.isnan(float(ours))


def test_the_last_real_token():
    """As the pooling of Transformers' model finds it: padding left, right, on both sides, inside, everywhere."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=9, pad_token_id=0, num_labels=3, **sizes)
    model = LlamaForSequenceClassification(config).eval()
    ids = np.array([[1, 2, 3, 4], [0, 0, 5, 6], [7, 8, 0, 0], [0, 1, 2, 0], [1, 0, 3, 0], [0, 0, 0, 0]])
    with torch.no_grad():
        pooled = model(torch.from_numpy(ids)).logits
        every = model.score(model.model(torch.from_numpy(ids)).last_hidden_state)
    last = losses.last_real_token(ids, 0)
    assert last.tolist() == [3, 3, 1, 2, 2, 0]
    np.testing.assert_array_equal(pooled.numpy(), every[torch.arange(6), torch.from_numpy(last)].numpy())
