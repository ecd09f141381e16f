"""AttentionMaskVisualizer: the picture shows what attention does, in any terminal, for any text."""

import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import (
    AttentionMaskVisualizer,
    Blocks,
    LlamaConfig,
    LlamaError,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaModel,
    LlamaTokenizer,
    embedded_model_folder,
    observe,
    packed_mask,
)
from numpy_llama.blocks.causal_mask import causal_mask
from numpy_llama.precision import lowest
from numpy_llama.study.attention_mask import EARLIER, HIDDEN, ITSELF, LATER, PADDING, AttentionMaskView
from numpy_llama.study.mask_text import columns

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def tokenizer():
    return LlamaTokenizer.from_pretrained(embedded_model_folder())


@pytest.fixture(scope="module")
def visualizer():
    return AttentionMaskVisualizer(embedded_model_folder())


def attention_weights(model, ids, mask):
    """(B, H, T, S), the attention weights of the first layer in a real forward pass."""
    seen = {}
    with observe(lambda name, value, call: seen.update({name: value.copy()})):
        model(ids, attention_mask=mask)
    return seen["model.layers.0.self_attn.weights"]


# -- the truth of the picture ------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), side=st.sampled_from(["left", "right"]))
def test_a_token_is_shown_to_see_what_has_attention_weight(make_model, lengths, side):
    model = make_model()
    view = AttentionMaskVisualizer(model).view([list(range(1, length + 1)) for length in lengths], padding_side=side)
    weights = attention_weights(model, np.ones(view.padding.shape, int), (~view.padding).astype(int))
    sighted = view.visible.any(axis=-1)  # a row that may see nothing has weights all the same
    for head in range(weights.shape[1]):
        np.testing.assert_array_equal((weights[:, head] > 0)[sighted], view.visible[sighted])
    assert (sighted | view.padding).all()


@given(seed=st.integers(0, 1000), size=st.integers(2, 7), additive=st.booleans(), heads=st.sampled_from([1, 4]))
def test_a_mask_of_the_callers_own_is_shown_as_it_acts(make_model, seed, size, additive, heads):
    model = make_model()
    mask = np.random.default_rng(seed).random((2, heads, size, size)) < 0.5
    mask |= np.eye(size, dtype=bool)
    given_mask = np.where(mask, np.float32(0), lowest(np.dtype(np.float32))) if additive else mask
    ids = np.arange(2 * size).reshape(2, size)
    weights = attention_weights(model, ids, given_mask)
    for head in range(heads):
        view = AttentionMaskVisualizer(model).view(ids, given_mask, head=head)
        np.testing.assert_array_equal(view.visible, weights[:, head] > 0)
        np.testing.assert_array_equal(view.visible, mask[:, head])
        assert view.head == (head if heads > 1 else None)


def test_a_number_that_leaves_a_score_its_weight_hides_nothing(make_model):
    slopes = -0.5 * np.abs(np.subtract.outer(np.arange(4), np.arange(4))).astype(np.float32)  # ALiBi, both ways
    assert AttentionMaskVisualizer(make_model()).view([1, 2, 3, 4], slopes[None, None]).visible.all()


def test_a_folder_shows_what_its_model_shows(visualizer, storyteller, tokenizer):
    for texts in ("One day", ["One day", "It rained all day long."]):
        from_model = AttentionMaskVisualizer(storyteller, tokenizer).view(texts)
        np.testing.assert_array_equal(visualizer.view(texts).visible, from_model.visible)
        assert visualizer.view(texts).tokens == from_model.tokens


