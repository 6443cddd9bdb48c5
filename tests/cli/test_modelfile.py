"""The grammar of the Modelfile."""

import codecs
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.cli.modelfile import COMMANDS, decode, parse, read
from paddock.cli.parameters import FLAGS, INTEGERS, LISTS, NUMBERS
from paddock.errors import BadRequest, InvalidOption, PaddockError, Unsupported
from paddock.store.facts import ModelFacts
from paddock.store.library import StoredModel
from paddock.store.manifest import Layer, Manifest
from paddock.store.names import ModelName
from paddock.store.show import show_modelfile


def test_a_whole_modelfile_is_read():
    modelfile = read(
        "# a comment\n"
        "FROM ./weights\n"
        "\n"
        "  # another\n"
        "parameter temperature 0.5\n"
        "PARAMETER num_ctx 2048\n"
        'PARAMETER stop "### User:"\n'
        "PARAMETER stop </s>\n"
        'TEMPLATE """{{ messages }}\n'
        "# not a comment\n"
        'end"""\n'
        "System You are  brief. \n"
        "LICENSE MIT\n"
        'LICENSE """Apache\n2.0"""\n'
        "MESSAGE user Hello?\n"
        "MESSAGE assistant  Hi!\n"
    )
    assert modelfile.source == "./weights"
    assert modelfile.parameters == {"temperature": 0.5, "num_ctx": 2048, "stop": ["### User:", "</s>"]}
    assert modelfile.template == "{{ messages }}\n# not a comment\nend"
    assert modelfile.system == "You are  brief."
    assert modelfile.licenses == ["MIT", "Apache\n2.0"]
    assert modelfile.messages == [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi!"}]
    assert modelfile.warnings == []


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain words", "plain words"),
        ('"quoted"', "quoted"),
        ('""', ""),
        ('""""""', ""),
        ('"""one line"""', "one line"),
        ('"""\ntwo\nlines\n"""', "\ntwo\nlines\n"),
        ('"over\nlines"', "over\nlines"),
        ('"""a "quoted" word"""', 'a "quoted" word'),
        ('say "no"', 'say "no"'),
        ('"""  kept  """', "  kept  "),
        ("# no comment here", "# no comment here"),
    ],
)
def test_values_go_to_the_end_of_the_line_or_of_their_quotes(written, value):
    assert parse(f"FROM x\nSYSTEM {written}\nLICENSE z")[1].value == value


def test_the_commands_after_a_long_value_know_their_lines():
    assert [command.line for command in parse('FROM x\nSYSTEM """a\nb\nc"""\n\nLICENSE y')] == [1, 2, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM x\nFORM y", "Modelfile, line 2: the command must be one of FROM, PARAMETER,"),
        ("FROM", "Modelfile, line 1: FROM needs a value."),
        ("FROM x\nPARAMETER temperature", "Modelfile, line 2: PARAMETER needs a value."),
        ('FROM x\n\nSYSTEM """never', "Modelfile, line 3: the quotes are never closed."),
        ('FROM x\nSYSTEM "never\nLICENSE x', "Modelfile, line 2: the quotes are never closed."),
        ("FROM x\nMESSAGE robot hi", "Modelfile, line 2: the role of a MESSAGE must be system, user or assistant."),
        ("FROM x\nFROM y", "Modelfile, line 2: a model can be made FROM one source only."),
        ("SYSTEM x", "the Modelfile has no FROM line"),
        ("", "the Modelfile has no FROM line"),
        ('FROM ""', "the Modelfile has no FROM line"),
    ],
)
def test_what_breaks_the_grammar_is_named_with_its_line(text, message):
    with pytest.raises(BadRequest) as raised:
        read(text)
    assert raised.value.message.startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("num_ctx many", 'num_ctx must be a whole number, not "many".'),
        ("seed 1.5", 'seed must be a whole number, not "1.5".'),
        ("temperature hot", 'temperature must be a number, not "hot".'),
        ("temperature nan", 'temperature must be a number, not "nan".'),
        ("temperature 1e999", 'temperature must be a number, not "1e999".'),
        ("use_mmap perhaps", 'use_mmap must be true or false, not "perhaps".'),
        ("warmth 1", 'unknown parameter "warmth".'),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named_with_its_line(line, message):
    with pytest.raises(InvalidOption) as raised:
        read(f"FROM x\nPARAMETER {line}")
    assert raised.value.message == f"Modelfile, line 2: {message}"


def test_an_adapter_is_named_as_it_stands_and_once():
    assert read("FROM x\nadapter ./lora").adapter == "./lora"
    assert read("FROM x").adapter is None
    with pytest.raises(BadRequest, match="line 3: one adapter can be added at a time"):
        read("FROM x\nADAPTER a\nADAPTER b")


