"""Somebody else's Python: what is right passes, what is wrong is shown and named, what can't be judged says why."""

import json
from functools import partial

import numpy as np
import pytest
from hypothesis.errors import Unsatisfiable

from numpy_llama import LlamaConfig, LlamaForCausalLM
from numpy_llama.blocks import Blocks, rms_norm
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.cli.conformance import as_text
from numpy_llama.cli.main import main
from numpy_llama.conformance import runner
from numpy_llama.conformance.findings import Finding
from numpy_llama.conformance.foreign import judge, judge_model
from numpy_llama.conformance.foreign.arrays import Border, back
from numpy_llama.conformance.foreign.functions import Calls, across, cannot_be_called, port_of
from numpy_llama.conformance.foreign.report import ForeignReport
from numpy_llama.conformance.foreign.whole import Whole
from numpy_llama.conformance.foreign.whole_properties import PROPERTIES
from numpy_llama.conformance.foreign.whole_published import compare_cases
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import block_of
from numpy_llama.conformance.properties.rms_norm import keeps_shape_and_dtype
from numpy_llama.conformance.published import OF_TRANSFORMERS
from numpy_llama.conformance.published_logits import in_common, logits_cases, needs, tags
from numpy_llama.conformance.rounding import Broken
from numpy_llama.conformance.runner import try_property
from numpy_llama.mistakes.wrong_blocks.table import WRONG_BLOCKS

PATIENT = ["--timeout", "300"]  # a busy machine is no mistake of the module's


class Told(list):
    """What a judge tells, kept."""

    def __call__(self, **line):
        self.append(line)

    def of(self, kind):
        return [line[kind] for line in self if kind in line]


@pytest.fixture(autouse=True)
def few_examples(monkeypatch):
    """Few are enough here: how much 30 of them find is tested with the properties."""
    monkeypatch.setattr(runner, "try_property", partial(try_property, examples=6, seconds=0.3))


def blocks_of(functions, dtypes=("float32",)):
    told = Told()
    judge.judge_blocks(functions, Border(), dtypes, told)
    return told


# -- functions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [np.array([{}], object), np.array(["x"]), np.array([1j]), np.array([b""]), np.array([1], "M8[s]"),
     np.zeros(1, [("a", "f4")]), {}, [[1.0]], None, "text", type("Odd", (), {"__repr__": lambda self: 1 / 0})()],
)  # fmt: skip
def test_whatever_a_function_returns_gets_a_verdict(odd):
    findings = blocks_of({"softmax": lambda scores: odd}).of("finding")
    assert findings and not any(finding["passed"] for finding in findings)


def test_what_is_right_passes_and_only_what_calls_it_is_reported():
    told = blocks_of(
        {"rope_frequencies": lambda head_dim, theta, dtype: Blocks().rope_frequencies(head_dim, theta, dtype)}
    )
    findings = told.of("finding")
    assert findings
    assert all(finding["passed"] for finding in findings)
    assert not any("worked out by hand" in finding["name"] for finding in findings)
    assert told.of("mistakes") == [{"rope": []}]


def test_a_known_mistake_is_named():
    """Another one, with as many properties as a norm has, is named below, where the command judges a module."""
    wrong = WRONG_BLOCKS["columns of the table instead of rows"]
    told = blocks_of({wrong.field: lambda *given: wrong.wrong(*given)})
    failed = [finding for finding in told.of("finding") if not finding["passed"]]
    assert failed
    assert failed[0]["example"]
    assert wrong.name in told.of("mistakes")[0][wrong.field]


@pytest.mark.parametrize("block", OF_TRANSFORMERS)
def test_published_values_of_a_block_catch_what_is_wrong(block):
    for property_ in OF_TRANSFORMERS[block]:
        wrongs = [wrong for wrong in WRONG_BLOCKS.values() if block_of(wrong.field) == block]
        assert any(
            not try_property(property_, wrong.planted(Port()), examples=3, shrink=False).passed for wrong in wrongs
        )


