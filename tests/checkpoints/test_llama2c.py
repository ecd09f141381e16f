"""llama2.c's .bin files: the model in them is the same model, and a header that can't be is an error by name."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpy_llama import AutoConfig, AutoTokenizer, LlamaError, LlamaForCausalLM, LlamaTokenizer, embedded_model_folder
from numpy_llama.checkpoints.llama2c import FIELDS, HEADER, open_llama2c, write_llama2c
from numpy_llama.checkpoints.rope_layout import halves_from_neighbours, neighbours_from_halves
from numpy_llama.tokenizer.llama2c_vocabulary import llama2c_vocabulary_bytes, read_llama2c_vocabulary

# What llama2.c takes for granted.
ITS = {"rms_norm_eps": 1e-5, "attention_bias": False, "mlp_bias": False, "head_dim": None}


def written(model, folder, name="model.bin"):
    path = folder / name
    write_llama2c(path, model.config, model.tensors.__getitem__)
    return path


def logits_as_run_c_has_them(path, ids):
    """The forward pass of run.c, from its description: one token after the other, pairs of neighbours turned."""
    content = path.read_bytes()
    E, F, L, H, K, V, S = struct.unpack("<7i", content[:28])
    D, separate, V = E // H, V < 0, abs(V)
    numbers, at = np.frombuffer(content[28:], "<f4").astype(np.float64), 0

    def take(*shape):
        nonlocal at
        at += np.prod(shape)
        return numbers[at - np.prod(shape) : at].reshape(shape)

    embedding, before = take(V, E), take(L, E)
    q, k, v, o = take(L, E, E), take(L, K * D, E), take(L, K * D, E), take(L, E, E)
    after, gate, down, up = take(L, E), take(L, F, E), take(L, E, F), take(L, F, E)
    last, cos, sin = take(E), take(S, D // 2), take(S, D // 2)
    head = take(V, E) if separate else embedding
    assert at == len(numbers)
    angles = np.arange(S)[:, None] * 10000.0 ** (-np.arange(0, D, 2) / D)
    np.testing.assert_allclose((cos, sin), (np.cos(angles), np.sin(angles)), atol=1e-5)

    def norm(x, weight):
        return weight * x / np.sqrt(np.mean(x * x) + 1e-5)

    def turned(x, position):
        x = x.copy().reshape(-1, D)
        for i in range(D // 2):
            c, s = np.cos(angles[position, i]), np.sin(angles[position, i])
            a, b = x[:, 2 * i].copy(), x[:, 2 * i + 1].copy()
            x[:, 2 * i], x[:, 2 * i + 1] = a * c - b * s, a * s + b * c
        return x

    keys, values, rows = [[] for _ in range(L)], [[] for _ in range(L)], []
    for position, token in enumerate(ids):
        x = embedding[token]
        for layer in range(L):
            h = norm(x, before[layer])
            query = turned(q[layer] @ h, position)
            keys[layer].append(turned(k[layer] @ h, position))
            values[layer].append((v[layer] @ h).reshape(K, D))
            heads = []
            for one in range(H):
                group = one // (H // K)
                scores = np.array([query[one] @ key[group] for key in keys[layer]]) / np.sqrt(D)
                weights = np.exp(scores - scores.max())
                heads.append(weights / weights.sum() @ np.array([value[group] for value in values[layer]]))
            x = x + o[layer] @ np.concatenate(heads)
            h = norm(x, after[layer])
            gated = gate[layer] @ h
            x = x + down[layer] @ (gated / (1 + np.exp(-gated)) * (up[layer] @ h))
        rows.append(head @ norm(x, last))
    return np.array(rows)


# The same model


@given(heads=st.integers(1, 5), pairs=st.integers(1, 5), columns=st.integers(0, 3))
def test_the_two_orders_of_rows_are_inverse(heads, pairs, columns):
    shape = (heads * 2 * pairs, columns) if columns else (heads * 2 * pairs,)
    rows = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(neighbours_from_halves(halves_from_neighbours(rows, heads), heads), rows)
    np.testing.assert_array_equal(halves_from_neighbours(neighbours_from_halves(rows, heads), heads), rows)


def test_pairs_of_neighbours_become_pairs_of_halves():
    rows = np.array(["a0", "a1", "b0", "b1", "c0", "c1", "A0", "A1", "B0", "B1", "C0", "C1"])
    expected = ["a0", "b0", "c0", "a1", "b1", "c1", "A0", "B0", "C0", "A1", "B1", "C1"]
    assert halves_from_neighbours(rows, heads=2).tolist() == expected


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_logits_are_those_that_run_c_computes(tmp_path, make_model, tied, kv_heads):
    model = make_model(**ITS, tie_word_embeddings=tied, num_key_value_heads=kv_heads)
    path = written(model, tmp_path)
    ids = [1, 5, 17, 3, 42, 60, 0]
    ours = LlamaForCausalLM.from_pretrained(path, dtype="float64")
    np.testing.assert_allclose(ours([ids]).logits[0], logits_as_run_c_has_them(path, ids), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tied", [False, True])
def test_writing_and_reading_gives_every_bit_back(tmp_path, make_model, tied):
    model = make_model(**ITS, tie_word_embeddings=tied)
    path = written(model, tmp_path)
    again = LlamaForCausalLM.from_pretrained(path)
    for name, tensor in model.tensors.items():
        assert again.tensors[name].tobytes() == tensor.tobytes(), name
    assert again.config.to_dict() == model.config.to_dict()
    assert written(again, tmp_path, "again.bin").read_bytes() == path.read_bytes()
    assert AutoConfig.from_pretrained(path) == again.config


def test_a_text_ends_where_run_c_ends_it(tmp_path, make_model):
    model = LlamaForCausalLM.from_pretrained(written(make_model(**ITS), tmp_path))
    assert model.generation_config["eos_token_id"] == [1, 2]


# What the format has no place for


@pytest.mark.parametrize(
    ("field", "value"),
    [("rms_norm_eps", 1e-6), ("attention_bias", True), ("mlp_bias", True), ("head_dim", 6), ("hidden_act", "gelu"),
     ("rope_theta", 5e5), ("rope_scaling", {"rope_type": "linear", "factor": 2.0})],
)  # fmt: skip
def test_what_llama2c_has_no_place_for_is_refused_by_name(tmp_path, make_model, field, value):
    model = make_model(**{**ITS, field: value})
    with pytest.raises(
        LlamaError, match=f"model.bin: {field.replace('theta', 'parameters').replace('scaling', 'param')}"
    ):
        written(model, tmp_path)
    assert not list(tmp_path.iterdir())


# Hostile files


@pytest.fixture(scope="module")
def content(tmp_path_factory, make_model):
    return written(make_model(**ITS), tmp_path_factory.mktemp("whole")).read_bytes()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """file(content) → the path of a .bin file that holds it."""

    def make(content):
        path = tmp_path_factory.mktemp("hostile") / "model.bin"
        path.write_bytes(content)
        return path

    return make


@given(data=st.data())
def test_a_file_cut_short_or_gone_on_is_an_error_wherever_it_ends(file, content, data):
    length = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(min_size=1, max_size=9))
    for changed in (content[:length], content + more):
        with pytest.raises(LlamaError, match=r"model\.bin"):
            LlamaForCausalLM.from_pretrained(file(changed))


HOSTILE = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, 2, -1, 2**31 - 1, -(2**31), 2**16, 2**30, 46341, 7])
)


@given(data=st.data())
def test_whatever_a_header_says_fits_the_file_or_is_an_error(file, content, data):
    """Products of its numbers overflow any integer of C: 2^31 layers of 2^31 channels."""
    numbers = list(HEADER.unpack(content[: HEADER.size]))
    changed = data.draw(st.lists(st.sampled_from(range(len(FIELDS))), min_size=1, unique=True))
    for index in changed:
        numbers[index] = data.draw(HOSTILE)
    path = file(HEADER.pack(*numbers) + content[HEADER.size :])
    try:
        reader = open_llama2c(path)
    except LlamaError as error:
        message = str(error)
    else:
        message = str(path)
        check_it_fits(reader, len(content))
    assert str(path) in message


def check_it_fits(reader, length):
    needed = sum(int(np.prod(stored.shape)) for stored in reader.table().values())
    assert 4 * needed < length
    for name in reader.table():
        reader.read(name)


@given(noise=st.binary(max_size=300))
def test_noise_is_an_error(file, noise):
    with pytest.raises(LlamaError, match=r"model\.bin"):
        LlamaForCausalLM.from_pretrained(file(noise))


def test_newer_versions_are_refused_by_number(file):
    for version in (1, 2):
        with pytest.raises(LlamaError, match=rf"version 0 of llama2\.c's format, found {version}"):
            open_llama2c(file(struct.pack("<Ii", 0x616B3432, version) + bytes(300)))


def test_weights_that_are_no_numbers_are_named(file, content):
    broken = bytearray(content)
    broken[28:32] = struct.pack("<f", np.nan)
    with pytest.raises(LlamaError, match=r"model\.bin: model\.embed_tokens\.weight\[0, 0\]: weight is not a number"):
        LlamaForCausalLM.from_pretrained(file(broken))


# The vocabulary beside it


@pytest.fixture(scope="module")
def vocabulary():
    return LlamaTokenizer.from_pretrained(embedded_model_folder()).model


def test_a_vocabulary_comes_back_whole(tmp_path, vocabulary):
    (tmp_path / "tokenizer.bin").write_bytes(llama2c_vocabulary_bytes(vocabulary))
    again = read_llama2c_vocabulary(tmp_path / "tokenizer.bin")
    for name in ("pieces", "types", "byte_fallback", "bos_id", "eos_id", "pad_id", "add_dummy_prefix"):
        assert getattr(again, name) == getattr(vocabulary, name)
    np.testing.assert_array_equal(again.scores, np.float32(vocabulary.scores))


@given(text=st.text(max_size=40))
def test_texts_are_cut_as_before(tmp_path_factory, vocabulary, text):
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "tokenizer.bin").write_bytes(llama2c_vocabulary_bytes(vocabulary))
    (folder / "model.bin").write_bytes(b"")
    ours, expected = AutoTokenizer.from_pretrained(folder / "model.bin"), LlamaTokenizer(vocabulary, legacy=True)
    assert ours.encode(text) == expected.encode(text)


def test_byte_pieces_of_old_files_are_read(tmp_path, vocabulary):
    """They were written as the characters U+0000 to U+00FF, so one of them is a plain space."""
    entries = [struct.pack("<I", 9)]
    for index, (piece, score) in enumerate(zip(vocabulary.pieces, vocabulary.scores, strict=True)):
        text = chr(index - 3) if 3 <= index < 259 else piece.replace("\u2581", " ")
        text = {1: "\n<s>\n", 2: "\n</s>\n"}.get(index, text)
        entries.append(struct.pack("<fi", score, len(text.encode())) + text.encode())
    (tmp_path / "tokenizer.bin").write_bytes(b"".join(entries))
    assert read_llama2c_vocabulary(tmp_path / "tokenizer.bin").pieces == vocabulary.pieces


@given(data=st.data())
def test_a_damaged_vocabulary_is_another_one_or_an_error(tmp_path_factory, vocabulary, data):
    content = bytearray(llama2c_vocabulary_bytes(vocabulary))
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.bin"
    end = data.draw(st.integers(0, len(content)))
    content = content[:end]
    for place in data.draw(st.lists(st.integers(0, max(0, end - 1)), max_size=3)) if end else []:
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read = read_llama2c_vocabulary(path)
    except LlamaError as error:
        message = str(error)
    else:
        message = read.source
        assert len(read.pieces) <= len(vocabulary.pieces)
    assert "tokenizer.bin" in message


def test_a_vocabulary_of_another_order_is_not_written(vocabulary):
    from dataclasses import replace

    swapped = replace(vocabulary, pieces=[vocabulary.pieces[i] for i in (0, 2, 1)] + vocabulary.pieces[3:], raw=None)
    with pytest.raises(LlamaError, match="no place for this vocabulary"):
        llama2c_vocabulary_bytes(swapped)
