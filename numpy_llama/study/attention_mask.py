"""AttentionMaskVisualizer: which token may look at which.

    visualizer = AttentionMaskVisualizer(folder)
    visualizer("Once upon a time")                          # coloured text, in the terminal
    visualizer(["One day", "Once upon a time"])             # two rows of a batch, the shorter one padded
    visualizer(["One day", "It rained"], packed=True)       # two texts in one row, kept apart by a 4-D mask
    visualizer.figure("Once upon a time").savefig("mask.png")

The mask isn't computed here: the model is called, and the value that it names `causal_mask` is drawn. So a model whose
mask is wrong (`Blocks().swap(causal_mask=…)`) shows what is wrong with it.

source  the class of this name in Transformers, which draws one text, without padding
"""

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.checkpoints.auto import tokenizer_of
from numpy_llama.checkpoints.known_models import checkpoint_path
from numpy_llama.errors import LlamaError
from numpy_llama.model.arguments import as_integers
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.packing import packed_mask
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.probe import Call, observe
from numpy_llama.study.mask_text import mask_text, terminal_colors, terminal_encoding, terminal_width
from numpy_llama.tokenizer import Tokenizer
from numpy_llama.tokenizer.batch import checked_side, pad_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TOKENS = 4096  # of a row: its mask has as many rows and columns

# What a cell of the picture says of a query (its row) and a key (its column).
HIDDEN, EARLIER, ITSELF, LATER, PADDING = range(5)

# A number added to a score that leaves it no weight: e^−100 is next to nothing beside 1, in every dtype.
NO_WEIGHT = -100.0


