"""Chats as text: the known formats, templates that mean harm, and users who write control tokens."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer import LlamaTokenizer, chat_process
from numpy_llama.tokenizer.chat_template import apply_chat_template, render_chat
from numpy_llama.tokenizer.control_tokens import BEGIN, END, control_tokens, mark
from numpy_llama.tokenizer.known_chats import (
    BY_NAME,
    DEFAULT_SYSTEM_PROMPT,
    SMOLLM2_SYSTEM_PROMPT,
    chat_of_tokens,
    known_chat,
    llama2,
    llama3,
)

jinja2 = pytest.importorskip("jinja2", reason="needs the chat extra")

EMBEDDED = Path(__file__).resolve().parents[2] / "data" / "storyteller"
CONTROL = ["<|im_start|>", "<|im_end|>"]
USER, SYSTEM = {"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": " Hello. "}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    """The embedded vocabulary with ChatML's control tokens."""
    made = LlamaTokenizer.from_pretrained(EMBEDDED)
    made.add_special_tokens({"additional_special_tokens": CONTROL})
    made.chat_template = CHATML
    return made


# The formats, as they are published


def test_llama_2_puts_the_system_prompt_into_the_first_question():
    assert llama2([SYSTEM, USER, ASSISTANT, USER]) == (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Hi [/INST]"
    )
    assert llama2([USER]) == "<s>[INST] Hi [/INST]"
    by_default = llama2([USER], use_default_system_prompt=True)
    assert by_default == llama2([{"role": "system", "content": DEFAULT_SYSTEM_PROMPT}, USER])
    assert llama2([SYSTEM, USER], use_default_system_prompt=True) == llama2([SYSTEM, USER])


def test_llama_3_writes_a_header_before_each_message():
    assert llama3([SYSTEM, USER], add_generation_prompt=True) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_smollm2_says_who_it_is_where_nobody_else_does():
    said = BY_NAME["smollm2"]([USER], add_generation_prompt=True)
    assert said == (
        f"<|im_start|>system\n{SMOLLM2_SYSTEM_PROMPT}<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert BY_NAME["smollm2"]([SYSTEM, USER]) == BY_NAME["chatml"]([SYSTEM, USER])


@pytest.mark.parametrize("messages", [[ASSISTANT], [USER, USER], [SYSTEM, ASSISTANT], [USER, SYSTEM]])
def test_llama_2_takes_turns(messages):
    with pytest.raises(LlamaError, match=r"messages\[\d\]: role: Llama 2's roles take turns; expected"):
        llama2(messages)


def test_a_vocabulary_says_which_chat_it_is_for(tokenizer):
    assert chat_of_tokens(["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<s>"]) == "llama3"
    assert chat_of_tokens(["<s>", "</s>", "<unk>"]) is None
    bare = LlamaTokenizer.from_pretrained(EMBEDDED)
    with pytest.raises(LlamaError, match="chat_template: this tokenizer has no chat template; expected a model made"):
        bare.apply_chat_template([USER])
    bare.use_default_system_prompt = True
    assert bare.get_chat_template() == "llama2"
    assert DEFAULT_SYSTEM_PROMPT in bare.apply_chat_template([USER], tokenize=False)
    bare.add_special_tokens({"additional_special_tokens": CONTROL})
    assert bare.get_chat_template() == "chatml"
    assert bare.apply_chat_template([USER]) == tokenizer.apply_chat_template([USER])


def test_known_chats_need_no_jinja(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr(chat_process, "_process", chat_process._Process())
    assert render_chat([USER], "chatml") == "<|im_start|>user\nHi<|im_end|>\n"
    monkeypatch.setattr(chat_process, "find_spec", lambda name: None)
    with pytest.raises(LlamaError, match=r"pip install 'numpy_llama\[chat\]'"):
        render_chat([USER], "{{ 'unheard of' }}")


# Messages that are none


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages: no messages; expected at least one"),
        ("Hi", "messages: no messages; expected a list of dicts, found str"),
        ([3], r"messages\[0\]: no message; expected a dict"),
        ([[USER], 3], r"messages\[1\]: no chat"),
        ([{"role": "user"}], "messages\\[0\\]: content: no text; expected a str, found a message without content"),
        ([{"role": "user", "content": None}], "a message without content"),
        ([{"role": "user", "content": [{"text": "Hi"}]}], "expected a str, found list"),
        ([{"role": "user", "content": "\ud800"}], "a lone surrogate"),
    ],
)
@pytest.mark.parametrize("sanitize", [False, True])
def test_messages_that_are_none_are_named(tokenizer, messages, message, sanitize):
    with pytest.raises(LlamaError, match=message):
        tokenizer.apply_chat_template(messages, chat_template="chatml", sanitize_control_tokens=sanitize)


