"""Diagnosis of a Llama in torch with a mistake planted in it, and the torch Llama itself, held to Transformers.

All of the catalogue, many times over: python -m numpy_llama.reference.diagnose_trials --trials 20
"""

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from numpy_llama.mistakes.catalogue import CATALOGUE  # noqa: E402
from numpy_llama.reference.diagnose_trials import HONEST, keeps_the_promise, trial  # noqa: E402
from numpy_llama.reference.publish_cases import load_class  # noqa: E402
from numpy_llama.reference.torch_mistakes import PLANTS  # noqa: E402
from numpy_llama.reference.torch_port import TorchPort  # noqa: E402
from numpy_llama.reference.trial_draws import draw_subject  # noqa: E402

# Both are torch, and add up in the same order but where Transformers keeps its activation in another form: a few
# roundings of 1.2e-7 (float32), 4.9e-4 (float16), 3.9e-3 (bfloat16), relative to the largest logit.
RELATIVE = {"float32": 2e-6, "float16": 4e-3, "bfloat16": 3e-2}


def tensor(array):
    return None if array is None else torch.tensor(array)


@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize("seed", range(8))
def test_the_port_without_a_mistake_is_transformers_llama(seed, dtype):
    subject = draw_subject(np.random.default_rng(seed)).in_dtype(dtype)
    weights = {name: array.astype(np.float32) for name, array in subject.weights.items()}
    model = load_class("LlamaForCausalLM", subject.config.to_dict(), weights, dtype, "eager")
    cache = None
    logits = TorchPort(subject.config.to_dict(), weights, dtype).run(subject.calls)
    for asked, ours in zip(subject.calls, logits, strict=True):
        if asked.past == 0:
            model.model.rotary_emb = type(model.model.rotary_emb)(model.config)  # dynamic rope remembers longer texts
            cache = transformers.DynamicCache(config=model.config)
        with torch.no_grad():
            given = map(tensor, (asked.input_ids, asked.attention_mask, asked.position_ids))
            theirs = model(*given, cache).logits.float().numpy()
        real = np.ones(asked.input_ids.shape, bool) if asked.attention_mask is None else asked.attention_mask != 0
        real = real[:, -asked.input_ids.shape[1] :]
        difference = np.abs(theirs - ours.astype(np.float32))[real]
        assert difference.max() <= RELATIVE[dtype] * np.abs(theirs).max()


def test_every_mistake_of_the_catalogue_is_planted_in_torch_too():
    assert PLANTS.keys() == CATALOGUE.keys()


def test_every_mistake_is_named_first_from_logits_alone():
    """Once each, in float32 and among a few suspects; all that can be exposed there is."""
    outcomes = [found for key in CATALOGUE if (found := trial(key, 0, among=4, small=True)) is not None]
    assert len(outcomes) >= 0.95 * len([key for key in CATALOGUE if "half-precision" not in CATALOGUE[key].exposed_by])
    missed = [str(one) for one in outcomes if not keeps_the_promise(one.key, Counter([one.judged]))]
    assert not missed, "\n".join(missed)


def test_among_all_mistakes_the_right_one_is_named():
    for key in ("rope-interleaved", "layer-skipped"):
        assert trial(key, 1).judged == "named"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_nobody_is_blamed_where_there_is_no_mistake(dtype):
    for seed in range(3):
        assert trial(HONEST, seed, dtype).said.verdict == "agrees"
