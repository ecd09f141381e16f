"""Meta's folders: the same model as in Hugging Face's layout; hostile, damaged and other files."""

import collections
import contextlib
import datetime
import json
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import LlamaError, LlamaForCausalLM
from numpy_llama.checkpoints.meta_folder import hugging_face_name, open_meta_folder
from numpy_llama.checkpoints.reader import open_checkpoint
from numpy_llama.checkpoints.rope_layout import neighbours_from_halves
from numpy_llama.checkpoints.torch_file import TorchFile
from numpy_llama.checkpoints.torch_pickle import PICKLE_LIMIT, read_torch_pickle
from numpy_llama.precision import DTYPES, float_dtype

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
}
SMALL = {
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "head_dim": 8,
    "vocab_size": 64,
    "intermediate_size": 88,
}

# -- a writer of pickles and archives, as torch.save writes them -------------------------------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    if abs(value) < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a" + bytes([9]) + value.to_bytes(9, "little", signed=True)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def glob(module, name):
    return f"c{module}\n{name}\n".encode()


def storage(kind, key, count):
    return b"(" + text("storage") + glob("torch", kind) + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(kind, key, count, offset, shape, strides, rebuild=("torch._utils", "_rebuild_tensor_v2")):
    rest = number(offset) + numbers(shape) + numbers(strides) + b"\x89" + glob("collections", "OrderedDict") + b")R"
    return glob(*rebuild) + b"(" + storage(kind, key, count) + rest + b"tR"


def program(entries):
    """A pickle of a dict; entries are names and the instructions that make their values."""
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in entries.items()) + b"u."


def strides_of(shape):
    return [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]


def write_archive(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def files_of(tensors, folder="archive"):
    """The files of an archive with these tensors, one storage each."""
    entries, storages = {}, {}
    for i, (name, array) in enumerate(tensors.items()):
        kind = STORAGES[array.dtype.name]
        entries[name] = tensor(kind, str(i), array.size, 0, array.shape, strides_of(array.shape))
        storages[f"{folder}/data/{i}"] = array.tobytes()
    return {f"{folder}/data.pkl": program(entries), f"{folder}/byteorder": b"little", **storages}


def write_torch_file(path, tensors):
    write_archive(path, files_of(tensors))


# -- Meta's layout of a model ------------------------------------------------------------------------------------------

META_NAMES = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
}


def meta_tensors(model):
    """A model's tensors as Meta has them: names, and rows of queries and keys pair by pair."""
    config, tensors = model.config, {}
    for name, array in model.tensors.items():
        if "q_proj" in name or "k_proj" in name:
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            array = neighbours_from_halves(array, heads)
        theirs = name.removeprefix("model.") if ".layers." in name else name
        for ours, meta in META_NAMES.items():
            theirs = theirs.replace(ours, meta)
        tensors[theirs] = np.ascontiguousarray(array)
    return tensors


def cut(tensors, shards, embedding_axis):
    """One dict for each of so many GPUs."""
    parts = [{} for _ in range(shards)]
    for name, array in tensors.items():
        axis = None if "norm" in name else 1 if name.endswith(("wo.weight", "w2.weight")) else 0
        axis = embedding_axis if "tok_embeddings" in name else axis
        pieces = [array] * shards if axis is None else np.split(array, shards, axis)
        for part, piece in zip(parts, pieces, strict=True):
            part[name] = np.ascontiguousarray(piece)
    return parts


def params_of(config, **changes):
    params = {
        "dim": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "multiple_of": 4,
        "norm_eps": config.rms_norm_eps,
        "vocab_size": config.vocab_size,
    }
    return {**params, **changes}


def write_meta_folder(folder, model, shards=1, embedding_axis=0, **params):
    folder.mkdir(exist_ok=True)
    for i, part in enumerate(cut(meta_tensors(model), shards, embedding_axis)):
        write_torch_file(folder / f"consolidated.{i:02d}.pth", part)
    (folder / "params.json").write_text(json.dumps(params_of(model.config, **params)))