def test_what_has_methods_stays_outside():
    class Picture:
        def save(self):
            raise AssertionError("a template called it")

    text = render_chat([{**USER, "image": Picture()}], "{{ messages[0].image }}{{ messages[0].image.save is defined }}")
    assert text == "<Picture>False"
    nested: list = []
    nested.append(nested)
    with pytest.raises(LlamaError, match="nested too deep"):
        render_chat([{**USER, "more": nested}], "x{{ messages }}")


def test_arguments_that_exclude_each_other_are_named(tokenizer):
    for options, message in (
        ({"continue_final_message": True, "add_generation_prompt": True}, "expected one of the two"),
        ({"sanitize_control_tokens": True, "tokenize": False}, "tokenize: tokens are made"),
        ({"return_assistant_tokens_mask": True}, "return_assistant_tokens_mask: not implemented"),
        ({"tools": [print]}, r"tools\[0\]: no tool; expected its JSON schema"),
        ({"chat_template": 3}, "chat_template: no template"),
        ({"continue_final_message": "thinking"}, "the last message has no thinking"),
        ({"continue_final_message": True, "chat_template": "{{ 'other' }}"}, "doesn't write the last message as it is"),
    ):
        with pytest.raises(LlamaError, match=message):
            tokenizer.apply_chat_template([USER], **options)


# Templates that mean harm, or are mistaken


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% if %}", "line 1: Expected an expression"),
        ("a\nb\n{% endfor %}", "line 3: Encountered unknown tag 'endfor'"),
        ("a\n{{ raise_exception('no\nsystem') }}", "line 2: no system"),
        ("{{ missing.name }}", "line 1: 'missing' is undefined"),
        ("{{ 1 / 0 }}", "line 1: ZeroDivisionError"),
        ("{{ messages[0].content + 1 }}", "line 1: TypeError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "'__class__' of 'str' object is unsafe"),
        ("{{ ''['__class__'] }}{{ (''|attr('__class__')).x }}", "unsafe"),
        ("{{ '{0.__class__.__mro__}'.format(1) }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
        ("{{ self.__init__ }}{{ self.__init__.__globals__ }}", "unsafe|undefined"),
        ("{{ raise_exception.__globals__.sys }}", "unsafe|undefined"),
        ("{{ namespace(__class__=1) }}", "can't have an attribute"),
        ("{% set n = namespace() %}{% set n._x = 1 %}", "can't have an attribute"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import 'os' as os %}", "no loader"),
        ("{% extends 'x' %}", "no loader"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests too deep"),
        ("{{ range(1000000) }}", "Range too big"),
        ("{{" + "(" * 3000 + "1" + ")" * 3000 + "}}", "nests too deep|nested"),
        ("x" * 300_000, "chat_template: too long; expected at most 262144, found 300000 characters"),
        ("{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}", "writes too much"),
    ],
)
def test_a_template_that_is_wrong_or_reaches_too_far_is_an_error_with_its_line(template, message):
    with pytest.raises(LlamaError, match="chat_template.*(?:" + message.removeprefix("chat_template") + ")"):
        render_chat([USER], template)
    assert render_chat([USER], "{{ messages[0].content }}") == "Hi", "the next one is served"


@pytest.mark.skipif(sys.platform != "linux", reason="the system can't limit a process's memory")
@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10 ** 10 }}",
        "{{ 'a'.ljust(10 ** 10) }}",
        "{{ '%09999999999d' % 1 }}",
        "{% set n = namespace(s='aaaa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}",
    ],
)
def test_memory_is_limited(template):
    with pytest.raises(LlamaError, match="chat_template: takes too much memory"):
        render_chat([USER], template)
    assert render_chat([USER], "{{ messages[0].content }}") == "Hi"


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
        "{{ (9 ** 9) ** (9 ** 9) }}",
    ],
)
def test_time_is_limited(template, monkeypatch):
    monkeypatch.setattr(chat_process, "SECONDS", 0.5)
    with pytest.raises(
        LlamaError, match=r"chat_template: not done in 0.5 seconds|chat_template: takes too much memory"
    ):
        render_chat([USER], template)
    monkeypatch.undo()
    assert render_chat([USER], "{{ messages[0].content }}") == "Hi"


fragments = st.sampled_from(
    [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{% for m in messages %}",
        "{% endfor %}",
        "{% if m %}",
        "{% endif %}",
        "m.content",
    ]
    + [
        "messages[0]",
        "|",
        "join",
        "(",
        ")",
        "'",
        "\n",
        "namespace()",
        "{% set x = 1 %}",
        "range(3)",
        ".__class__",
        "~",
        "-",
    ]
)


@settings(max_examples=150)
@given(template=st.lists(st.one_of(fragments, st.text(max_size=3)), max_size=12).map("".join))
def test_any_text_as_a_template_is_a_text_or_an_error(template):
    try:
        answer: object = render_chat([USER], template)
    except LlamaError as error:
        answer = error
    assert isinstance(answer, str) or str(answer).startswith("chat_template")


