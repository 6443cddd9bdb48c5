"""Conversations with thinking and tools through chat templates, and how their answers are then read."""

from pathlib import Path

import pytest
from mlx_lm import utils
from tokenizers import AddedToken

from paddock.errors import BadRequest, Unsupported
from paddock.protocol import CalledTool, ChatMessage, ChatRequest
from paddock.runner.engines.text.prompt.chat import ChatTemplate
from paddock.runner.engines.text.prompt.renderer import Renderer
from tests.runner.engines.text.styles import TOOLS
from tests.runner.tiny import byte_tokenizer, save_tokenizer

DEMO = (Path(__file__).parents[4] / "training" / "chat_template.jinja").read_text()
HARMONY = (
    "{% for message in messages %}{% if message.tool_calls %}"
    "{% if message.content and message.thinking %}{{ raise_exception('one of the two') }}{% endif %}"
    "{% for call in message.tool_calls %}<|start|>assistant to=functions.{{ call.function.name }}"
    "<|channel|>commentary json<|message|>{{ call.function.arguments | tojson }}<|call|>{% endfor %}"
    "{% else %}<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>{% endif %}{% endfor %}"
    "effort={{ reasoning_effort | default('medium') }};{{ tools | length if tools }}<|start|>assistant"
)
OPENS = "{% for message in messages %}{{ message.content }}{% endfor %}<assistant><think>\n{# </think> #}"
KEYS = "{{ enable_thinking }} {{ thinking }} {{ reasoning_effort | default('none') }} {{ tools is none }}{# <think> #}"
TEXT_ARGUMENTS = (
    "{% for m in messages %}{% for c in m.tool_calls %}{{ 'a' + c.function.arguments }}{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def renderer():
    renderer = Renderer()
    yield renderer
    renderer.close()


@pytest.fixture
def template_of(tmp_path, renderer):
    def make(template, **config) -> ChatTemplate:
        tokenizer = byte_tokenizer()
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in config.pop("tokens", ())])
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        save_tokenizer(tmp_path, tokenizer, chat_template=template, **config)
        return ChatTemplate(utils.load_tokenizer(tmp_path, {"trust_remote_code": False}), renderer, 512)

    return make


def request(*messages: ChatMessage, **fields) -> ChatRequest:
    return ChatRequest(messages=messages or (ChatMessage(role="user", content="Hi"),), **fields)


def rendered(template: ChatTemplate, wanted: ChatRequest) -> str:
    return template.render(wanted, wanted.messages)


def style_of(template: ChatTemplate, wanted: ChatRequest):
    return template.dialect.style(wanted, template.template_of(wanted), rendered(template, wanted))


# ---- thinking ----


@pytest.mark.parametrize(
    ("think", "told"),
    [(None, "True True none"), (True, "True True none"), (False, "False False none"), ("high", "True True high")],
)
def test_a_template_is_told_whether_to_think_under_all_its_names(template_of, think, told):
    assert rendered(template_of(KEYS), request(think=think)) == f"{told} True"


def test_a_model_that_cannot_think_is_told_so_and_refuses_to(template_of):
    template = template_of("{{ enable_thinking }}")

    assert rendered(template, request()) == "False"
    assert rendered(template, request(think=False)) == "False"
    with pytest.raises(Unsupported, match="does not support thinking"):
        rendered(template, request(think="low"))


def test_marks_are_the_tokenizers_or_words_that_the_template_knows(template_of):
    with_tokens = style_of(template_of(DEMO, tokens=("<think>", "</think>")), request())
    with_words = style_of(template_of(DEMO), request())
    without = style_of(template_of("{{ messages[0].content }}"), request())

    assert (with_tokens.think_start, with_tokens.think_end) == ("<think>", "</think>")
    assert (with_words.think_start, with_words.think_end) == ("<think>", "</think>")
    assert without.is_plain
    assert not with_tokens.begins_thinking


def test_a_template_that_opens_the_thinking_is_seen(template_of):
    style = style_of(template_of(OPENS), request())

    assert style.begins_thinking
    assert not style.hides_thinking


def test_thinking_that_the_template_cannot_leave_is_hidden_if_unwanted(template_of):
    style = style_of(template_of(OPENS), request(think=False))

    assert style.begins_thinking
    assert style.hides_thinking