@pytest.fixture
def meta_model(make_model):
    """meta_model(dtype): a model of sizes that Meta's formula gives: F = 88 for E = 32."""
    return lambda dtype="float32", **changes: make_model(dtype, **{**SMALL, **changes})


def same_logits(folder, model, dtype="auto"):
    ids = [[1, 5, 33, 60, 2, 9]]
    read = LlamaForCausalLM.from_pretrained(folder, dtype)
    np.testing.assert_array_equal(read(ids).logits, model(ids).logits)
    return read


# -- the same model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_model_is_the_one_in_hugging_faces_layout(tmp_path, meta_model, dtype):
    model = meta_model(dtype)
    write_meta_folder(tmp_path, model)
    read = same_logits(tmp_path, model)
    assert read.dtype == float_dtype(dtype)
    for name, array in model.tensors.items():
        assert read.tensors[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("embedding_axis", [0, 1], ids=["Llama 3", "Llama 2"])
@pytest.mark.parametrize("shards", [2, 4, 8])
@pytest.mark.parametrize("vocab_size", [64, -1])
def test_shards_are_put_together(tmp_path, meta_model, shards, embedding_axis, vocab_size):
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 4}
    model = meta_model("bfloat16", **heads)
    write_meta_folder(tmp_path, model, shards, embedding_axis, vocab_size=vocab_size)
    same_logits(tmp_path, model)
    assert len(open_checkpoint(tmp_path).files) == shards


def test_it_streams_as_it_loads(tmp_path, meta_model):
    write_meta_folder(tmp_path, meta_model("bfloat16"), shards=2)
    models = [LlamaForCausalLM.from_pretrained(tmp_path, weights=way) for way in ("load", "stream")]
    np.testing.assert_array_equal(*(model([[1, 2, 3]]).logits for model in models))


def test_without_an_output_the_embedding_is_the_head(tmp_path, meta_model):
    model = meta_model(tie_word_embeddings=True)
    write_meta_folder(tmp_path, model, vocab_size=-1)
    assert same_logits(tmp_path, model).config.tie_word_embeddings


def test_tables_of_angles_in_the_file_are_skipped(tmp_path, meta_model):
    model = meta_model()
    write_meta_folder(tmp_path, model)
    extra = {name: np.ones(4, np.float32) for name in ("rope.freqs", "layers.0.attention.inner_attention.rope.freqs")}
    write_torch_file(tmp_path / "consolidated.00.pth", {**meta_tensors(model), **extra})
    same_logits(tmp_path, model)


def test_params_inside_a_model_entry_and_unknown_ones(tmp_path, meta_model):
    model = meta_model()
    write_meta_folder(tmp_path, model)
    (tmp_path / "params.json").write_text(json.dumps({"model": params_of(model.config)}))
    same_logits(tmp_path, model)
    (tmp_path / "params.json").write_text(json.dumps(params_of(model.config, vision_chunk_size=448)))
    with pytest.warns(UserWarning, match="vision_chunk_size"):
        open_meta_folder(tmp_path)