class AttentionMaskVisualizer:
    """Draws the attention mask that a model makes of a text.

    model      a checkpoint folder ("storyteller" for the embedded one), or a model. Of a folder the weights aren't
               read: a mask doesn't depend on them, so a model of the same kind with hardly any is called
    tokenizer  a tokenizer or its folder; that of the model's folder unless given. A model that has none can be shown
               token ids, but no texts
    raises     LlamaError where there is no such folder, or it holds no Llama
    """

    def __init__(self, model: str | Path | LlamaPreTrainedModel, tokenizer: str | Path | Tokenizer | None = None):
        self.tokenizer: Tokenizer | None = None
        if isinstance(model, LlamaPreTrainedModel):
            self.model = model
            if tokenizer is not None:
                self.tokenizer = tokenizer_of(model, tokenizer)
            elif model.name_or_path is not None:
                with suppress(LlamaError):  # no tokenizer there: token ids can be shown all the same
                    self.tokenizer = tokenizer_of(model, None)
        elif isinstance(model, str | Path):
            folder = checkpoint_path(model)
            self.model = _miniature(LlamaConfig.from_pretrained(folder))
            self.tokenizer = tokenizer_of(self.model, folder if tokenizer is None else tokenizer)
        else:
            expected = "a checkpoint folder, or a Llama"
            raise LlamaError("wrong type", where="model", expected=expected, found=type(model).__name__)

    def __call__(
        self,
        text: Any,
        attention_mask: Any = None,
        *,
        packed: bool = False,
        padding_side: str | None = None,
        head: int = 0,
        color: bool | None = None,
    ) -> "AttentionMaskView":
        """Print who may look at whom, and return it.

        text            a str; several, one a row of the batch; or token ids (T,) or (B, T)
        attention_mask  that of the model call, in place of the one that padding makes: (B, S), 0 for padding; or 4-D,
                        (B or 1, 1 or H, S, S), True where a token may look, or numbers to add to the scores
        packed          put all texts into one row, kept apart by a 4-D mask
        padding_side    "left" or "right"; the tokenizer's unless given
        head            which head to draw, of a 4-D mask that has several
        color           colours or none; None: where stdout is a terminal that has them (NO_COLOR is heeded)
        returns         AttentionMaskView
        raises          LlamaError for what is no text, and for masks that the model refuses
        """
        view = self.view(text, attention_mask, packed=packed, padding_side=padding_side, head=head)
        colors = terminal_colors() if color is None else color
        print(view.text(color=colors, width=terminal_width(), encoding=terminal_encoding()), file=sys.stdout)
        return view

    def figure(self, text: Any, attention_mask: Any = None, **options: Any) -> "Figure":
        """The same as a matplotlib figure, one panel for each row; arguments as of a call, without color."""
        return self.view(text, attention_mask, **options).figure()

    def view(
        self,
        text: Any,
        attention_mask: Any = None,
        *,
        packed: bool = False,
        padding_side: str | None = None,
        head: int = 0,
    ) -> "AttentionMaskView":
        """What the pictures show, without drawing it; arguments as of a call."""
        rows = self._rows(text)
        lengths = [len(row) for row in rows]
        if packed:
            if attention_mask is not None:
                raise LlamaError("two masks at once", where="attention_mask", expected="none, where packed is true")
            attention_mask = packed_mask(lengths)
            rows = [[token_id for row in rows for token_id in row]]
        width = max(map(len, rows))
        if width > MAX_TOKENS:
            raise LlamaError("too long to draw", where="text", expected=f"at most {MAX_TOKENS} tokens", found=width)

        side = padding_side or (self.tokenizer.padding_side if self.tokenizer is not None else "left")
        entries = [{"ids": row, "real": [1] * len(row)} for row in rows]
        pad_rows(entries, {"ids": 0, "real": 0}, width, checked_side("padding_side", side))
        ids = np.array([entry["ids"] for entry in entries])  # (B, S)
        real = np.array([entry["real"] for entry in entries], bool)  # (B, S)

        mask = real if attention_mask is None else _as_array(attention_mask)
        visible = _visible(model_mask(self.model, ids, mask), len(ids), head)  # (B, S, S)
        if attention_mask is not None and mask.ndim == 2:
            real = real & (mask != 0)
        sequence = np.repeat(np.arange(len(lengths)), lengths)[None] if packed else np.zeros_like(ids)
        heads = mask.shape[1] if mask.ndim == 4 else 1
        tokens = tuple(
            tuple(self._token(token_id) if is_real else "<pad>" for token_id, is_real in zip(*row, strict=True))
            for row in zip(ids.tolist(), real.tolist(), strict=True)
        )
        return AttentionMaskView(tokens, visible, ~real, sequence, head if heads > 1 else None)

    def _rows(self, text: Any) -> list[list[int]]:
        """Token ids of each text, or of each row of ids."""
        texts = [text] if isinstance(text, str) else text
        if isinstance(texts, list | tuple) and texts and all(isinstance(one, str) for one in texts):
            if self.tokenizer is None:
                expected = "one, AttentionMaskVisualizer(model, tokenizer), or token ids in place of texts"
                raise LlamaError("missing", where="tokenizer", expected=expected)
            rows: list[list[int]] = self.tokenizer(list(texts))["input_ids"]
        elif isinstance(texts, list | tuple) and any(isinstance(row, list | tuple | np.ndarray) for row in texts):
            rows = [as_integers(row, f"text[{index}]").tolist() for index, row in enumerate(texts)]
        else:
            ids = as_integers(texts, "text")
            rows = [ids.tolist()] if ids.ndim < 2 else ids.tolist()
        if not rows or not all(isinstance(row, list) and row and not isinstance(row[0], list) for row in rows):
            raise LlamaError("no tokens", where="text", expected="a str, several, or token ids (T,) or (B, T)")
        return rows

    def _token(self, token_id: int) -> str:
        if self.tokenizer is None or token_id >= len(self.tokenizer):
            return str(token_id)
        token: str = self.tokenizer.convert_ids_to_tokens(token_id)
        return token