@pytest.mark.parametrize("fields", [{"answer_schema": "{}"}, {"tool_choice": "required", "tools": TOOLS}])
def test_before_a_grammar_the_prompt_opens_the_thinking(template_of, fields):
    template = template_of(DEMO)

    assert rendered(template, request(**fields)).endswith("<|im_start|>assistant\n<think>")
    assert style_of(template, request(**fields)).begins_thinking
    assert rendered(template, request(think=False, **fields)).endswith("<think>\n\n</think>\n\n")
    assert (
        rendered(template_of(OPENS + DEMO[:0] + "{# <tool_call> tool_call.name tools #}"), request(**fields)).count(
            "<think>"
        )
        == 1
    )


def test_earlier_thinking_reaches_the_template(template_of):
    template = template_of("{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}{% endfor %}")

    assert rendered(template, request(ChatMessage(role="assistant", content="", thinking="Hm"))) == "Hm|Hm"


# ---- tools ----


def test_tools_are_told_and_their_calls_read_as_the_model_writes_them(template_of):
    template = template_of(DEMO)

    text, style = rendered(template, request(tools=TOOLS)), style_of(template, request(tools=TOOLS))

    assert '"name": "weather"' in text
    assert style.tool_syntax is not None
    assert (style.tool_syntax.start, style.tool_syntax.end) == ("<tool_call>", "</tool_call>")
    assert style.tool_syntax.names == {"add", "weather"}


def test_tools_that_may_not_be_called_are_not_told(template_of):
    wanted = request(tools=TOOLS, tool_choice="none")
    template = template_of(DEMO)

    assert "weather" not in rendered(template, wanted)
    assert style_of(template, wanted).tool_syntax is None


def test_a_model_without_tools_refuses_them(template_of):
    for template in ("{{ messages[0].content }}", None):
        with pytest.raises(Unsupported, match="does not support tools"):
            rendered(template_of(template), request(tools=TOOLS))


def test_a_template_that_a_request_brings_decides_for_itself(template_of):
    template = template_of("{{ messages[0].content }}")

    style = style_of(template, request(template=DEMO, tools=TOOLS))

    assert style.tool_syntax is not None
    assert style.tool_syntax.start == "<tool_call>"
    with pytest.raises(Unsupported):
        rendered(template_of(DEMO), request(template="{{ messages[0].content }}", tools=TOOLS))


def test_a_model_may_have_a_template_for_tools_beside_its_own(template_of):
    both = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": DEMO}]
    template = template_of(both)

    assert rendered(template, request()) == "plain"
    assert "weather" in rendered(template, request(tools=TOOLS))
    assert style_of(template, request(tools=TOOLS)).tool_syntax is not None


def test_arguments_come_as_text_where_a_template_relies_on_it(template_of):
    call = CalledTool(name="add", arguments={"a": 1})

    text = rendered(template_of(TEXT_ARGUMENTS), request(ChatMessage(role="assistant", content="", tool_calls=(call,))))

    assert text == 'a{"a": 1}'


def test_what_a_template_refuses_in_both_forms_is_told_once(template_of):
    call = CalledTool(name="add", arguments={})
    template = template_of("{{ raise_exception('No calls here') }}")

    with pytest.raises(BadRequest, match="No calls here"):
        rendered(template, request(ChatMessage(role="assistant", content="", tool_calls=(call,))))


# ---- channels ----


def test_channels_are_seen_in_the_template(template_of):
    style = style_of(template_of(HARMONY + "{# to=functions. #}"), request(tools=TOOLS))

    assert style.is_harmony
    assert not style.hides_thinking
    assert style.tool_syntax is not None
    assert style.tool_syntax.names == {"add", "weather"}


@pytest.mark.parametrize(("think", "effort"), [(None, "medium"), (True, "medium"), ("high", "high"), (False, "low")])
def test_the_effort_of_thinking_has_levels(template_of, think, effort):
    assert f"effort={effort};" in rendered(template_of(HARMONY), request(think=think))


def test_a_call_with_words_and_thoughts_keeps_the_thoughts(template_of):
    call = CalledTool(name="add", arguments={"a": 1})
    turn = ChatMessage(role="assistant", content="I add.", thinking="Hm", tool_calls=(call,))

    assert 'to=functions.add<|channel|>commentary json<|message|>{"a": 1}' in rendered(
        template_of(HARMONY), request(turn)
    )