def test_a_function_with_other_arguments_is_not_blamed():
    assert cannot_be_called("softmax", lambda scores, axis: scores) == (
        "it is called as softmax(scores); an --adapter can pass on what yours takes"
    )
    assert not cannot_be_called("rms_norm", lambda *given: given)
    assert not cannot_be_called("rms_norm", lambda x, weight, eps, more=1: x)
    told = blocks_of({"softmax": lambda scores, axis: scores})
    assert not told.of("finding")
    assert told.of("not_tried")[0][0] == "softmax"


def test_what_is_not_implemented_is_not_held_against_anybody():
    def rope_tables(position_ids, frequencies, dtype, attention_scaling=1.0):
        if attention_scaling != 1:
            raise NotImplementedError
        return Blocks().rope_tables(position_ids, frequencies, dtype)

    told = blocks_of({"rope_tables": rope_tables})
    assert all(finding["passed"] for finding in told.of("finding"))
    reasons = dict(told.of("not_tried"))
    assert "it isn't implemented there" in reasons.values()
    assert "needs float64, which isn't tried" in reasons.values()


def test_a_dtype_that_is_not_asked_for_is_not_tried():
    call = across(rms_norm, Border(), ["float32"], Calls())
    call(np.ones(2, np.float32), np.ones(2, np.float32), 1e-5)
    with pytest.raises(Unsatisfiable, match="needs float64"):
        call(np.ones(2), np.ones(2), 1e-5)


def test_a_function_that_writes_into_what_it_is_given_is_told_so():
    class Writable:
        """A framework whose arrays can't be protected."""

        def out(self, value):
            return np.array(value) if isinstance(value, np.ndarray) else value

    def norm(x, weight, eps):
        x *= 2
        return x

    with pytest.raises(Broken, match="writes into an array"):
        across(norm, Writable(), ["float64"], Calls())(np.ones(2), np.ones(2), 1e-5)


def test_a_cache_is_judged_behind_the_border():
    class Reversed(KVCache):
        def update(self, key, value, layer_index):
            keys, values = super().update(key, value, layer_index)
            return keys[:, :, ::-1], values

    right, wrong = blocks_of({"kv_cache": lambda layers: KVCache(layers)}), blocks_of({"kv_cache": Reversed})
    assert all(finding["passed"] for finding in right.of("finding"))
    assert not all(finding["passed"] for finding in wrong.of("finding"))


# -- the border ----------------------------------------------------------------------------------------------


def test_arrays_come_back_by_what_they_can_do():
    class WithArray:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3.0)

    class WithDlpack:
        def __dlpack__(self, **settings):
            return np.arange(3.0).__dlpack__(**settings)

        def __dlpack_device__(self):
            return np.arange(3.0).__dlpack_device__()

    for array in (WithArray(), WithDlpack(), np.arange(3.0)):
        np.testing.assert_array_equal(back(array), np.arange(3.0))
    assert back("text") == "text"
    assert isinstance(back((WithArray(), 2))[0], np.ndarray)


def test_what_is_no_array_is_said_to_be_none():
    told = blocks_of({"rms_norm": lambda x, weight, eps: "nothing"})
    assert "returned a str, not an array" in told.of("finding")[0]["message"]


# -- whole models --------------------------------------------------------------------------------------------


def made_with(blocks):
    return lambda config, weights: LlamaForCausalLM(LlamaConfig.from_dict(config), weights, blocks=blocks)


def test_our_own_model_passes_every_case():
    results = list(compare_cases(made_with(None), Border(), ["float32"]))
    assert len(results) >= 60
    assert all(result.broken is None and not result.not_tried for result in results)


def test_a_wrong_model_is_explained_by_what_fails_and_by_name(monkeypatch):
    """Tiled heads are wrong with grouped heads alone, and the report says so."""
    few = [case for case in logits_cases() if len(case.calls) == 1 and "padding" not in case.name][:12]
    monkeypatch.setattr("numpy_llama.conformance.foreign.whole_published.logits_cases", lambda: few)
    tiled = Blocks().swap(attention=WRONG_BLOCKS["key/value heads tiled instead of repeated"].wrong)
    told = Told()
    judge_model.judge_make(made_with(tiled), Border(), "float32", told, lambda *given: None)
    (finding,) = [finding for finding in told.of("finding") if finding["name"] == "published"]
    assert not finding["passed"]
    assert "input_ids" in finding["example"]
    assert told.of("note")[0].startswith("Every case with several key/value heads for more query heads ")
    (named,) = told.of("mistakes")[0].values()
    assert any("key/value heads are tiled" in name for name in named)


