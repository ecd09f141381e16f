"""A layout is no mistake: however the same numbers are laid out, they agree, and the report says how they were read."""

import numpy as np
import pytest

from numpy_llama.study.compare import compare_traces

LAYOUTS = {
    "query_rotated": lambda x, model: x.swapaxes(1, 2),
    "key_rotated": lambda x, model: x.transpose(2, 0, 1, 3),
    ".keys": lambda x, model: np.repeat(x, model.config.num_attention_heads // model.config.num_key_value_heads, 1),
    ".values": lambda x, model: np.pad(x, ((0, 0), (0, 0), (0, 9), (0, 0))),
    "q_proj": lambda x, model: x.reshape(*x.shape[:2], -1, model.config.head_dim),
    "k_proj": lambda x, model: x.reshape(*x.shape[:2], -1, model.config.head_dim).swapaxes(1, 2),
    "context": lambda x, model: x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1),
    "weights": lambda x, model: x[None],
    "mlp": lambda x, model: x.reshape(-1, x.shape[-1]),
    "lm_head": lambda x, model: x[:, -1],
    "rotary_emb.cos": lambda x, model: x[..., : x.shape[-1] // 2],
    "causal_mask": lambda x, model: x > -1,
    "up_proj": lambda x, model: np.asfortranarray(x),
}


def test_every_layout_at_once_agrees_and_is_said(small, run):
    theirs = run()
    changed = set()
    for call in theirs.calls:
        for name, value in list(call.values.items()):
            for ending, change in LAYOUTS.items():
                if name.endswith(ending):
                    call.values[name] = change(value, small)
                    changed.add(ending)
    assert changed == set(LAYOUTS)
    found = compare_traces(theirs, small)
    assert found.status == 0, (found.first, found.misfits[:2])
    notes = {finding.name: finding.note for finding in found.findings if not finding.call}
    assert notes["model.layers.0.self_attn.query_rotated"] == "axes (B, T, H, D)"
    assert notes["model.layers.0.self_attn.keys"] == "each key/value head is there 2 times"
    assert notes["lm_head"].startswith("only of the last position")
    assert notes["model.layers.0.self_attn.values"].startswith("the cache has room")


def test_a_mistake_in_another_layout_is_found_too(small, run):
    theirs = run({"call.0000/model.layers.1.self_attn.query_rotated": lambda x: x * 2})
    for call in theirs.calls:
        for name, value in list(call.values.items()):
            if name.endswith("query_rotated"):
                call.values[name] = value.swapaxes(1, 2)
    found = compare_traces(theirs, small)
    assert found.first.full_name == "call.0000/model.layers.1.self_attn.query_rotated"
    assert found.first.difference.kind == "scale"


@pytest.mark.parametrize("B", [1, 2])
def test_as_many_tokens_as_heads_is_read_either_way(small, B):
    from numpy_llama.study.trace import trace

    H = small.config.num_attention_heads
    with trace() as theirs:
        small(np.random.default_rng(0).integers(0, 48, (B, H)))
    values = theirs.calls[0].values
    name = "model.layers.0.self_attn.query_rotated"
    values[name] = values[name].swapaxes(1, 2)
    found = compare_traces(theirs, small)
    assert found.status == 0
    assert "axes (B, T, H, D)" in {finding.note for finding in found.findings if finding.name == name}