def test_of_a_folder_the_weights_are_not_read(tmp_path, tokenizer):
    """A 70B-sized config without a weight beside it is drawn at once; so is a text past the trained context."""
    sizes = {"hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8}
    factors = {"short_factor": [1.0] * 64, "long_factor": [2.0] * 64, "original_max_position_embeddings": 8}
    LlamaConfig(
        **sizes, max_position_embeddings=16, rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, **factors}
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kinds = AttentionMaskVisualizer(tmp_path).view("One day " * 20).kinds[0]
    assert (np.tril(kinds, -1) == np.tril(np.full(kinds.shape, EARLIER), -1)).all() and (
        np.triu(kinds, 1) == HIDDEN
    ).all()


@pytest.mark.parametrize("kind", [LlamaModel, LlamaForQuestionAnswering])
def test_any_of_the_models_can_be_asked(kind):
    model = kind(
        LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=1)
    )
    assert AttentionMaskVisualizer(model).view([1, 2, 3]).kinds.tolist() == [
        [[ITSELF, HIDDEN, HIDDEN], [EARLIER, ITSELF, HIDDEN], [EARLIER, EARLIER, ITSELF]]
    ]


def test_a_mistaken_mask_is_shown_with_its_mistake(make_model):
    """Off by one: each token sees the next one, too."""

    def one_too_far(new, total, dtype, attention_mask=None):
        return np.roll(causal_mask(new, total, dtype, attention_mask), -1, axis=-2)

    model = make_model()
    mistaken = LlamaForCausalLM(model.config, model.tensors, blocks=Blocks().swap(causal_mask=one_too_far))
    kinds = AttentionMaskVisualizer(mistaken).view([1, 2, 3, 4]).kinds[0]
    assert [kinds[t, t + 1] for t in range(3)] == [LATER] * 3
    assert "looks ahead" in AttentionMaskVisualizer(mistaken).view([1, 2, 3, 4]).text()


def test_packed_texts_do_not_see_each_other(visualizer):
    view = visualizer.view(["One day", "It rained"], packed=True)
    lengths = [3, 4]
    assert view.tokens == (("<s>", "▁One", "▁day", "<s>", "▁It", "▁rain", "ed"),)
    assert view.sequence.tolist() == [[0, 0, 0, 1, 1, 1, 1]]
    np.testing.assert_array_equal(view.visible, packed_mask(lengths)[0])
    assert "2 texts are packed in one row" in view.text()


def test_one_token_sees_itself(visualizer):
    assert visualizer.view("").kinds.tolist() == [[[ITSELF]]]


def test_padding_is_named_so_and_hidden(visualizer):
    left = visualizer.view(["One day", "Once upon a time"])
    assert left.tokens[0] == ("<pad>", "<pad>", "<s>", "▁One", "▁day")
    assert (left.kinds[0, :, :2] == PADDING).all() and not left.visible[0, :2].any()
    right = visualizer.view(["One day", "Once upon a time"], padding_side="right")
    assert right.tokens[0] == ("<s>", "▁One", "▁day", "<pad>", "<pad>")
    assert (right.kinds[0, :, 3:] == PADDING).all() and right.visible[0, 3:, :3].all()
    own = visualizer.view("One day", [[1, 0, 1]])
    assert own.tokens == (("<s>", "<pad>", "▁day"),) and own.kinds[0, 2].tolist() == [EARLIER, PADDING, ITSELF]


# -- as text -----------------------------------------------------------------------------------------------------------


def test_the_picture_of_a_short_text(visualizer):
    assert visualizer.view(["One day", "It rained"]).text().splitlines() == [
        "Which token (row) may look at which (column)",
        "",
        "row 0",
        "           0 1 2 3",
        "  0 <pad>  × · · ·",
        "  1 <s>    × ◆ · ·",
        "  2 ▁One   × ■ ◆ ·",
        "  3 ▁day   × ■ ■ ◆",
        "",
        "row 1",
        "           0 1 2 3",
        "  0 <s>    ◆ · · ·",
        "  1 ▁It    ■ ◆ · ·",
        "  2 ▁rain  ■ ■ ◆ ·",
        "  3 ed     ■ ■ ■ ◆",
        "",
        "  ◆ itself   ■ may look at it   · may not look   × padding, hidden",
        "  Padding that may look at nothing does no harm: what it computes is never read.",
    ]


def test_a_call_prints_the_picture_and_returns_it(visualizer, capsys):
    view = visualizer("One day", color=False)
    assert capsys.readouterr().out == view.text() + "\n" == str(view) + "\n"
    assert repr(view) == "AttentionMaskView(1 row of 3 tokens)"


