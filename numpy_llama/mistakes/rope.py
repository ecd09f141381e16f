"""Mistakes of RoPE's rotation: which channels make a pair, which way they turn, who is turned."""

from collections.abc import Callable

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_cache_update, with_value_from
from numpy_llama.mistakes.wrong_blocks import rope as wrong
from numpy_llama.study.subject import Subject

Array = np.ndarray

QUERY = "model.layers.{i}.self_attn.query_rotated"
KEY = "model.layers.{i}.self_attn.key_rotated"


def other_rotation(function: Callable[[Array, Array, Array], Array]) -> Callable[[Subject], Variants]:
    """Plants another apply_rope."""
    return lambda subject: [("", with_blocks(subject, apply_rope=function))]


def not_rotated(rotated: str, projected: str) -> Callable[[Subject], Variants]:
    """Plants queries, or keys, that are left as their projection made them."""
    return lambda subject: [("", with_value_from(subject, rotated, projected, _in_heads))]


def _in_heads(rotated: Array, projected: Array) -> Array:
    """(B, T, H·D) → (B, H, T, D), the shape of what it takes the place of."""
    B, H, T, D = rotated.shape
    return projected.reshape(B, T, H, D).swapaxes(1, 2)


def partial_rotation(subject: Subject) -> Variants:
    """Turns the first half of each head's channels, as models with partial_rotary_factor 0.5 do."""
    D, rotate = subject.config.head_dim, subject.blocks.apply_rope
    if D % 4:
        return

    def turning(pairs: slice) -> Callable[[Array, Array, Array], Array]:
        def apply_rope(x: Array, cos: Array, sin: Array) -> Array:
            cos, sin = (np.concatenate((table[..., pairs],) * 2, axis=-1) for table in (cos, sin))  # (B, T, D/2)
            return np.concatenate((rotate(x[..., : D // 2], cos, sin), x[..., D // 2 :]), axis=-1)

        return apply_rope

    def first_pairs(x: Array, cos: Array, sin: Array) -> Array:
        still = np.arange(D) % (D // 2) >= D // 4
        return np.where(still, x, rotate(x, cos, sin))

    yield "the half as a head of D/2 channels", with_blocks(subject, apply_rope=turning(slice(0, D // 2, 2)))
    yield "the half by the fastest frequencies", with_blocks(subject, apply_rope=turning(slice(0, D // 4)))
    yield "the first half of the pairs", with_blocks(subject, apply_rope=first_pairs)


def rotation_of_values(subject: Subject) -> Variants:
    """Rotates values before they are cached, as queries and keys are."""
    rotate, make_tables = subject.blocks.apply_rope, subject.blocks.rope_tables
    latest: list[tuple[Array, Array]] = []  # cos and sin of the call that is under way

    def rope_tables(*arguments: object, **options: object) -> tuple[Array, Array]:
        latest[:] = [make_tables(*arguments, **options)]
        return latest[0]

    def update(put: Callable[..., tuple[Array, Array]], key: Array, value: Array, layer: int) -> tuple[Array, Array]:
        return put(key, rotate(value, *latest[0]), layer)

    yield "", with_cache_update(with_blocks(subject, rope_tables=rope_tables), update)


def rotation_by_head(subject: Subject) -> Variants:
    """Lays the tables along the heads' axis: a head is turned by its own number, or by that of a token."""
    blocks = subject.blocks
    yield "head h as token h of the call", with_blocks(subject, apply_rope=wrong.rope_by_head)

    of_heads: list[Array] = []  # cos and sin of positions 0 … H − 1, (H, D) each

    def rope_tables(
        position_ids: Array, frequencies: Array, dtype: np.dtype, attention_scaling: float = 1.0
    ) -> tuple[Array, Array]:
        angles = np.arange(subject.config.num_attention_heads)[:, None] * np.tile(frequencies, 2)  # (H, D)
        of_heads[:] = ((f(angles) * attention_scaling).astype(dtype) for f in (np.cos, np.sin))
        return blocks.rope_tables(position_ids, frequencies, dtype, attention_scaling)

    def apply_rope(x: Array, cos: Array, sin: Array) -> Array:
        cos, sin = (table[None, : x.shape[1], None] for table in of_heads)  # (1, H or K, 1, D)
        return x * cos + wrong.rotate_half(x) * sin

    yield "head h as position h", with_blocks(subject, rope_tables=rope_tables, apply_rope=apply_rope)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="rope-interleaved",
        says="whose RoPE pairs neighbouring channels, though the rows of q_proj and k_proj stand in halves",
        looks_like="the first token is right; text turns to fluent nonsense as it grows",
        mend="with a Hugging Face checkpoint pair channel i with i + D/2; or bring the rows of q_proj and k_proj into "
        "the order of neighbours first, once",
        wild=(
            "https://github.com/Dao-AILab/flash-attention/issues/288 (which of the two for which weights)",
            "https://github.com/huggingface/transformers/issues/25199 (the two compared)",
            "https://github.com/naklecha/llama3-from-scratch/issues/20 (weights of one, RoPE of the other)",
            "https://github.com/karpathy/llama2.c/pull/286 (the same, in an export)",
        ),
        first=QUERY,
        plant=other_rotation(wrong.rope_of_neighbours),
        exposed_by=("several-keys", "several-pairs"),
        twins=("qk-rows-unpermuted",),
    ),
    Mistake(
        key="rope-neighbours-with-tables-of-halves",
        says="whose RoPE pairs neighbouring channels, with cos and sin laid out for pairs of halves",
        looks_like="the first token is right; text turns to nonsense as it grows: the two channels of a pair turn by "
        "different angles, so what a token attends to depends on where it stands, not on the distance",
        mend="one layout for both: pair channel i with i + D/2 and repeat the angles whole, or pair neighbours and "
        "repeat each angle twice",
        wild=(
            "https://github.com/facebookresearch/vjepa2/pull/15 (repeat where it should be repeat_interleave)",
            "https://github.com/raiyanyahya/how-to-train-your-gpt/issues/6 (the other way round: halves are turned by "
            "tables of neighbours)",
        ),
        first=QUERY,
        plant=other_rotation(wrong.rope_of_neighbours_by_halves),
        exposed_by=("several-keys", "several-pairs"),
    ),
    Mistake(
        key="rope-reversed",
        says="whose RoPE turns the other way",
        looks_like="the first token is right; later ones mix up what is near and what is far",
        mend="(a, b) → (a cos φ − b sin φ, b cos φ + a sin φ): rotate_half is (−second half, first half)",
        wild=(
            "https://github.com/karpathy/nanochat/pull/489 (a convention of its own, kept)",
            "https://github.com/trymirai/lalamo/pull/268 (a flipped sign, to test the tests)",
        ),
        first=QUERY,
        plant=other_rotation(wrong.rope_backwards),
        exposed_by=("several-keys",),
        twins=("rope-cos-sin-swapped",),
    ),
    Mistake(
        key="rope-partial",
        says="whose RoPE turns only half of each head's channels",
        looks_like="nearly right in short texts: half of the channels carry no position",
        mend="turn all D channels: partial_rotary_factor belongs to GPT-NeoX and Phi, and is 1 here",
        wild=(
            "https://github.com/vllm-project/vllm/pull/41185 (half of the channels only)",
            "https://github.com/pie-project/pie/pull/603 (frequencies and partners of the whole head for a part of it)",
        ),
        first=QUERY,
        plant=partial_rotation,
        exposed_by=("several-keys", "head-dim-of-fours"),
    ),
    Mistake(
        key="rope-missing",
        says="without RoPE",
        looks_like="the first token is right; a text in any other order of its tokens would read nearly the same",
        mend="rotate queries and keys before they meet",
        wild=("https://github.com/vllm-project/vllm/pull/30413 (a layer of attention without it)",),
        first=QUERY,
        plant=other_rotation(wrong.rope_left_out),
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="rope-on-values",
        says="whose RoPE turns the values, too",
        looks_like="the first token is right, and attention's weights in the first layer always are",
        mend="rotate queries and keys only",
        wild=(),
        first="model.layers.{i}.self_attn.values",
        plant=rotation_of_values,
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="rope-queries-only",
        says="whose RoPE turns the queries and leaves the keys",
        looks_like="the first token is right; what a token attends to depends on where it stands, not on the distance",
        mend="rotate the keys, too",
        wild=(),
        first=KEY,
        plant=not_rotated(KEY, "model.layers.{i}.self_attn.k_proj"),
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="rope-keys-only",
        says="whose RoPE turns the keys and leaves the queries",
        looks_like="the first token is right; what a token attends to depends on where the others stand, not on the "
        "distance",
        mend="rotate the queries, too",
        wild=(),
        first=QUERY,
        plant=not_rotated(QUERY, "model.layers.{i}.self_attn.q_proj"),
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="rope-twice",
        says="whose RoPE is applied twice",
        looks_like="the first token is right; every distance counts double",
        mend="rotate once: in the layer, or in the attention kernel, but not in both",
        wild=("https://github.com/NVIDIA/TensorRT-LLM/pull/16378 (in Python, and again in the kernel; yarn)",),
        first=QUERY,
        plant=other_rotation(wrong.rope_twice),
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="rope-cos-sin-swapped",
        says="whose cos and sin are swapped",
        looks_like="the first token is right; later ones mix up what is near and what is far: every angle is a "
        "quarter turn less itself, which is the rotation the other way",
        mend="x cos φ + rotate_half(x) sin φ; look at the order in which the tables come back",
        wild=(),
        first="model.rotary_emb.cos",
        plant=lambda subject: [("", with_blocks(subject, rope_tables=wrong.tables_swapped))],
        exposed_by=("several-keys",),
        twins=("rope-reversed",),
    ),
    Mistake(
        key="rope-by-head",
        says="whose RoPE turns by the number of the head, not of the token",
        looks_like="order of tokens hardly counts; nothing fails, since the two axes broadcast",
        mend="rotate (B, H, T, D) along T: after the transposition, or with the tables' axis unsqueezed at the heads'",
        wild=(
            "https://github.com/mlfoundations/open_lm/issues/4 (found in training curves)",
            "https://github.com/facebookresearch/xformers/issues/841 (its cause)",
            "https://github.com/NVIDIA/audio-flamingo/issues/27 (rotated before the transposition)",
        ),
        first=QUERY,
        plant=rotation_by_head,
        exposed_by=("several-keys",),
    ),
)
