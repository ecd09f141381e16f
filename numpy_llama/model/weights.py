"""Weights: which tensors a config asks for, and the record in which a layer finds its own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from numpy_llama.blocks.quantized_weight import QuantizedWeight
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.quantization import is_quantizable
from numpy_llama.precision import DTYPES

Tensors = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one decoder layer, under their names in the checkpoint (`.` becomes `_`); a bias may be None.

    Query, key and value projections stand one below the other in one matrix, gate and up projections in another: each
    is a view of its part, and the packed decode step takes the whole, so that one product serves three, or two.
    """

    input_layernorm: np.ndarray  # (E,)
    q_proj: np.ndarray  # (H·D, E)
    k_proj: np.ndarray  # (K·D, E)
    v_proj: np.ndarray  # (K·D, E)
    o_proj: np.ndarray  # (E, H·D)
    post_attention_layernorm: np.ndarray  # (E,)
    gate_proj: np.ndarray  # (F, E)
    up_proj: np.ndarray  # (F, E)
    down_proj: np.ndarray  # (E, F)
    qkv_proj: np.ndarray  # ((H + 2K)·D, E)
    gate_up_proj: np.ndarray  # (2F, E)
    q_bias: np.ndarray | None = None
    k_bias: np.ndarray | None = None
    v_bias: np.ndarray | None = None
    o_bias: np.ndarray | None = None
    gate_bias: np.ndarray | None = None
    up_bias: np.ndarray | None = None
    down_bias: np.ndarray | None = None
    qkv_bias: np.ndarray | None = None
    gate_up_bias: np.ndarray | None = None

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], layer: int) -> "LayerWeights":
        """Pick the tensors of one layer out of LlamaModel's; in `tensors`, views take the place of what is packed."""
        prefix = f"layers.{layer}."
        arrays: dict[str, np.ndarray] = {}
        for block, parts, whole in (("self_attn", ["q", "k", "v"], "qkv"), ("mlp", ["gate", "up"], "gate_up")):
            for kind, suffix in (("weight", "proj"), ("bias", "bias")):
                names = [f"{prefix}{block}.{part}_proj.{kind}" for part in parts]
                if names[0] in tensors:
                    arrays[f"{whole}_{suffix}"] = _packed(tensors, names)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            arrays[norm] = tensors[f"{prefix}{norm}.weight"]
        for block, projections in (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down"))):
            for name in projections:
                arrays[f"{name}_proj"] = tensors[f"{prefix}{block}.{name}_proj.weight"]
                bias = f"{prefix}{block}.{name}_proj.bias"
                if bias in tensors:
                    arrays[f"{name}_bias"] = tensors[bias]
        return cls(**arrays)


def _packed(tensors: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    """One array with the rows of several; each tensor becomes the view of its part, so that no number is held twice."""
    parts = [tensors[name] for name in names]
    if _is_split_up(parts):
        whole = parts[0].base
        assert whole is not None
        return whole
    whole = np.concatenate(parts)
    tensors.update(zip(names, _split_up(whole, [len(part) for part in parts]), strict=True))
    return whole


def _split_up(whole: np.ndarray, heights: list[int]) -> list[np.ndarray]:
    """Views of so many rows each, one below the other."""
    return np.split(whole, np.cumsum(heights)[:-1])


def _is_split_up(parts: list[np.ndarray]) -> bool:
    """Whether arrays are the views that _split_up makes, and all of them."""
    whole = parts[0].base
    heights = [len(part) for part in parts]
    if not isinstance(whole, np.ndarray) or whole.shape != (sum(heights), *parts[0].shape[1:]):
        return False
    expected = [part.__array_interface__ for part in _split_up(whole, heights)]
    return whole.flags.c_contiguous and [part.__array_interface__ for part in parts] == expected


def room_for_weights(shapes: Shapes, dtype: np.dtype) -> dict[str, np.ndarray]:
    """Arrays to read weights into, laid out as LayerWeights wants them, so that packing them later copies nothing.

    shapes  of tensors under the names of any of the five models; query, key and value of a layer lie one below the
            other, as do gate and up
    raises  LlamaError where a tensor is larger than the memory
    """
    tensors: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        if name in tensors:
            continue
        group = _packed_with(name)
        group = group if all(one in shapes and shapes[one][1:] == shape[1:] for one in group) else [name]
        heights = [shapes[one][0] for one in group]
        try:
            whole = np.empty((sum(heights), *shape[1:]), dtype)
        except (MemoryError, ValueError):  # ValueError is what NumPy says of sizes past any machine's
            expected = "a tensor that memory has room for"
            raise LlamaError("too large", where=name, expected=expected, found=shape) from None
        tensors.update(zip(group, _split_up(whole, heights) if len(group) > 1 else [whole], strict=True))
    return {name: tensors[name] for name in shapes}


def _packed_with(name: str) -> list[str]:
    """The tensors that stand in one array with one, itself among them."""
    for parts in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
        for part in parts:
            if f".{part}." in name:
                return [name.replace(f".{part}.", f".{other}.") for other in parts]
    return [name]


def body_shapes(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of a LlamaModel, in order of use."""
    E, F, V = config.hidden_size, config.intermediate_size, config.vocab_size
    query_width = config.num_attention_heads * config.head_dim
    key_width = config.num_key_value_heads * config.head_dim
    projections = (
        ("self_attn.q_proj", query_width, E, config.attention_bias),
        ("self_attn.k_proj", key_width, E, config.attention_bias),
        ("self_attn.v_proj", key_width, E, config.attention_bias),
        ("self_attn.o_proj", E, query_width, config.attention_bias),
        ("mlp.gate_proj", F, E, config.mlp_bias),
        ("mlp.up_proj", F, E, config.mlp_bias),
        ("mlp.down_proj", E, F, config.mlp_bias),
    )
    yield "embed_tokens.weight", (V, E)
    for layer in range(config.num_hidden_layers):
        prefix = f"layers.{layer}."
        yield f"{prefix}input_layernorm.weight", (E,)
        for name, outputs, inputs, has_bias in projections:
            if name == "mlp.gate_proj":
                yield f"{prefix}post_attention_layernorm.weight", (E,)
            yield f"{prefix}{name}.weight", (outputs, inputs)
            if has_bias:
                yield f"{prefix}{name}.bias", (outputs,)
    yield "norm.weight", (E,)


def tensor_shapes(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of a LlamaForCausalLM checkpoint, in order of use.

    A tied head isn't among them: it is the embedding table.
    """
    for name, shape in body_shapes(config):
        yield f"model.{name}", shape
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, config.hidden_size)


def count_parameters(config: LlamaConfig) -> int:
    """Numbers in all tensors; a tied head counts once."""
    return sum(int(np.prod(shape, dtype=object)) for _, shape in tensor_shapes(config))


def check_tensors(tensors: Tensors, expected: Shapes, where: object) -> None:
    """Hold tensors to what is expected: none missing, none surplus, all of one dtype, each of its shape, no NaN,
    no infinity. Quantized ones are held to the same, but for their numbers, which they have seen to themselves.

    raises  LlamaError naming the place, the tensor, what was expected and what was found
    """
    arrays = {name: one for name, one in tensors.items() if not (is_quantizable(name) and _is_quantized(one))}
    for name, tensor in arrays.items():
        if isinstance(tensor, np.matrix | np.ma.MaskedArray):  # which have other ideas of a product
            found = type(tensor).__name__
            raise LlamaError("wrong type", where=f"{where}: {name}", expected="a plain array", found=found)
        if not isinstance(tensor, np.ndarray) or tensor.dtype not in DTYPES.values() or not tensor.dtype.isnative:
            found = tensor.dtype.str if isinstance(tensor, np.ndarray) else type(tensor).__name__
            raise LlamaError(
                "wrong dtype", where=f"{where}: {name}", expected=f"one of {', '.join(DTYPES)}", found=found
            )
    dtypes = sorted({str(tensor.dtype) for tensor in tensors.values()})
    if len(dtypes) > 1:
        raise LlamaError("weights of several dtypes", where=where, expected="one", found=", ".join(dtypes))
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, expected, where)
    for name, tensor in arrays.items():
        finite = np.isfinite(tensor)
        if not finite.all():
            index = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise LlamaError(
                "weight is not a number" if np.isnan(tensor[index]) else "weight is infinite",
                where=f"{where}: {name}{list(index)}",
                expected="finite weights",
                found=f"{np.count_nonzero(~finite)} of {tensor.size} that aren't",
            )


def _is_quantized(tensor: object) -> bool:
    return isinstance(tensor, QuantizedWeight)


def check_shapes(shapes: Shapes, expected: Shapes, where: object) -> None:
    """The part of check_tensors that needs names and shapes alone, and can be done before anything is read."""
    missing = [name for name in expected if name not in shapes]
    surplus = [name for name in shapes if name not in expected]
    if missing:
        raise LlamaError("missing tensor", where=f"{where}: {_some(missing)}", expected=expected[missing[0]])
    if surplus:
        raise LlamaError(
            "surplus tensor",
            where=f"{where}: {_some(surplus)}",
            expected="no such tensor",
            found=shapes[surplus[0]],
        )
    for name, shape in expected.items():
        if tuple(shapes[name]) != shape:
            raise LlamaError("wrong shape", where=f"{where}: {name}", expected=shape, found=tuple(shapes[name]))


def check_layer_count(names: Iterable[str], config: LlamaConfig, where: object) -> None:
    """The part of check_tensors to begin with: a config can speak of more layers than there is memory to list."""
    if not all(isinstance(name, str) for name in names):
        raise LlamaError("wrong type", where=where, expected="names of tensors that are strings")
    found = {name.partition("layers.")[2].partition(".")[0] for name in names if "layers." in name}
    if len(found) != config.num_hidden_layers:
        raise LlamaError(
            "wrong number of layers",
            where=where,
            expected=f"{config.num_hidden_layers} (num_hidden_layers of the config)",
            found=len(found),
        )


def random_weights(shapes: Shapes, config: LlamaConfig, dtype: np.dtype, seed: int = 0) -> dict[str, np.ndarray]:
    """Fresh weights, untrained: matrices drawn from a normal distribution cut at three standard deviations of
    `initializer_range`, norms 1, biases and the embedding of padding 0.

    seed     the same seed gives the same weights
    returns  every tensor of `shapes`, in `dtype`
    raises   LlamaError where seed is no integer from 0 upwards, and where a tensor is larger than the memory
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise LlamaError("impossible value", where="seed", expected="an integer, 0 or more", found=repr(seed))
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        try:
            tensors[name] = _fresh(name, shape, config, generator).astype(dtype)
        except (MemoryError, ValueError):  # ValueError is what NumPy says of sizes past any machine's
            expected = "sizes in the config that memory has room for"
            raise LlamaError("too large", where=name, expected=expected, found=shape) from None
    return tensors


def _fresh(name: str, shape: tuple[int, ...], config: LlamaConfig, generator: np.random.Generator) -> np.ndarray:
    if name.endswith(".bias"):
        return np.zeros(shape)
    if len(shape) == 1:
        return np.ones(shape)
    values = _truncated_normal(generator, shape) * config.initializer_range
    if name.endswith("embed_tokens.weight") and config.pad_token_id is not None:
        values[config.pad_token_id : config.pad_token_id + 1] = 0
    return values


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...], cut: float = 3.0) -> np.ndarray:
    values = generator.standard_normal(shape, dtype=np.float32)
    outside = np.abs(values) > cut
    while outside.any():
        values[outside] = generator.standard_normal(np.count_nonzero(outside), dtype=np.float32)
        outside = np.abs(values) > cut
    return values


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
