"""Mistakes of the MLP: its two branches and its activation."""

from collections.abc import Callable

import numpy as np

from numpy_llama.blocks.activation_table import ACTIVATIONS, activation_named, with_activation
from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_config, with_weights
from numpy_llama.probe import probe
from numpy_llama.study.subject import Subject

Array = np.ndarray
Combine = Callable[[Callable[[Array], Array], Array, Array], Array]

GATE = "model.layers.{i}.mlp.gate_proj"
ACTIVE = "model.layers.{i}.mlp.act_fn"
GATED = "model.layers.{i}.mlp.gated"
SILU = ("silu", "swish")


def gated_by(combine: Combine) -> Callable[[Subject], Variants]:
    """Plants an MLP in which gate and up are put together otherwise: combine(activation, gate, up)."""

    def plant(subject: Subject) -> Variants:
        blocks = with_activation(subject.blocks, subject.config.hidden_act)

        def mlp(
            x: Array,
            gate_proj: Array,
            up_proj: Array,
            down_proj: Array,
            gate_bias: Array | None = None,
            up_bias: Array | None = None,
            down_bias: Array | None = None,
            *,
            activation: Callable[[Array], Array] = blocks.activation,
            linear: Callable[..., Array] = blocks.linear,
        ) -> Array:
            gate = probe("gate_proj", linear(x, gate_proj, gate_bias))  # (..., F)
            up = probe("up_proj", linear(x, up_proj, up_bias))  # (..., F)
            gated = probe("gated", combine(lambda h: probe("act_fn", activation(h)), gate, up))  # (..., F)
            return probe("down_proj", linear(gated, down_proj, down_bias))  # (..., E)

        yield "", with_blocks(subject, mlp=mlp)

    return plant


def weights_swapped(subject: Subject) -> Variants:
    """What the file calls gate_proj is used as up_proj, and the other way round."""
    swapped = {}
    for name in subject.weights:
        if ".gate_proj." in name:
            other = name.replace(".gate_proj.", ".up_proj.")
            swapped[name], swapped[other] = subject.weights[other], subject.weights[name]
    yield "", with_weights(subject, swapped)


def activation_instead(wrong: Callable[[Array], Array], of: tuple[str, ...] = SILU) -> Callable[[Subject], Variants]:
    """Plants another activation in models whose hidden_act is one of some names; nothing in others."""

    def plant(subject: Subject) -> Variants:
        if subject.config.hidden_act in of:
            yield "", with_blocks(subject, activation=wrong)

    return plant


def silu_always(subject: Subject) -> Variants:
    """hidden_act is not read."""
    if activation_named(subject.config.hidden_act) is not ACTIVATIONS["silu"]:
        yield "", with_config(subject, hidden_act="silu")


