import json

import pytest

from paddock.store.capabilities import text_capabilities, with_template
from paddock.store.create import CreateSpec, create, import_folder
from paddock.store.library import Library
from tests.store.making import named, write_model


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "store")


HERMES = "{{ tools }}<tool_call>{{ tool_call.name }}"
THINKER = "{% if enable_thinking %}<think>{% endif %}"


def of(folder, settings=None, **files):
    """The capabilities of a folder with these settings of the tokenizer and these files."""
    folder.mkdir(exist_ok=True)
    if settings is not None:
        files["tokenizer_config.json"] = settings if isinstance(settings, str) else json.dumps(settings)
    for name, text in files.items():
        (folder / name).write_text(text)
    return text_capabilities({path.name: path for path in folder.iterdir()})


def test_a_model_that_says_nothing_of_itself_completes_text(tmp_path):
    assert of(tmp_path) == ("completion",)
    assert of(tmp_path, {}) == ("completion",)


def test_tools_and_thinking_are_seen_in_the_template(tmp_path):
    assert of(tmp_path, {"chat_template": HERMES + THINKER}) == ("completion", "tools", "thinking")
    assert of(
        tmp_path, {"chat_template": [{"name": "default", "template": ""}, {"name": "tool_use", "template": HERMES}]}
    ) == (
        "completion",
        "tools",
    )


def test_a_template_in_a_file_of_its_own_goes_first(tmp_path):
    settings = {"chat_template": HERMES}

    assert of(tmp_path, settings, **{"chat_template.json": json.dumps({"chat_template": THINKER})}) == (
        "completion",
        "thinking",
    )
    assert of(tmp_path, settings, **{"chat_template.jinja": "plain"}) == ("completion",)


def test_gaps_are_filled_with_tokens_made_for_it(tmp_path):
    marks = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    tokens = {str(index): {"content": mark} for index, mark in enumerate(marks)}

    assert of(tmp_path, {"added_tokens_decoder": tokens}) == ("completion", "insert")


def test_what_the_library_renders_itself_has_its_abilities(tmp_path):
    assert of(tmp_path, {"chat_template_type": "deepseek_v32"}) == ("completion", "tools", "thinking")
    assert of(tmp_path, {"tool_parser_type": "glm47"}) == ("completion", "tools")


@pytest.mark.parametrize(
    "settings",
    ["", "[]", "{", '{"chat_template": 5, "added_tokens_decoder": [1]}', '{"added_tokens_decoder": {"1": 5}}'],
)
def test_settings_that_cannot_be_read_add_nothing(tmp_path, settings):
    assert of(tmp_path, settings) == ("completion",)


def test_another_template_brings_its_own_abilities():
    assert with_template(("completion", "tools", "insert"), THINKER) == ("completion", "insert", "thinking")
    assert with_template(("embedding",), HERMES) == ("embedding",)


def test_a_model_made_with_another_template_can_what_that_template_can(library, tmp_path):
    base = import_folder(library, named("base"), write_model(tmp_path / "base"))

    made = create(library, CreateSpec(named("smart"), from_="base", template=HERMES), lambda _: None)
    child = create(library, CreateSpec(named("child"), from_="smart"), lambda _: None)

    assert base.facts.capabilities == ("completion",)
    assert made.facts.capabilities == child.facts.capabilities == ("completion", "tools")
