"""Chat templates in their worker: byte for byte what transformers renders, and no further than the bounds."""

import time

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from paddock.errors import BadRequest
from paddock.runner.engines.text.prompt.renderer import Renderer

CHATML = (
    "{%- if messages[0].role == 'system' -%}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}"
    "{%- else -%}{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{%- endif %}\n"
    "{% for message in messages -%}\n    {%- if message.role != 'system' %}\n"
    "    {{- '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>' + '\n' }}\n"
    "    {%- endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\n\n</think>\n\n' }}\n    {%- endif %}\n{%- endif %}\n"
)
ALTERNATING = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system = false %}"
    "{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + "
    "message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MACROS = (
    "{%- macro header(role) -%}<|start_header_id|>{{ role }}<|end_header_id|>\n\n{%- endmacro -%}\n"
    "{%- set ns = namespace(count=0, last='') %}\n"
    "{{- bos_token }}\n{%- for message in messages %}\n"
    "    {%- set ns.count = ns.count + 1 %}{%- set ns.last = message.role %}\n"
    "    {{- header(message.role) }}{{ message.content }}<|eot_id|>\n{%- endfor %}\n"
    "{#- a remark -#}\n{{- '[' ~ ns.count ~ ':' ~ ns.last ~ ']' }}\n"
    "{%- if add_generation_prompt %}{{ header('assistant') }}{%- endif %}\n"
)
DATA = (
    "Today is {{ strftime_now('%Y') }}.\n{{ messages | tojson }}\n"
    "{{ messages[0] | tojson(indent=2, sort_keys=true) }}\n"
    "{% set kinds = dict(a=1, b='ä') %}{{ kinds | tojson(ensure_ascii=true) }}{{ kinds.items() | list | length }}\n"
    "{% if tools %}tools{% else %}none{% endif %} {{ documents is none }} {{ undefined_thing is defined }}\n"
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') }}\n"
    "{{ 'a,b,c'.split(',')[::-1] }}{{ range(3) | list }}{{ '%05.1f' | format(2.25) }}\n"
)
CONTROL = (
    "{% for message in messages %}\n    {% if message.role == 'system' %}\n        {% continue %}\n    {% endif %}\n"
    "    {% generation %}\n{{ message.role | capitalize }}: {{ message.content | replace('\n', ' ') }}\n"
    "    {% endgeneration %}\n    {% if loop.index > 2 %}{% break %}{% endif %}\n{% endfor %}\n"
    "{% if messages | length > 1 and messages[-1].role == 'user' %}{{ messages[-1].content[:3] }}{% endif %}\n"
)
REAL = {"chatml": CHATML, "alternating": ALTERNATING, "macros": MACROS, "data": DATA, "control": CONTROL}
MESSAGES = [
    {"role": "system", "content": "Be <kind> & 'brief'."},
    {"role": "user", "content": "  héllo\nthere  "},
    {"role": "assistant", "content": "Hi! {{ not a template }}"},
    {"role": "user", "content": "And 日本語?"},
]


@pytest.fixture(scope="module")
def renderer():
    renderer = Renderer(seconds=0.5)
    yield renderer
    renderer.close()


def variables(**more):
    known = {"messages": MESSAGES, "tools": None, "documents": None, "add_generation_prompt": True}
    return known | {"bos_token": "<s>", "eos_token": "</s>", "enable_thinking": False} | more


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("prompt", [True, False])
def test_templates_render_as_transformers_renders_them(renderer, name, prompt):
    given = {key: value for key, value in variables(add_generation_prompt=prompt).items() if key != "messages"}
    [expected], _ = render_jinja_template([MESSAGES], chat_template=REAL[name], **given)

    assert renderer.render(REAL[name], variables(add_generation_prompt=prompt), 4096) == expected
    assert len(expected) > 50


def refusal(renderer, template, context_tokens=512) -> str:
    with pytest.raises(BadRequest) as error:
        renderer.render(template, variables(), context_tokens)
    return error.value.message


def test_what_a_template_itself_refuses_is_told_in_its_words(renderer):
    assert refusal(renderer, "{{ raise_exception('Only users.') }}").endswith("refused this conversation: Only users.")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append.__self__.__class__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ dict.__class__.__mro__ }}",
        "{{ strftime_now.__globals__['json'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages.append(1) }}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
        "{% import 'os' as os %}",
        "{% include '/etc/passwd' %}",
        "{{ lipsum(n=200000) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ joiner() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ range(10**9) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
        "{{ " + "1+" * 20_000 + "1 }}",
        "{% for %}",
    ],
)
def test_what_the_sandbox_forbids_is_refused_or_empty(renderer, template):
    try:
        told = renderer.render(template, variables(), 512)
    except BadRequest as error:
        told = error.message

    assert "<class" not in told
    assert "<module" not in told
    assert "/etc" not in told


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "too long"),
        ("{% for i in range(99999) %}" + "x" * 20_000 + "{% endfor %}", "more than the context"),
        ("{{ 'a' * 10**10 }}", "failed"),
        ("{{ 'a' | center(10**10) }}", "failed"),
        (
            "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
            "failed|too long",
        ),
        ("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}", "too long"),
    ],
)
def test_bombs_end_soon_and_the_next_conversation_is_rendered(renderer, template, reason):
    began = time.monotonic()
    message = refusal(renderer, template)

    assert any(word in message for word in reason.split("|")), message
    assert time.monotonic() - began < 10
    assert renderer.render("{{ messages[0].role }}", variables(), 512) == "system"


def test_a_template_that_is_too_large_is_not_even_parsed(renderer):
    assert "larger than" in refusal(renderer, "x" * 300_000)


def test_a_long_conversation_may_be_longer_than_the_context(renderer):
    text = "x" * 1_000_000

    assert renderer.render("{{ messages[0].content }}", variables(messages=[{"content": text}]), 8) == text


def test_a_worker_that_dies_is_replaced(renderer):
    renderer.render("x", variables(), 8)
    renderer._worker.kill()
    renderer._worker.wait()

    assert "too much memory" in refusal(renderer, "y")
    assert renderer.render("z", variables(), 8) == "z"


def test_the_worker_ends_with_its_owner():
    renderer = Renderer()
    renderer.start()
    worker = renderer._worker
    del renderer

    assert worker.poll() is not None