def test_a_model_without_rope_scaling_is_not_blamed_for_it():
    def make(config, weights):
        if config["rope_parameters"]["rope_type"] != "default":
            raise NotImplementedError("rope scaling")
        return made_with(None)(config, weights)

    results = list(compare_cases(make, Border(), ["float32"]))
    assert all(result.broken is None for result in results)
    assert {result.not_tried for result in results} == {"", "not implemented there: rope scaling"}


def test_a_model_of_ids_alone_is_asked_nothing_else():
    def make(config, weights):
        model = made_with(None)(config, weights)
        return lambda ids: model(ids).logits

    results = list(compare_cases(make, Border(), ["float32"]))
    assert all(result.broken is None for result in results)
    for result in results:
        assert bool(result.not_tried) == bool(needs(result.case))


def whole(logits):
    return Whole(logits, 11, Border())


# A model that breaks one property of whole models and no other; each takes what it needs to be asked.
TABLE = np.linspace(-1, 1, 121, dtype=np.float32).reshape(11, 11) ** 3


def _sees_the_future(input_ids):
    return TABLE[input_ids] + TABLE[input_ids].sum(axis=1, keepdims=True)


def _sees_nothing(input_ids):
    return TABLE[input_ids]


def _knows_its_neighbours(input_ids):
    return TABLE[input_ids].cumsum(axis=1) + TABLE[input_ids].sum(axis=(0, 1))


def _remembers(input_ids, past=[0]):  # noqa: B006  (that is the mistake)
    past[0] += 1
    return TABLE[input_ids].cumsum(axis=1) * past[0]


def _minds_padding(input_ids, attention_mask=None, position_ids=None):
    rows = TABLE[input_ids].cumsum(axis=1)
    return rows if attention_mask is None else rows * attention_mask.mean(axis=1)[:, None, None].astype(np.float32)


def _shows_padding_in_the_cache(input_ids, attention_mask=None, cache=None):
    """Right in the first call, whatever its padding; in those that follow, the padding of the cache counts again."""
    values = TABLE[input_ids] if cache is None else np.concatenate((cache, TABLE[input_ids]), axis=1)
    seen = values if attention_mask is None or cache is not None else values * attention_mask[..., None]
    return seen.astype(np.float32).cumsum(axis=1)[:, -input_ids.shape[1] :], values


def _forgets(input_ids, cache=None):
    return TABLE[input_ids].cumsum(axis=1), cache


def _counts_from_zero(input_ids, position_ids=None):
    positions = np.arange(input_ids.shape[1])[None] if position_ids is None else position_ids
    return TABLE[input_ids].cumsum(axis=1) + positions[..., None].astype(np.float32)


BREAKS = {
    "the_future_changes_nothing": _sees_the_future,
    "the_past_matters": _sees_nothing,
    "a_row_does_not_know_its_neighbours": _knows_its_neighbours,
    "the_same_call_gives_the_same_logits": _remembers,
    "padding_on_the_right_changes_nothing": _minds_padding,
    "padding_on_the_left_changes_nothing": _minds_padding,
    "padding_in_the_cache_changes_nothing": _shows_padding_in_the_cache,
    "prefill_and_decode_are_one_pass": _forgets,
    "only_distances_matter": _counts_from_zero,
}


def test_padding_that_only_later_calls_show_breaks_nothing_else():
    model = whole(_shows_padding_in_the_cache)
    broken = [
        property_.__name__
        for property_, needed in PROPERTIES.items()
        if all(model.takes(name) for name in needed) and not try_property(property_, model).passed
    ]
    assert broken == ["padding_in_the_cache_changes_nothing"]


@pytest.mark.parametrize("property_", PROPERTIES, ids=lambda property_: property_.__name__)
def test_every_property_of_a_whole_model_can_fail(property_):
    model = whole(BREAKS[property_.__name__])
    assert all(model.takes(name) for name in PROPERTIES[property_])
    verdict = try_property(property_, model)
    assert not verdict.passed
    assert not verdict.message.startswith("raised")