def test_colours_change_nothing_but_the_colours(visualizer):
    for texts, options in ((["One day", "It rained"], {}), (["One day", "It rained"], {"packed": True})):
        view = visualizer.view(texts, **options)
        assert "\x1b" not in view.text()
        assert ANSI.sub("", view.text(color=True)) == view.text()
        assert view.text(color=True).count("\x1b[0m") * 2 == view.text(color=True).count("\x1b")  # each one ends


@pytest.mark.parametrize(
    ("terminal", "variables", "colored"),
    [
        (True, {"TERM": "xterm-256color"}, True),
        (True, {"TERM": "xterm-256color", "NO_COLOR": ""}, True),  # an empty NO_COLOR says nothing
        (True, {"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm-256color"}, False),
    ],
)
def test_colours_come_to_terminals_that_want_them(visualizer, monkeypatch, capsys, terminal, variables, colored):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    visualizer("One day")
    assert ("\x1b[" in capsys.readouterr().out) == colored
    visualizer("One day", color=not colored)
    assert ("\x1b[" in capsys.readouterr().out) == (not colored)


TOKENS = (
    "\x1b[31m\x07",
    "日本語",
    "e\u0301",
    "\u0301",
    "😀",
    "\n\r\t",
    "\u202ertl",
    "❤\ufe0f",
    "x" * 50,
    "日" * 30,
    "\x9b1A",
)


def view_of(tokens):
    """A causal view of tokens that a vocabulary might hold."""
    size = len(tokens)
    nothing = np.zeros((1, size), int)
    return AttentionMaskView((tuple(tokens),), np.tril(np.ones((1, size, size), bool)), nothing > 0, nothing)


def test_tokens_cannot_touch_the_terminal_and_every_column_stands_under_its_number():
    text = view_of(TOKENS).text()
    assert all(c.isprintable() for c in text.replace("\n", ""))
    lines = text.splitlines()
    digits = next(i for i, line in enumerate(lines) if line.split()[:3] == ["0", "1", "2"])
    first = columns(lines[digits][: lines[digits].index("0")])
    for index, line in enumerate(lines[digits + 1 : digits + 1 + len(TOKENS)]):
        cells = re.search(r"[◆■·]( [◆■·])*$", line)
        assert columns(line[: cells.start()]) == first, line
        assert cells[0].split() == ["■"] * index + ["◆"] + ["·"] * (len(TOKENS) - 1 - index)


def test_wide_and_combining_characters_are_counted_as_terminals_do():
    assert [columns(text) for text in ("ab", "日本", "e\u0301", "😀", "ｈ", "▁")] == [2, 4, 1, 2, 2, 1]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_what_an_output_cannot_say_is_escaped(visualizer, encoding):
    text = visualizer.view("One day").text(encoding=encoding)
    text.encode(encoding)
    assert "@" in text and "\\u2581One" in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_long_text_is_cut_to_the_terminal_and_the_title_says_so(visualizer, width):
    view = visualizer.view("One day it rained. " * 30)
    total = len(view.tokens[0])
    lines = view.text(width=width).splitlines()
    shown = int(re.search(rf"the first (\d+) of {total} tokens", lines[0])[1])
    rows = [line for line in lines if re.match(r" +\d+ \S", line) and ("◆" in line or "■" in line)]
    assert len(rows) == shown <= 100
    assert max(map(columns, rows)) <= width
    assert "the first" not in visualizer.view("One day").text(width=width)


def test_of_a_large_batch_the_first_rows_are_drawn(visualizer):
    view = visualizer.view(["One day"] * 30)
    assert "the first 12 of 30 rows" in view.text() and view.text().count("row ") == 12
    assert len([axes for axes in view.figure().axes if axes.axison]) == 12