@dataclass(frozen=True, repr=False)
class AttentionMaskView:
    """Which token may look at which: what the pictures are drawn from.

    tokens    B rows of S tokens, as the vocabulary spells them; "<pad>" for padding
    visible   (B, S, S) bool: may the token of this row look at the one of that column?
    padding   (B, S) bool: tokens that only fill a row up
    sequence  (B, S) int: which of several packed texts a token belongs to; 0 where there is one
    head      which head this is, of a mask that has several; None of one that all heads share
    """

    tokens: tuple[tuple[str, ...], ...]
    visible: np.ndarray
    padding: np.ndarray
    sequence: np.ndarray
    head: int | None = None

    @property
    def kinds(self) -> np.ndarray:
        """(B, S, S) int: HIDDEN, EARLIER, ITSELF, LATER or PADDING, what a query (row) is told of a key (column).

        LATER is what no causal mask allows: a token that may look ahead. PADDING is a hidden key that is padding.
        """
        query, key = np.indices(self.visible.shape[1:])  # (S, S) each
        order = np.select([key < query, key == query], [EARLIER, ITSELF], LATER)  # (S, S)
        hidden = np.where(self.padding[:, None, :], PADDING, HIDDEN)  # (B, 1, S)
        return np.where(self.visible, order, hidden)  # (B, S, S)

    def clipped(self, rows: int, tokens: int) -> "AttentionMaskView":
        """The first rows and the first tokens alone."""
        return replace(
            self,
            tokens=tuple(row[:tokens] for row in self.tokens[:rows]),
            visible=self.visible[:rows, :tokens, :tokens],
            padding=self.padding[:rows, :tokens],
            sequence=self.sequence[:rows, :tokens],
        )

    def text(self, *, color: bool = False, width: int | None = None, encoding: str = "utf-8") -> str:
        """The picture as lines of text.

        color     with ANSI escapes
        width     columns that there are: cells move together where they must, and the last tokens are left out where
                  that isn't enough; None for no limit
        encoding  of where it is going: what it lacks is escaped
        """
        return mask_text(self, color=color, width=width, encoding=encoding)

    def figure(self) -> "Figure":
        """The picture as a matplotlib figure, one panel for each row of the batch."""
        from numpy_llama.study.mask_figure import mask_figure  # matplotlib takes a second to import

        return mask_figure(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        rows, tokens = self.padding.shape
        return f"AttentionMaskView({rows} row{'s' * (rows > 1)} of {tokens} token{'s' * (tokens > 1)})"


class _MaskSeen(Exception):
    """Ends a forward pass at its mask."""

    def __init__(self, mask: np.ndarray):
        self.mask = mask


def model_mask(model: Any, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
    """The mask that a model adds to its attention scores, in a call without a past.

    model           any Llama; it runs up to the mask, and no further
    input_ids       (B, T)
    attention_mask  (B, T), or 4-D, as of a model call
    returns         (B or 1, 1 or H, T, T), numbers; zeros where there is one token, which needs no mask
    """

    def stop_at_the_mask(name: str, value: np.ndarray, call: Call) -> None:
        if name.rpartition(".")[2] == "causal_mask":
            raise _MaskSeen(value)

    try:
        with observe(stop_at_the_mask):
            model(input_ids, attention_mask=attention_mask)
    except _MaskSeen as seen:
        return seen.mask
    return np.zeros((1, 1, input_ids.shape[1], input_ids.shape[1]))


def _visible(mask: np.ndarray, rows: int, head: int) -> np.ndarray:
    """(B, T, T) bool from a mask, additive or boolean, for one head."""
    heads = mask.shape[1]
    if not isinstance(head, int) or head < 0 or (heads > 1 and head >= heads):
        raise LlamaError("no such head", where="head", expected=f"0 … {heads - 1}", found=repr(head))
    of_head = mask[:, head if heads > 1 else 0]  # (B or 1, T, T); all heads share one mask otherwise
    visible = of_head if of_head.dtype == bool else of_head > NO_WEIGHT
    return np.broadcast_to(visible, (rows, *visible.shape[1:]))


def _as_array(attention_mask: Any) -> np.ndarray:
    try:
        return np.asarray(attention_mask)
    except ValueError:
        raise LlamaError("rows of several lengths", where="attention_mask", expected="a rectangle") from None


def _miniature(config: LlamaConfig) -> LlamaForCausalLM:
    """A model with the heads and the vocabulary of another, and next to nothing else: it makes the same masks."""
    heads = config.num_attention_heads
    return LlamaForCausalLM(
        replace(
            config,
            hidden_size=2 * heads,
            head_dim=2,
            intermediate_size=1,
            num_hidden_layers=1,
            max_position_embeddings=MAX_TOKENS,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},  # others may count the channels of a head
        )
    )