def test_no_file_is_opened_and_none_written_where_the_template_runs():
    # What a way out of the sandbox would find: the process can't open files or start others.
    worker = Path(chat_process.__file__).with_name("chat_worker.py").read_text()
    assert "RLIMIT_NOFILE" in worker
    with pytest.raises(LlamaError, match="OSError"):
        render_chat([USER], "{{ lipsum() }}")  # a part of jinja2 that imports its words when it is called


# Users who write control tokens


awkward = st.sampled_from([*CONTROL, "<s>", "</s>", "<|im_", "end|>", "<", "|>", "\n", " ", "user", "Hi", BEGIN, END])
hostile = st.lists(st.one_of(awkward, st.text(max_size=4)), max_size=10).map("".join)


@given(texts=st.lists(hostile, min_size=1, max_size=4), legacy=st.booleans())
@pytest.mark.parametrize("template", ["chatml", CHATML, "llama2"])
def test_no_text_of_a_user_becomes_a_control_token(tokenizer, template, texts, legacy):
    read = LlamaTokenizer.from_pretrained(EMBEDDED, legacy=legacy)
    read.add_special_tokens({"additional_special_tokens": CONTROL})
    roles = ["user", "assistant"] * 2
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    innocent = [{**message, "content": "a"} for message in messages]
    options = {"chat_template": template, "add_generation_prompt": True, "return_dict": False}
    ids, expected = (
        [token for token in read.apply_chat_template(chat, sanitize_control_tokens=True, **options) if token in control]
        for control in [set(read.all_special_ids) - {read.unk_token_id}]
        for chat in (messages, innocent)
    )
    assert ids == expected


@given(text=hostile)
def test_what_a_user_wrote_is_still_there(tokenizer, text):
    text = text.replace(BEGIN, "").replace(END, "")
    ids = tokenizer.apply_chat_template([{**USER, "content": text}], sanitize_control_tokens=True, return_dict=False)
    expected = f"<|im_start|>user\n{text}<|im_end|>\n"
    assert tokenizer.decode(ids) == expected.replace("▁", " ")


@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "<" not in text)
)
def test_text_without_control_tokens_is_encoded_as_if_nothing_was_asked(tokenizer, text):
    messages = [{**USER, "content": text}]
    if BEGIN in text or END in text:
        return
    plain = tokenizer.apply_chat_template(messages, return_dict=False)
    assert tokenizer.apply_chat_template(messages, return_dict=False, sanitize_control_tokens=True) == plain


def test_without_asking_control_tokens_are_tokens_as_in_transformers(tokenizer):
    ids = tokenizer.apply_chat_template([{**USER, "content": "a<|im_end|>b"}], return_dict=False)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2


def test_a_template_that_joins_what_stood_apart_is_found_out(tokenizer):
    messages = [{**USER, "content": "<|im_#end|>"}]
    with pytest.raises(LlamaError, match="messages: a text would become a control token"):
        tokenizer.apply_chat_template(
            messages, chat_template="{{ messages[0].content | replace('#', '') }}", sanitize_control_tokens=True
        )
    with pytest.raises(LlamaError, match="a text would become a control token"):
        tokenizer.apply_chat_template(
            [{**USER, "content": "s>"}], chat_template="{{ '<' + messages[0].content }}", sanitize_control_tokens=True
        )


def test_marks_stand_around_whole_control_tokens_and_cannot_be_forged(tokenizer):
    tokens = control_tokens(tokenizer, CHATML)
    assert set(CONTROL) <= set(tokens)
    assert mark({"a": ["x<s>", 3]}, tokens) == {"a": [f"x{BEGIN}<s>{END}", 3]}
    assert mark(f"{BEGIN}<|im_{END}end|>", tokens) == f"{BEGIN}<|im_end|>{END}"


def test_legacy_encodes_a_chat_exchange_by_exchange_as_metas_code_does():
    read = LlamaTokenizer.from_pretrained(EMBEDDED, legacy=True, add_bos_token=False)
    messages = [USER, ASSISTANT, {**USER, "content": "Bye"}]
    bos, eos = read.bos_token_id, read.eos_token_id
    expected = [bos, *read.encode("[INST] Hi [/INST] Hello. "), eos, bos, *read.encode("[INST] Bye [/INST]")]
    assert read.apply_chat_template(messages, chat_template="llama2", return_dict=False) == expected


def test_the_function_behind_the_method_takes_any_tokenizer(tokenizer):
    assert apply_chat_template(tokenizer, [USER]) == tokenizer.apply_chat_template([USER])


def test_a_known_template_is_known_however_it_writes_its_line_ends():
    assert known_chat("no such template") is None
    hub = CHATML.replace("m.role", "message['role']").replace("m.content", "message['content']")
    hub = hub.replace("for m in", "for message in").replace("'<|im_end|>\n'", "'<|im_end|>' + '\n'")
    hub = hub.replace("{{ '<|im_start|>' +", "{{'<|im_start|>' +").replace("+ '\n' }}{% endfor", "+ '\n'}}{% endfor")
    assert known_chat(hub) is BY_NAME["chatml"]
    assert known_chat(hub.replace("\n", "\\n")) is BY_NAME["chatml"]
