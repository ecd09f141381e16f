"""What each rule promises about a text, and each stopping rule about its end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError, embedded_model_folder
from numpy_llama.blocks.logits_rules import entropy, keep_eta, keep_probable, keep_typical, log_softmax
from numpy_llama.blocks.softmax import softmax
from numpy_llama.generation.stopping import StopStrings
from numpy_llama.generation.text import continue_text
from numpy_llama.tokenizer import LlamaTokenizer

PROMPT = [[1, 5, 9, 14]]
HOW = [{}, {"do_sample": True, "seed": 1}, {"num_beams": 3}]
END = {"eos_token_id": [3, 17, 30, 44, 50], "pad_token_id": 0}


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("float64", eos_token_id=None)


@pytest.fixture(scope="module")
def tokenizer():
    return LlamaTokenizer.from_pretrained(embedded_model_folder())


def new_tokens(model, **settings) -> list[int]:
    return model.generate(PROMPT, **{"max_new_tokens": 20, **settings})[0, 4:].tolist()


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_comes_twice(model, how, size):
    text = PROMPT[0] + new_tokens(model, no_repeat_ngram_size=size, **how)
    ngrams = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]
    assert len(set(ngrams)) == len(ngrams)


@pytest.mark.parametrize("how", HOW, ids=str)
def test_no_end_token_comes_too_early(model, how):
    ends = set(END["eos_token_id"])
    for least in ({"min_new_tokens": 9}, {"min_length": 13}, {"min_new_tokens": 9, "min_length": 20}):
        assert not ends & set(new_tokens(model, **END, **least, **how)[:9])


@pytest.mark.parametrize("how", HOW, ids=str)
def test_what_is_forbidden_never_comes(model, how):
    plain = new_tokens(model, **how)
    assert not {plain[0], plain[3]} & set(new_tokens(model, suppress_tokens=[plain[0], plain[3]], **how))
    begun = new_tokens(model, begin_suppress_tokens=[plain[0]], **how)
    assert begun[0] != plain[0]
    pair = plain[1:3]
    text = new_tokens(model, bad_words_ids=[pair, [plain[5]]], **how)
    assert plain[5] not in text
    assert pair not in [text[i : i + 2] for i in range(len(text) - 1)]


@pytest.mark.parametrize("how", HOW, ids=str)
def test_what_is_forced_comes(model, how):
    assert new_tokens(model, forced_eos_token_id=7, **how)[-1] == 7
    assert model.generate([[1]], forced_bos_token_id=8, max_new_tokens=3, **how)[0, 1] == 8


def test_the_prompt_is_no_token_where_it_is_padding(model):
    """Padding on the left isn't penalised, and a token of the prompt is."""
    chosen = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, "max_new_tokens": 1}
    output = model.generate([[0, 0, 7, 3]], [[0, 0, 1, 1]], repetition_penalty=2.0, **chosen)
    changed = np.flatnonzero(output.scores[0] != output.logits[0])
    np.testing.assert_array_equal(changed, [3, 7])


def test_an_end_becomes_likelier_with_every_token(model):
    """logit + |logit| · (factor^n − 1), from the third new token on."""
    chosen = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, "max_new_tokens": 6}
    output = model.generate(PROMPT, exponential_decay_length_penalty=(2, 1.5), eos_token_id=17, **chosen)
    for step, (scores, logits) in enumerate(zip(output.scores, output.logits, strict=True)):
        raised = np.abs(logits[0, 17]) * (1.5 ** max(step - 2, 0) - 1)
        assert scores[0, 17] - logits[0, 17] == pytest.approx(raised, abs=1e-12)


distributions = st.lists(st.integers(-40, 40), min_size=2, max_size=12).map(lambda x: np.array([x]) / 8)


@given(logits=distributions, p=st.floats(0.05, 0.95))
def test_typical_keeps_the_nearest_to_the_expected_surprise(logits, p):
    """What is kept has probability p or more, and nothing that is removed is more typical than something kept."""
    kept = keep_typical(logits, p)[0] > -np.inf
    probabilities = softmax(logits)[0]
    assert probabilities[kept].sum() >= p - 1e-12
    log_probabilities = log_softmax(logits)
    distance = np.abs(-log_probabilities - entropy(log_probabilities))[0]
    if not kept.all():
        assert distance[kept].max() <= distance[~kept].min()
        nearer = kept & (distance < distance[kept].max())
        assert probabilities[nearer].sum() < p + 1e-12


