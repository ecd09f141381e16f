"""Files that torch.save writes, read without torch; and the model in them, computed as Meta's own code computes it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the reference extra: make reference")

from numpy_llama import LlamaError, LlamaForCausalLM  # noqa: E402
from numpy_llama.checkpoints.torch_file import TorchFile  # noqa: E402

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PARAMS = {
    "dim": 32,
    "n_layers": 3,
    "n_heads": 8,
    "n_kv_heads": 4,
    "multiple_of": 8,
    "ffn_dim_multiplier": 1.3,
    "norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "vocab_size": 64,
}
F = 112  # int(1.3 · int(8 · 32 / 3)) = 110, up to a multiple of 8


def bits(tensor):
    """The bytes of a torch tensor, in the order of its indices."""
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def same(array, tensor):
    return array.shape == tuple(tensor.shape) and np.ascontiguousarray(array).tobytes() == bits(tensor.reshape(-1))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_tensor_is_read(tmp_path, dtype, protocol):
    """Views, transposes, shared storages, scalars, empty tensors and parameters, as torch itself has them."""
    base = torch.randn(6, 10, dtype=torch.float64).to(DTYPES[dtype])
    tensors = {
        "whole": base,
        "rows": base[2:5],
        "columns": base[:, 3:7],
        "every other": base[::2, ::3],
        "transposed": base.T,
        "turned": torch.arange(24).to(DTYPES[dtype]).reshape(2, 3, 4).permute(2, 0, 1),
        "scalar": torch.tensor(3.5, dtype=DTYPES[dtype]),
        "empty": torch.zeros(0, 4, dtype=DTYPES[dtype]),
        "parameter": torch.nn.Parameter(base.clone()),
        "Ünïcode 🦙": base.clone(),
    }
    torch.save(tensors, tmp_path / "file.pth", pickle_protocol=protocol)
    file = TorchFile(tmp_path / "file.pth")
    assert list(file.table) == list(tensors)
    for name, tensor in tensors.items():
        assert file.table[name].dtype == dtype
        assert same(file.read(name), tensor), name


def test_a_modules_state_dict_is_read(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2, dtype=torch.bfloat16))
    torch.save(module.state_dict(), tmp_path / "file.pth")
    file = TorchFile(tmp_path / "file.pth")
    assert all(same(file.read(name), tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.zeros(3, dtype=torch.int64)},
        {"a": torch.sparse_coo_tensor([[0]], [1.0], (2,))},
        {"a": torch.zeros(2).numpy()},
        {"step": 3},
        torch.nn.Linear(2, 2),
        [torch.zeros(2)],
    ],
    ids=["integers", "sparse", "an array", "a number", "a module", "a list"],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(LlamaError, match=r"file\.pth"):
        TorchFile(tmp_path / "file.pth")


def test_the_older_format_is_refused_by_name(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "file.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(LlamaError, match=r"before torch 1\.6"):
        TorchFile(tmp_path / "file.pth")


# -- Meta's own forward pass: RoPE as a product of complex numbers, over pairs of neighbours ---------------------------


def meta_weights(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        spread = 0.5 if len(shape) == 1 else shape[-1] ** -0.5
        return (torch.randn(*shape, generator=generator, dtype=torch.float64) * spread + (len(shape) == 1)).to(dtype)

    E, D = PARAMS["dim"], PARAMS["dim"] // PARAMS["n_heads"]
    weights = {"tok_embeddings.weight": drawn(64, E), "norm.weight": drawn(E), "output.weight": drawn(64, E)}
    for layer in range(PARAMS["n_layers"]):
        shapes = {
            "attention.wq": (PARAMS["n_heads"] * D, E),
            "attention.wk": (PARAMS["n_kv_heads"] * D, E),
            "attention.wv": (PARAMS["n_kv_heads"] * D, E),
            "attention.wo": (E, PARAMS["n_heads"] * D),
            "feed_forward.w1": (F, E),
            "feed_forward.w2": (E, F),
            "feed_forward.w3": (F, E),
            "attention_norm": (E,),
            "ffn_norm": (E,),
        }
        weights |= {f"layers.{layer}.{name}.weight": drawn(*shape) for name, shape in shapes.items()}
    return weights


def meta_frequencies(D, is_scaled):
    frequencies = PARAMS["rope_theta"] ** -(torch.arange(0, D, 2, dtype=torch.float64) / D)
    if not is_scaled:
        return frequencies
    scaled = []
    for frequency in frequencies.tolist():
        turns = 8192 * frequency / (2 * math.pi)  # in the context that the model was first trained on
        share = min(max((turns - 1) / (4 - 1), 0), 1)
        scaled.append((1 - share) * frequency / 8 + share * frequency)
    return torch.tensor(scaled, dtype=torch.float64)


def meta_logits(weights, ids, is_scaled=False):
    E, H, K = PARAMS["dim"], PARAMS["n_heads"], PARAMS["n_kv_heads"]
    D, T = E // H, len(ids)
    angles = torch.outer(torch.arange(T, dtype=torch.float64), meta_frequencies(D, is_scaled))
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]  # (T, 1, D/2)

    def norm(x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + PARAMS["norm_eps"]) * weights[name]

    def turned(x):
        pairs = torch.view_as_complex(x.reshape(T, -1, D // 2, 2).contiguous())
        return torch.view_as_real(pairs * turns).reshape(T, -1, D)

    mask = torch.full((T, T), -math.inf, dtype=torch.float64).triu(1)
    x = weights["tok_embeddings.weight"][ids]
    for layer in range(PARAMS["n_layers"]):
        w = {name: weights[f"layers.{layer}.attention.{name}.weight"] for name in ("wq", "wk", "wv", "wo")}
        normed = norm(x, f"layers.{layer}.attention_norm.weight")
        query, key = turned((normed @ w["wq"].T).reshape(T, H, D)), turned((normed @ w["wk"].T).reshape(T, K, D))
        value = (normed @ w["wv"].T).reshape(T, K, D)
        key, value = (one.repeat_interleave(H // K, dim=1) for one in (key, value))
        scores = torch.einsum("thd,shd->hts", query, key) / math.sqrt(D) + mask
        mixed = torch.einsum("hts,shd->thd", scores.softmax(-1), value).reshape(T, E)
        x = x + mixed @ w["wo"].T
        w = {name: weights[f"layers.{layer}.feed_forward.{name}.weight"] for name in ("w1", "w2", "w3")}
        normed = norm(x, f"layers.{layer}.ffn_norm.weight")
        x = x + (torch.nn.functional.silu(normed @ w["w1"].T) * (normed @ w["w3"].T)) @ w["w2"].T
    return norm(x, "norm.weight") @ weights["output.weight"].T


def write_shards(folder, weights, shards, embedding_axis, **params):
    """As fairscale's parallel layers cut a model: a slice of each matrix, stored without the rest."""
    for i in range(shards):
        part = {}
        for name, tensor in weights.items():
            axis = 1 if name.endswith(("wo.weight", "w2.weight")) else 0
            axis = embedding_axis if "tok_embeddings" in name else axis
            part[name] = tensor if tensor.ndim == 1 else tensor.chunk(shards, axis)[i].clone()
        part["rope.freqs"] = torch.zeros(2)
        torch.save(part, folder / f"consolidated.{i:02d}.pth")
    (folder / "params.json").write_text(json.dumps({**PARAMS, **params}))