# params.json of the published models, and what Hugging Face's config.json of the same model says.
PUBLISHED = {
    "Llama 1 7B": (
        {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-06, "vocab_size": 32000},
        {"intermediate_size": 11008, "num_key_value_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6},
    ),
    "Llama 2 7B": (
        {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-05, "vocab_size": 32000},
        {"intermediate_size": 11008, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
    ),
    "Llama 2 13B": (
        {"dim": 5120, "multiple_of": 256, "n_heads": 40, "n_layers": 40, "norm_eps": 1e-05, "vocab_size": 32000},
        {"intermediate_size": 13824, "num_key_value_heads": 40, "max_position_embeddings": 4096},
    ),
    "Llama 2 70B": (
        {"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64, "n_kv_heads": 8, "n_layers": 80,
         "norm_eps": 1e-05, "vocab_size": 32000},
        {"intermediate_size": 28672, "num_key_value_heads": 8},
    ),
    "Llama 3 8B": (
        {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024,
         "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0},
        {"intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 8192, "bos_token_id": 128000,
         "eos_token_id": 128001, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    ),
    "Llama 3.1 8B": (
        {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024,
         "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": True},
        {"intermediate_size": 14336, "max_position_embeddings": 131072,
         "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}},
    ),
    "Llama 3.2 1B": (
        {"dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 256,
         "ffn_dim_multiplier": 1.5, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": True},
        {"intermediate_size": 8192, "max_position_embeddings": 131072, "head_dim": 64},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_params_of_published_models_give_the_published_config(tmp_path, name):
    params, expected = PUBLISHED[name]
    write_torch_file(tmp_path / "consolidated.00.pth", {"output.weight": np.zeros((1, 1), np.float32)})
    (tmp_path / "params.json").write_text(json.dumps(params))
    config = open_meta_folder(tmp_path).config
    assert {field: getattr(config, field) for field in expected} == expected


@pytest.mark.parametrize(
    "change",
    [
        {"dim": None},
        {"dim": "32"},
        {"dim": True},
        {"dim": 2**62},
        {"dim": -32},
        {"n_layers": 2**40},
        {"n_heads": 0},
        {"n_kv_heads": 3},
        {"multiple_of": 0},
        {"ffn_dim_multiplier": float("nan")},
        {"ffn_dim_multiplier": 1e300},
        {"norm_eps": "small"},
        {"rope_theta": float("inf")},
        {"use_scaled_rope": "yes"},
        {"vocab_size": 0.5},
        {"multiple_of": 64},
        {"vocab_size": 63},
        {"n_layers": 3},
    ],
    ids=str,
)
def test_params_that_cannot_be_or_do_not_fit_are_refused(tmp_path, meta_model, change):
    write_meta_folder(tmp_path, meta_model(), **change)
    with pytest.raises(LlamaError):
        LlamaForCausalLM.from_pretrained(tmp_path)


def test_shards_that_disagree_are_named(tmp_path, meta_model):
    def changed(**changes):
        parts = cut(meta_tensors(meta_model()), 2, 0)
        parts[1] = {name: changes.get(name.replace(".", "_"), array) for name, array in parts[1].items()}
        for i, part in enumerate(parts):
            write_torch_file(tmp_path / f"consolidated.{i:02d}.pth", {k: v for k, v in part.items() if v is not None})

    (tmp_path / "params.json").write_text(json.dumps(params_of(meta_model().config)))
    for changes in (
        {"norm_weight": np.zeros(32, np.float32)},
        {"norm_weight": None},
        {"output_weight": np.zeros((31, 32), np.float32)},
        {"output_weight": np.zeros((32, 32), np.float16)},
    ):
        changed(**changes)
        with pytest.raises(LlamaError, match="shards disagree") as caught:
            LlamaForCausalLM.from_pretrained(tmp_path)
        assert "consolidated.01.pth" in str(caught.value)


def test_missing_shards_are_named(tmp_path, meta_model):
    write_meta_folder(tmp_path, meta_model(), shards=2)
    (tmp_path / "consolidated.00.pth").rename(tmp_path / "elsewhere")
    with pytest.raises(LlamaError, match=r"consolidated\.00\.pth: no such file"):
        open_meta_folder(tmp_path)
    (tmp_path / "consolidated.01.pth").unlink()
    with pytest.raises(LlamaError, match=r"consolidated\.00\.pth: no such file"):
        open_meta_folder(tmp_path)


def test_a_tensor_that_no_llama_has_is_named(tmp_path, meta_model):
    model = meta_model()
    write_meta_folder(tmp_path, model)
    for name in ("layers.0.feed_forward.w4.weight", "model.norm.weight", "layers.00.attention.wq.weight", "layers.0"):
        write_torch_file(tmp_path / "consolidated.00.pth", {**meta_tensors(model), name: np.zeros((2, 2), np.float32)})
        with pytest.raises(LlamaError, match="unknown tensor") as caught:
            open_meta_folder(tmp_path)
        assert name in str(caught.value)
        assert hugging_face_name(name) is None


# -- what a tensor is --------------------------------------------------------------------------------------------------


@given(
    shape=st.lists(st.integers(0, 5), min_size=0, max_size=4),
    strides=st.lists(st.integers(0, 30), min_size=4, max_size=4),
    offset=st.integers(0, 30),
    count=st.integers(0, 100),
)
def test_a_tensor_is_what_numpy_sees_in_its_storage_or_an_error(tmp_path_factory, shape, strides, offset, count):
    """Either every number of it lies in the storage, and they are the right ones, or it is refused."""
    path = tmp_path_factory.mktemp("strides") / "file.pth"
    values = np.arange(count, dtype=np.float32)
    strides = strides[: len(shape)]
    made = program({"a": tensor("FloatStorage", "0", count, offset, shape, strides)})
    write_archive(path, {"x/data.pkl": made, "x/data/0": values.tobytes()})
    places = [offset + int(np.dot(index, strides)) for index in np.ndindex(*shape)]
    if len(places) > count or any(place >= count for place in places):
        with pytest.raises(LlamaError, match="leaves its storage"):
            TorchFile(path)
    else:
        found = TorchFile(path).read("a")
        assert found.shape == tuple(shape)
        assert found.ravel().tolist() == [values[place] for place in places]
        assert not found.flags.writeable


def test_two_tensors_may_share_a_storage(tmp_path):
    values = np.arange(12, dtype=np.float32)
    entries = {
        "whole": tensor("FloatStorage", "0", 12, 0, (3, 4), (4, 1)),
        "transposed": tensor("FloatStorage", "0", 12, 0, (4, 3), (1, 4)),
        "row": tensor("FloatStorage", "0", 12, 4, (4,), (1,)),
    }
    write_archive(tmp_path / "f.pth", {"x/data.pkl": program(entries), "x/data/0": values.tobytes()})
    file = TorchFile(tmp_path / "f.pth")
    np.testing.assert_array_equal(file.read("transposed"), values.reshape(3, 4).T)
    np.testing.assert_array_equal(file.read("row"), values[4:8])


# -- hostile pickles ---------------------------------------------------------------------------------------------------


class Calls:
    """Pickled, it becomes a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def forbidden(tmp_path):
    """Programs that do something, each with the name that an error must say."""
    trace = tmp_path / "was_here"
    yield "posix.system", program({"a": glob("posix", "system") + b"(" + text(f"touch {trace}") + b"tR"})
    yield "os.system", program({"a": glob("os", "system") + b"(" + text(f"touch {trace}") + b"tR"})
    yield "builtins.eval", program({"a": glob("builtins", "eval") + b"(" + text(f"open({str(trace)!r}, 'w')") + b"tR"})
    yield "builtins.getattr", program({"a": glob("builtins", "getattr") + b"(tR"})
    yield "torch.load", program({"a": glob("torch", "load") + b"(" + text("x") + b"tR"})
    yield "torch._utils._rebuild_sparse_tensor", program({"a": glob("torch._utils", "_rebuild_sparse_tensor")})
    yield "collections.Counter", program({"a": glob("collections", "Counter") + b")R"})
    yield "torch.LongStorage", program({"a": storage("LongStorage", "0", 1)})
    # The names that are allowed, used as a way to others.
    yield "torch.FloatStorage.__init__", program({"a": glob("torch", "FloatStorage.__init__")})
    yield "collections.OrderedDict.fromkeys", program({"a": glob("collections", "OrderedDict.fromkeys")})
    for protocol in range(6):
        made = pickle.dumps({"a": Calls(eval, f"open({str(trace)!r}, 'w')")}, protocol)
        yield "DICT" if protocol == 0 else "eval", made
        yield "DICT" if protocol == 0 else "datetime.date", pickle.dumps({"a": datetime.date(2024, 1, 1)}, protocol)


def test_no_program_runs(tmp_path):
    """Every one is refused by the name that it asks for, before it does anything."""
    for name, made in forbidden(tmp_path):
        path = tmp_path / "consolidated.00.pth"
        write_archive(path, {"x/data.pkl": made})
        with pytest.raises(LlamaError) as caught:
            TorchFile(path)
        assert name in str(caught.value)
        assert str(path) in str(caught.value)
        assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
    "made",
    {
        "instances": b"\x80\x02" + b"(" + b"iposix\nsystem\n.",
        "objects": b"\x80\x02" + b"(" + glob("collections", "OrderedDict") + b"o.",
        "new objects": b"\x80\x02" + glob("collections", "OrderedDict") + b")\x81.",
        "extensions": b"\x80\x02\x82\x01.",
        "a persistent name": b"Pname\n.",
        "text numbers": b"I01\n.",
        "a list of tensors": b"\x80\x02](" + tensor("FloatStorage", "0", 1, 0, (1,), (1,)) + b"e.",
        "no tensor": program({"a": number(1)}),
        "a number as a name": b"\x80\x02}" + number(1) + number(2) + b"s.",
        "a tuple as a name": b"\x80\x02})" + number(2) + b"s.",
        "one name twice": b"\x80\x02}(" + 2 * (text("a") + tensor("FloatStorage", "0", 1, 0, (1,), (1,))) + b"u.",
        "a name without a value": b"\x80\x02}(" + text("a") + b"u.",
        "an empty stack": b"\x80\x02.",
        "nothing": b"",
        "no end": b"\x80\x02}",
        "no mark": b"\x80\x02}t.",
        "the mark itself": b"\x80\x02(.",
        "an empty memo": b"\x80\x02h\x05.",
        "a dict that is its own value": b"\x80\x02}q\x00" + text("a") + b"h\x00s.",
        "attributes of a tensor": b"\x80\x02" + tensor("FloatStorage", "0", 1, 0, (1,), (1,)) + b"}b.",
        "text that isn't UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
        "text longer than the file": b"\x80\x02X\xff\xff\xff\x7fa.",
        "a storage of a negative size": program({"a": tensor("FloatStorage", "0", -1, 0, (1,), (1,))}),
        "a negative stride": program({"a": tensor("FloatStorage", "0", 4, 3, (4,), (-1,))}),
        "a negative offset": program({"a": tensor("FloatStorage", "0", 4, -1, (4,), (1,))}),
        "an expanded tensor": program({"a": tensor("FloatStorage", "0", 1, 0, (2**40, 2**40), (0, 0))}),
        "more strides than sizes": program({"a": tensor("FloatStorage", "0", 4, 0, (4,), (1, 1))}),
        "many dimensions": program({"a": tensor("FloatStorage", "0", 4, 0, (1,) * 99, (1,) * 99)}),
        "a storage that isn't there": program({"a": tensor("FloatStorage", "7", 1, 0, (1,), (1,))}),
        "a storage outside its folder": program({"a": tensor("FloatStorage", "../../byteorder", 1, 0, (1,), (1,))}),
        "a smaller storage": program({"a": tensor("FloatStorage", "0", 2, 0, (2,), (1,))}),
        "a larger storage": program({"a": tensor("DoubleStorage", "0", 1, 0, (1,), (1,))}),
        "a tensor without arguments": program({"a": glob("torch._utils", "_rebuild_tensor_v2") + b")R"}),
        "a call of a number": program({"a": number(1) + b")R"}),
        "a dict with arguments": program({"a": glob("collections", "OrderedDict") + b"(]tR"}),
    }.items(),
    ids=lambda entry: entry[0],
)
def test_a_pickle_that_torch_does_not_write_is_refused(tmp_path, made):
    path = tmp_path / "consolidated.00.pth"
    write_archive(path, {"x/data.pkl": made[1], "x/data/0": bytes(4)})
    with pytest.raises(LlamaError) as caught:
        TorchFile(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def bombs():
    """Small programs of a great effect, were they unpickled carelessly."""
    doubling = b"".join(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"tq" + bytes([i + 1]) for i in range(200))
    yield "2^200 numbers", b"\x80\x02)q\x00" + doubling + b"."
    yield "2^200 numbers as a name", b"\x80\x02})q\x00" + doubling + b"K\x01s."
    yield "2^200 numbers as arguments", b"\x80\x02" + glob("collections", "OrderedDict") + b")q\x00" + doubling + b"R."
    yield "a deep tuple", b"\x80\x02)" + b"\x85" * 200_000 + b"."
    yield "a deep tuple as a storage", b"\x80\x02)" + b"\x85" * 200_000 + b"Q."
    yield "a deep tuple as a shape", program(
        {"a": glob("torch._utils", "_rebuild_tensor_v2") + b"(" + storage("FloatStorage", "0", 1) + number(0) + b")"
         + b"\x85" * 200_000 + b")\x89}tR"}
    )  # fmt: skip
    yield "deep lists", b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    yield "a far place in the memo", b"\x80\x02)r\xff\xff\xff\xff."
    yield "many marks", b"\x80\x02" + b"(" * 200_000 + b"."
    yield "a long number", b"\x80\x02\x8b" + struct.pack("<i", 900_000) + b"\x7f" * 900_000 + b"."
    yield "a long number as text", b"I" + b"9" * 900_000 + b"\n."
    yield "a program past the limit", b"\x80\x02" + b")0" * PICKLE_LIMIT + b"."


@pytest.mark.parametrize("bomb", list(bombs()), ids=lambda bomb: bomb[0])
def test_a_bomb_does_not_go_off(bomb):
    begin = time.perf_counter()
    with pytest.raises(LlamaError) as caught:
        read_torch_pickle(bomb[1], "file")
    assert time.perf_counter() - begin < 30
    assert len(str(caught.value)) < 1000


VALID = program({f"t{i}": tensor("FloatStorage", str(i % 2), 6, 0, (2, 3), (3, 1)) for i in range(3)})


@given(st.data())
def test_any_change_of_a_program_gives_tensors_or_an_error(data):
    """No other exception, and nothing but tensors inside their storages."""
    made = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(made) - 1))
        change = data.draw(st.sampled_from(["byte", "cut", "twice", "out"]))
        if change == "byte":
            made[place] = data.draw(st.integers(0, 255))
        elif change == "cut":
            made = made[: place + 1]
        elif change == "twice":
            made[place:place] = made[place : place + data.draw(st.integers(1, 40))]
        else:
            del made[place : place + data.draw(st.integers(1, 40))]
            made = made or bytearray(b".")
    try:
        records = read_torch_pickle(bytes(made), "file")
    except LlamaError:
        return
    for record in records.values():
        assert np.prod(record.shape, dtype=object) <= record.storage.count


@given(st.binary(max_size=60))
def test_any_bytes_give_tensors_or_an_error(made):
    with contextlib.suppress(LlamaError):
        assert isinstance(read_torch_pickle(b"\x80\x02" + made, "file"), dict)


def test_parameters_attributes_and_empty_dicts_are_read():
    """What state_dict() of a torch module may have besides tensors: nothing of it counts."""
    inner = tensor("FloatStorage", "0", 6, 0, (6,), (1,))
    empty = glob("collections", "OrderedDict") + b")R"
    parameter = glob("torch._utils", "_rebuild_parameter") + b"(" + inner + b"\x88" + empty + b"tR"
    made = b"\x80\x02" + empty + b"(" + text("a") + parameter + b"u}" + text("_metadata") + b"}sb."
    assert [record.shape for record in read_torch_pickle(made, "file").values()] == [(6,)]
    assert read_torch_pickle(pickle.dumps({}, 4), "file") == {}
    assert read_torch_pickle(pickle.dumps(collections.OrderedDict(), 5), "file") == {}


# -- hostile archives --------------------------------------------------------------------------------------------------

ARRAYS = {"a": np.arange(6, dtype=np.float32), "b": np.arange(4, dtype=np.float16)}


def refused(path, match):
    with pytest.raises(LlamaError, match=match) as caught:
        TorchFile(path)
    assert path.name in str(caught.value)


def test_compressed_numbers_are_refused_and_a_zip_bomb_with_them(tmp_path):
    path = tmp_path / "f.pth"
    write_archive(path, files_of(ARRAYS), zipfile.ZIP_DEFLATED)
    refused(path, "compressed")
    write_archive(path, {"x/data.pkl": VALID, "x/data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


def test_older_formats_and_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "f.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    refused(path, "before torch 1.6")
    for content in (b"", b"PK\3\4", b"GGUF" + bytes(100), bytes(1000)):
        path.write_bytes(content)
        refused(path, "not a readable archive")
    write_archive(path, {"x/other.txt": b"hello"})
    refused(path, "no archive of torch")
    write_archive(path, {"x/data.pkl": VALID, "y/data.pkl": VALID})
    refused(path, "no archive of torch")
    write_archive(path, {**files_of(ARRAYS), "archive/byteorder": b"big"})
    refused(path, "the other way round")


def test_two_files_of_one_name_are_refused(tmp_path):
    path = tmp_path / "f.pth"
    files = files_of(ARRAYS)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("archive/data/0", files["archive/data/0"])
    refused(path, "two files of one name")


def changed_directory(content, name, field, value):
    """An archive whose table says something else of one file: field is (place, form) in its entry."""
    content = bytearray(content)
    place = content.rindex(name.encode()) - 46  # the table stands at the end, each name behind 46 bytes
    struct.pack_into(field[1], content, place + field[0], value)
    return bytes(content)


SIZE, PACKED_SIZE, OFFSET, FLAGS = (24, "<I"), (20, "<I"), (42, "<I"), (8, "<H")


def test_files_that_leave_the_archive_or_lie_in_one_place_are_refused(tmp_path):
    path = tmp_path / "f.pth"
    write_archive(path, files_of(ARRAYS))
    content, name = path.read_bytes(), "archive/data/1"
    for fields, match in (
        ({SIZE: 2**31, PACKED_SIZE: 2**31}, "leaves the archive"),
        ({SIZE: 2**31}, "compressed"),
        ({OFFSET: len(content) - 10}, "outside the archive"),
        ({OFFSET: 3}, "damaged"),
        ({OFFSET: 0}, "two files in one place"),
        ({FLAGS: 1}, "encrypted"),
        ({SIZE: 4, PACKED_SIZE: 4}, "another size"),
    ):
        changed = content
        for field, value in fields.items():
            changed = changed_directory(changed, name, field, value)
        path.write_bytes(changed)
        refused(path, match)
    path.write_bytes(changed_directory(content, "archive/data.pkl", (16, "<I"), 1))
    refused(path, "checksum")


def test_a_table_of_any_size_is_not_read(tmp_path):
    """The end of an archive says how large its table is: nine million bytes of it here, of nothing."""
    path, size = tmp_path / "f.pth", 9_000_000
    path.write_bytes(bytes(size) + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 60_000, 60_000, size, 0, 0))
    refused(path, "a table of 9000000 bytes")


@given(cut_at=st.integers(0, 10_000))
def test_a_truncated_file_is_refused(tmp_path_factory, cut_at):
    path = tmp_path_factory.mktemp("cut") / "f.pth"
    write_torch_file(path, ARRAYS)
    content = path.read_bytes()
    path.write_bytes(content[: cut_at % len(content)])
    with pytest.raises(LlamaError):
        TorchFile(path)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_give_the_right_shapes_or_an_error(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("changed") / "f.pth"
    write_torch_file(path, ARRAYS)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        file = TorchFile(path)
    except LlamaError:
        return
    for name, stored in file.table.items():
        assert file.read(name).shape == stored.shape


def test_a_config_of_ours_beside_it_goes_first(tmp_path, meta_model):
    """A folder may have both layouts; config.json is then the one that counts."""
    model = meta_model()
    write_meta_folder(tmp_path, model)
    assert open_checkpoint(tmp_path).format == "Meta"
    model.save_pretrained(tmp_path)
    assert open_checkpoint(tmp_path).format == "Hugging Face"


def test_config_changes_go_before_what_params_say(tmp_path, meta_model):
    """Hugging Face's configs of Llama 3.2 scale RoPE by 32 where Meta's code has 8 for every model."""
    write_meta_folder(tmp_path, meta_model(), use_scaled_rope=True)
    scaled = open_meta_folder(tmp_path).config.rope_parameters
    assert scaled["factor"] == 8
    config = LlamaForCausalLM.from_pretrained(tmp_path, rope_parameters={**scaled, "factor": 32.0}).config
    assert config.rope_parameters == {**scaled, "factor": 32.0}