def test_what_failing_cases_have_in_common_is_said_only_where_it_tells_them_apart():
    cases = logits_cases()
    tied = [case for case in cases if "tied embeddings" in tags(case)]
    others = [case for case in cases if case not in tied]
    assert in_common(tied, others) == "Every case with tied embeddings fails, and no other does."
    assert in_common(list(cases), []) == ""


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_judges_a_module_from_where_it_stands(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "norms.py").write_text(
        "import numpy as np\n"
        "def rms_norm(x, weight, eps):\n"
        "    print('noise')\n"
        "    return weight * x / (np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) + x.dtype.type(eps))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["conformance", "my_package.norms", "--dtypes", "float32", *PATIENT, "--json", "--examples", "6"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["functions"] == ["rms_norm"]
    assert not report["passed"]
    assert report["mistakes"] == {"rms_norm": ["eps outside the root"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_here", "can't be loaded: ModuleNotFoundError in line 1: No module named"),
        ("def rms_norm(x, weight:", "not valid Python in line 1"),
        ("def norm(x): return x", "no function of a known name; expected one of activation"),
        ("import os; os._exit(3)", "the file ended the process itself (status 3)"),
    ],
)
def test_what_cannot_be_judged_says_why(tmp_path, text, message, capsys):
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert main(["conformance", str(path), *PATIENT]) == 2
    assert message in capsys.readouterr().err


def test_a_report_says_of_which_block_each_property_is():
    told = blocks_of({"embedding": lambda input_ids, table: table[input_ids], "softmax": lambda scores: 0})
    of_two = [Finding(**line) for line in told.of("finding")]
    lines = as_text(ForeignReport("mine", ["embedding", "softmax"], of_two)).split("\n")
    first, second = lines.index("  embedding"), lines.index("  softmax")
    assert all(line.startswith("    ✓ ") for line in lines[first + 1 : second - 1])
    assert lines[second + 1].startswith("    ✗ ")
    assert any(line.startswith("What doesn't hold of softmax: ") for line in lines)


def _of_torch(scores):
    raise TypeError("softmax(): argument 'input' (position 1) must be Tensor, not numpy.ndarray")


@pytest.mark.parametrize(
    ("function", "hinted"),
    [(lambda scores: scores.softmax(-1), True), (_of_torch, True), (lambda scores: None.softmax(scores), False)],
)
def test_arrays_of_another_framework_are_hinted_at(function, hinted):
    findings = [Finding(**line) for line in blocks_of({"softmax": function}).of("finding")]
    assert any("--arrays torch" in hint for hint in judge.hints(findings)) is hinted


def test_a_module_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["conformance", "nowhere.at_all"]) == 2
    assert (
        "nowhere.at_all: can't be imported: ModuleNotFoundError: No module named 'nowhere'" in capsys.readouterr().err
    )


def test_a_loop_without_end_is_stopped_and_named(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text("import time\ndef softmax(scores):\n    print('hello')\n    while True: time.sleep(1)\n")
    assert main(["conformance", str(path), "--timeout", "4"]) == 1
    out = capsys.readouterr().out
    assert "stopped: not finished after 4 s; a loop that doesn't end? (while this was tried: exp turns" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "--check", "b"],
        ["--emit", "a", "--check", "b"],
        ["a", "--only", "softmax"],
        ["--check", "a", "--format", "npy"],
        ["--emit", "a", "--only", "cabbage"],
        ["a", "--dtypes", "float8"],
    ],
)
def test_options_that_do_not_go_together(arguments, capsys):
    assert main(["conformance", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_dtype_of_a_property_is_drawn_among_those_asked_for():
    from numpy_llama.conformance.asked_dtypes import in_dtypes

    seen = set()

    def norm(x, weight, eps):
        seen.add(x.dtype.name)
        return rms_norm(x, weight, eps)

    port, _ = port_of({"rms_norm": norm}, Border(), ["float16"])
    assert try_property(in_dtypes(keeps_shape_and_dtype, ["float16"]), port).passed
    assert seen == {"float16"}