def _activation(
    key: str, says: str, wild: tuple[str, ...], name: str, of: tuple[str, ...] = SILU, exposure: str = "silu"
) -> Mistake:
    far = name == "sigmoid"
    close = "nonsense from the first token" if far else "fluent text, somewhat worse: the two curves are close"
    return Mistake(
        key=key,
        says=f"whose MLP has {says}",
        looks_like=close,
        mend="take the activation that the config's hidden_act names, in its exact form",
        wild=wild,
        first=ACTIVE,
        plant=activation_instead(ACTIVATIONS[name], of),
        exposed_by=(exposure,),
    )


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="gate-up-swapped",
        says="whose gate_proj and up_proj are exchanged",
        looks_like="nonsense from the first token, though every shape fits",
        mend="w1 is the gate, w3 is up, w2 is down; in a fused matrix find out which half is which",
        wild=(f"{GITHUB}/NVIDIA/Megatron-LM/pull/458 (the halves of a fused SwiGLU, taken as torch's GLU takes them)",),
        first=GATE,
        plant=weights_swapped,
        twins=("activation-on-up",),
    ),
    Mistake(
        key="activation-on-up",
        says="whose activation stands on up_proj instead of gate_proj",
        looks_like="nonsense from the first token, though every shape fits",
        mend="down(act(gate(x)) * up(x))",
        wild=(),
        first=ACTIVE,
        plant=gated_by(lambda activation, gate, up: gate * activation(up)),
        twins=("gate-up-swapped",),
    ),
    Mistake(
        key="activation-on-both",
        says="whose activation stands on up_proj as well as on gate_proj",
        looks_like="nonsense from the first token",
        mend="down(act(gate(x)) * up(x)): up goes through as it is",
        wild=(f"{GITHUB}/trymirai/lalamo/pull/270 (made on purpose, to see the tests catch it)",),
        first=GATED,
        plant=gated_by(lambda activation, gate, up: activation(gate) * activation(up)),
    ),
    Mistake(
        key="activation-missing",
        says="whose MLP has no activation",
        looks_like="nonsense from the first token",
        mend="down(act(gate(x)) * up(x))",
        wild=(f"{GITHUB}/mlx-node/mlx-node/pull/47 (a review finds gates without SiLU)",),
        first=ACTIVE,
        plant=lambda subject: [("", with_blocks(subject, activation=lambda x: x))],
    ),
    Mistake(
        key="activation-after-product",
        says="whose activation stands after the product of gate and up",
        looks_like="nonsense from the first token",
        mend="activate the gate, then multiply",
        wild=(f"{GITHUB}/devvrit/matformer/pull/4",),
        first=ACTIVE,
        plant=gated_by(lambda activation, gate, up: activation(gate * up)),
    ),
    Mistake(
        key="gate-up-added",
        says="whose gate and up are added instead of multiplied",
        looks_like="nonsense from the first token",
        mend="down(act(gate(x)) * up(x))",
        wild=(),
        first=GATED,
        plant=gated_by(lambda activation, gate, up: activation(gate) + up),
    ),
    Mistake(
        key="up-left-out",
        says="whose MLP has no up_proj: the activation of the gate goes straight to down_proj",
        looks_like="nonsense from the first token",
        mend="down(act(gate(x)) * up(x))",
        wild=(f"{GITHUB}/google-research/timesfm/issues/493 (swiglu made plain SiLU)",),
        first=GATED,
        plant=gated_by(lambda activation, gate, up: activation(gate)),
    ),
    _activation(
        "gelu-for-silu",
        "GELU in place of SiLU",
        (
            f"{GITHUB}/intelligent-machine-learning/dlrover/issues/1351 (Llama 2 with Megatron's default)",
            f"{GITHUB}/togethercomputer/stripedhyena/pull/9 (which of the two was trained, nobody was sure)",
        ),
        "gelu",
    ),
    _activation("tanh-gelu-for-silu", "GELU's tanh approximation in place of SiLU", (), "gelu_pytorch_tanh"),
    _activation("quick-gelu-for-silu", "x · sigmoid(1.702 x) in place of SiLU", (), "quick_gelu"),
    _activation("relu-for-silu", "ReLU in place of SiLU", (), "relu"),
    _activation("sigmoid-for-silu", "the sigmoid alone in place of SiLU, x · sigmoid(x)", (), "sigmoid"),
    Mistake(
        key="silu-for-gelu",
        says="whose activation is SiLU, whatever the config's hidden_act says",
        looks_like="Llama is right, models of other families that the code also loads are not",
        mend="take the activation that hidden_act names",
        wild=(
            f"{GITHUB}/huggingface/candle/pull/3747 (quantized Gemma 3)",
            f"{GITHUB}/THUDM/slime/pull/1825 (Gemma 3)",
            f"{GITHUB}/NVIDIA/TensorRT-Model-Connect/pull/177 (Gemma 2: an empty answer)",
        ),
        first=ACTIVE,
        plant=silu_always,
        exposed_by=("other-activation",),
    ),
    _activation(
        "tanh-gelu-for-gelu",
        "GELU's tanh approximation where the config asks for the exact one",
        (f"{GITHUB}/huggingface/text-embeddings-inference/pull/753 (on purpose)",),
        "gelu_pytorch_tanh",
        ("gelu", "gelu_python"),
        "gelu",
    ),
    _activation(
        "gelu-for-tanh-gelu",
        "the exact GELU where the config asks for its tanh approximation",
        (
            f"{GITHUB}/mlc-ai/mlc-llm/pull/2106 (Gemma)",
            f"{GITHUB}/NVIDIA-NeMo/Megatron-Bridge/pull/4661 (Gemma)",
            f"{GITHUB}/huggingface/transformers/pull/29402 (Gemma)",
        ),
        "gelu",
        ("gelu_pytorch_tanh", "gelu_new"),
        "tanh-gelu",
    ),
)