def test_printing_does_not_load_matplotlib():
    code = (
        "import sys, numpy_llama; numpy_llama.AttentionMaskVisualizer('storyteller')('One day');"
        "sys.exit('matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# -- as a figure -------------------------------------------------------------------------------------------------------


def test_the_figure_shows_the_same(visualizer):
    view = visualizer.view(["One day", "It rained"])
    figure = visualizer.figure(["One day", "It rained"])
    assert len(figure.axes) == 2
    for row, axes in enumerate(figure.axes):
        (mesh,) = axes.collections
        np.testing.assert_array_equal(np.ma.getdata(mesh.get_array()), view.kinds[row])
        assert axes.yaxis_inverted()
        for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
            assert [tick.get_text() for tick in ticks] == list(view.tokens[row])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["itself", "may look at it", "may not look", "padding, hidden"]


def test_packed_texts_are_told_apart_in_the_figure(visualizer):
    view = visualizer.view(["One day", "It rained"], packed=True)
    (axes,) = view.figure().axes
    colors = np.ma.getdata(axes.collections[0].get_array())
    first, second = (
        set(colors[:3, :3][view.kinds[0, :3, :3] == EARLIER]),
        set(colors[3:, 3:][view.kinds[0, 3:, 3:] == EARLIER]),
    )
    assert len(first) == len(second) == 1 and first != second
    assert len(axes.lines) == 2  # a border down and one across


def test_a_figure_of_any_tokens_can_be_saved(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that the font lacks is a warning
        view_of((*TOKENS, "$x_{", "\\frac", "_")).figure().savefig(tmp_path / "mask.png")
    assert (tmp_path / "mask.png").stat().st_size > 5000


def test_a_long_text_makes_a_figure_of_bounded_size(visualizer):
    figure = visualizer.figure("One day it rained. " * 50)
    assert max(figure.get_size_inches()) < 20
    assert "the first 100 of" in figure.get_suptitle()


# -- what can't be shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "text"),
        ([], {}, "text"),
        ([[]], {}, "text"),
        (["a", 3], {}, "text"),
        ([1.5], {}, "text"),
        ([[[1]]], {}, "text"),
        ([5000], {}, "token id out of range"),
        ("One day", {"attention_mask": [[1, 1]]}, "attention_mask: wrong shape"),
        ("One day", {"attention_mask": [[1, 1], [1]]}, "attention_mask: rows of several lengths"),
        ("One day", {"attention_mask": np.ones((1, 1, 2, 2), bool)}, "attention_mask"),
        ("One day", {"attention_mask": [[1, 1, 1]], "packed": True}, "attention_mask: two masks at once"),
        (["a", "One day"], {"padding_side": "middle"}, "padding_side: no such side"),
        ("One day", {"head": -1}, "head: no such head"),
        ("One day", {"attention_mask": np.ones((1, 8, 3, 3), bool), "head": 8}, "head: no such head; expected 0 … 7"),
        ("One day " * 3000, {}, "text: too long to draw; expected at most 4096 tokens"),
    ],
)
def test_what_cannot_be_shown_is_named(visualizer, text, options, message):
    with pytest.raises(LlamaError, match=message):
        visualizer.view(text, **options)


def test_texts_need_a_tokenizer_and_a_model_is_needed_anyway(make_model, tmp_path):
    with pytest.raises(LlamaError, match="tokenizer: missing"):
        AttentionMaskVisualizer(make_model())("One day")
    with pytest.raises(LlamaError, match="no such checkpoint folder"):
        AttentionMaskVisualizer(tmp_path / "nowhere")
    with pytest.raises(LlamaError, match="model: wrong type"):
        AttentionMaskVisualizer(3)


def test_a_model_that_was_loaded_knows_where_its_tokenizer_lies(storyteller, visualizer):
    assert str(AttentionMaskVisualizer(storyteller).view("One day")) == str(visualizer.view("One day"))


def test_one_that_was_loaded_from_a_folder_without_a_tokenizer_shows_token_ids(make_model, tmp_path):
    make_model().save_pretrained(tmp_path)
    view = AttentionMaskVisualizer(LlamaForCausalLM.from_pretrained(tmp_path)).view([5, 17, 3])
    assert view.visible[0].sum() == 6