@pytest.mark.parametrize("name", ["RENDERER", "PARSER", "REQUIRES"])
def test_what_the_server_cannot_do_is_refused_with_its_line(name):
    with pytest.raises(Unsupported) as raised:
        read(f"FROM x\n{name.lower()} something")
    assert raised.value.message.startswith(f"Modelfile, line 2: {name} is not supported; ")
    assert raised.value.message.endswith(".")


def test_a_draft_model_is_named_as_it_stands():
    assert read("FROM x\ndraft small:1b").draft == "small:1b"
    assert read("FROM x").draft is None


def test_a_former_parameter_is_read_over_with_a_warning():
    modelfile = read("FROM x\nPARAMETER mirostat 2")
    assert modelfile.parameters == {}
    assert modelfile.warnings == ['line 2: the parameter "mirostat" has no effect any more.']


def test_of_a_repeated_text_the_last_one_counts():
    assert read("FROM x\nSYSTEM one\nSYSTEM two\nPARAMETER seed 1\nPARAMETER seed 2").system == "two"


@pytest.mark.parametrize(
    "data",
    [
        "FROM é".encode(),
        codecs.BOM_UTF8 + "FROM é".encode(),
        codecs.BOM_UTF16_LE + "FROM é".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "FROM é".encode("utf-16-be"),
    ],
)
def test_utf8_and_utf16_are_understood(data):
    assert decode(data) == "FROM é"


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(BadRequest, match="UTF-8"):
        decode(b"FROM \xff\xfe\xfa")


def test_windows_line_ends_are_line_ends():
    assert read('FROM x\r\nSYSTEM """a\r\nb"""\r\n').system == "a\nb"


@given(
    st.text(max_size=300) | st.lists(st.sampled_from([*COMMANDS, '"', '"""', "\n", " ", "x", "user", "#"])).map("".join)
)
def test_any_text_is_read_or_refused_in_a_sentence(text):
    try:
        outcome = read(text).source
    except PaddockError as error:
        outcome = error.message
        assert outcome.endswith(".")
    assert outcome


@given(st.binary(max_size=100))
def test_any_bytes_are_text_or_refused(data):
    try:
        text = decode(data)
    except BadRequest as error:
        text = error.message
    assert isinstance(text, str)


SAFE_TEXTS = st.text(max_size=60).filter(lambda text: '"' not in text and "\r" not in text)
PARAMETERS = st.one_of(
    st.tuples(st.sampled_from(sorted(INTEGERS)), st.integers(-(10**9), 10**9)),
    st.tuples(st.sampled_from(sorted(NUMBERS)), st.floats(-1e6, 1e6)),
    st.tuples(st.sampled_from(sorted(FLAGS)), st.booleans()),
)


@given(
    SAFE_TEXTS,
    SAFE_TEXTS,
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), SAFE_TEXTS)),
    PARAMETERS,
)
def test_what_is_written_in_triple_quotes_is_read_back(system, template, messages, parameter):
    lines = ["FROM base", f'SYSTEM """{system}"""', f'TEMPLATE """{template}"""']
    lines += [f'MESSAGE {role} """{text}"""' for role, text in messages]
    lines += [f"PARAMETER {parameter[0]} {str(parameter[1]).lower()}"]
    modelfile = read("\n".join(lines))
    assert (modelfile.source, modelfile.system, modelfile.template) == ("base", system, template)
    assert modelfile.messages == [{"role": role, "content": text} for role, text in messages]
    assert modelfile.parameters == dict([parameter])


@given(st.lists(SAFE_TEXTS.filter(str.strip), min_size=1, max_size=4))
def test_stop_strings_add_up(stops):
    text = "FROM x\n" + "\n".join(f'PARAMETER stop """{stop}"""' for stop in stops)
    assert read(text).parameters == {next(iter(LISTS)): stops}


def shown(**said):
    """A model with these words, as `paddock show --modelfile` prints it."""
    nothing = {"parameters": {}, "system": "", "template": "", "licenses": (), "messages": ()}
    name = ModelName.parse("x")
    facts = ModelFacts("text", "llama", ("llama",), 1, "1", "F32", 1, 1, 1, ())
    manifest = Manifest(Layer("", "", 0), ())
    return show_modelfile(
        StoredModel(name, "", 0, datetime.now(UTC), facts, parent_model="", manifest=manifest, **(nothing | said))
    )


WORDS = st.text(st.sampled_from(list('ab"# \n\r\t')), min_size=1, max_size=12)


@given(text=WORDS, others=st.lists(WORDS, max_size=2))
def test_what_is_shown_is_read_as_it_was_or_left_to_the_model_itself(text, others):
    messages = tuple({"role": "user", "content": other} for other in others)
    printed = shown(system=text, messages=messages)
    modelfile = read(printed)
    assert modelfile.source == "x:latest"
    assert modelfile.system == text or (modelfile.system is None and "# Its SYSTEM" in printed)
    assert modelfile.messages == list(messages) or (modelfile.messages == [] and "# Its MESSAGE" in printed)