@pytest.mark.parametrize("is_scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("embedding_axis", [0, 1], ids=["Llama 3", "Llama 2"])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_the_logits_are_those_of_metas_formulas(tmp_path, shards, embedding_axis, is_scaled):
    """In float64: the two differ by the order of sums alone."""
    weights, ids = meta_weights(), list(np.random.default_rng(0).integers(0, 64, 20))
    write_shards(tmp_path, weights, shards, embedding_axis, use_scaled_rope=is_scaled)
    ours = LlamaForCausalLM.from_pretrained(tmp_path, "float64")([ids]).logits[0]
    theirs = meta_logits(weights, torch.tensor(ids), is_scaled).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())


@given(seed=st.integers(0, 1000), dtype=st.sampled_from(["float32", "bfloat16", "float16"]))
def test_a_folder_of_metas_is_the_folder_of_hugging_faces(tmp_path_factory, seed, dtype):
    """Read, saved as a Hugging Face folder and read by Transformers: the logits that ours gives, within float32."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("meta")
    write_shards(folder, meta_weights(seed, getattr(torch, dtype)), 2, 1)
    ours = LlamaForCausalLM.from_pretrained(folder)
    ours.save_pretrained(folder / "hugging_face")
    theirs = transformers.LlamaForCausalLM.from_pretrained(folder / "hugging_face", dtype=torch.float32)
    ids = [[1, 5, 33, 60, 2, 9]]
    with torch.inference_mode():
        logits = theirs(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(ours(ids).logits, logits, rtol=0, atol=1e-5 * np.abs(logits).max())