@given(logits=distributions, cutoff=st.floats(0.001, 0.9))
def test_epsilon_and_eta_keep_the_likeliest_and_eta_no_fewer(logits, cutoff):
    """min(ε, √ε · exp(−entropy)) is at most ε."""
    epsilon, eta = (rule(logits, cutoff)[0] > -np.inf for rule in (keep_probable, keep_eta))
    assert epsilon[logits[0].argmax()]
    assert (eta | ~epsilon).all()
    np.testing.assert_array_equal(epsilon, (softmax(logits)[0] >= cutoff) | (logits[0] == logits.max()))


@given(logits=distributions)
def test_entropy_is_that_of_the_distribution(logits):
    p = softmax(logits)
    assert entropy(log_softmax(logits))[0, 0] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-12)
    assert entropy(np.log([[0.5, 0.5]]))[0, 0] == pytest.approx(np.log(2))
    with np.errstate(divide="ignore"):
        assert entropy(np.log([[0.0, 1.0]]))[0, 0] == 0


# -- how a text ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"do_sample": False}, {"do_sample": True, "seed": 3}], ids=str)
def test_a_text_ends_with_the_token_that_completes_a_stop_string(storyteller, tokenizer, how):
    ids = [tokenizer.encode("Once upon a time")]
    chosen = {"max_new_tokens": 100, "tokenizer": tokenizer, "eos_token_id": None, **how}
    for strings in ([". "], ["."], ["was", "had"], ["a", "e"]):
        text = tokenizer.decode(storyteller.generate(ids, stop_strings=strings, **chosen)[0, len(ids[0]) :])
        without_last = tokenizer.decode(storyteller.generate(ids, stop_strings=strings, **chosen)[0, len(ids[0]) : -1])
        assert any(string in text for string in strings)
        assert not any(string in without_last for string in strings)


def test_a_stop_string_may_begin_in_the_prompt_and_end_inside_a_token(tokenizer):
    vocabulary = tokenizer.get_vocab()
    once, upon = vocabulary["▁Once"], vocabulary["▁upon"]
    stop = StopStrings(["ce up"], tokenizer)
    assert stop(np.array([[once, upon], [upon, once]])) == [True, False]
    assert stop(np.array([[once, upon, once]])) == [False]  # there already, but not in the newest token


def test_a_stop_string_may_be_spelled_in_bytes(tokenizer):
    ids = tokenizer.encode("😀", add_special_tokens=False)
    stop = StopStrings(["😀"], tokenizer)
    assert [bool(stop(np.array([ids[: end + 1]]))[0]) for end in range(len(ids))] == [False] * (len(ids) - 1) + [True]


def test_rows_end_at_different_stop_strings_and_are_filled(storyteller, tokenizer):
    prompts = [tokenizer.encode("Once upon a time"), tokenizer.encode("One day there was")]
    length = min(map(len, prompts))
    batch = [prompt[:length] for prompt in prompts]
    settings = {"max_new_tokens": 60, "do_sample": False, "eos_token_id": 2, "pad_token_id": 0}
    full = storyteller.generate(batch, **settings)
    rows = storyteller.generate(batch, stop_strings=["."], tokenizer=tokenizer, **settings)
    stop = StopStrings(["."], tokenizer)
    for row, whole in zip(rows, full, strict=True):
        end = next(i for i in range(length + 1, rows.shape[1] + 1) if stop(whole[None, :i])[0])
        np.testing.assert_array_equal(row[:end], whole[:end])
        assert (row[end:] == 0).all()


def test_stop_strings_need_a_tokenizer(model):
    with pytest.raises(LlamaError, match="tokenizer: missing; expected the model's, to find stop_strings in the text"):
        model.generate(PROMPT, stop_strings=["a"])


@pytest.mark.parametrize("how", HOW, ids=str)
def test_a_text_ends_when_the_time_is_up_or_the_caller_says_so(model, how):
    assert len(new_tokens(model, max_time=0, **how)) == 1
    assert len(new_tokens(model, stopping_criteria=[lambda ids, scores: ids.shape[1] >= 9], **how)) == 5


def test_a_streamed_text_ends_at_its_stop_string(storyteller, tokenizer):
    text = continue_text(storyteller, tokenizer, "Once upon a time", do_sample=False, stop_strings="was")
    assert text.endswith("was")
    with pytest.raises(LlamaError, match="num_return_sequences: one text at a time; expected 1, found 2"):
        continue_text(storyteller, tokenizer, "One day", do_sample=True, num_return_sequences=2)
