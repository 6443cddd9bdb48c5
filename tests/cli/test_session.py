"""The interactive session: scripted, and once at a real pseudo-terminal."""

import os
import pty
import signal

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from paddock.cli.client import connect
from paddock.cli.commands import Settings
from paddock.cli.prompt import LineEditor
from paddock.cli.session import Session, shown
from paddock.errors import NotFound
from tests.cli.conftest import scripted


def talk(*lines, settings=None):
    """Run a session over scripted lines; an exception class among them is raised instead."""
    session = Session(connect(), settings or Settings(model="demo"), scripted(lines))
    session.run()
    return session


def test_the_model_is_loaded_before_the_first_question(server):
    talk()
    assert [path for _, path, _ in server.asked] == ["/api/show", "/api/generate"]
    assert server.bodies("/api/generate") == [{"model": "demo", "stream": False}]


def test_a_model_that_does_not_exist_ends_the_session(server):
    with pytest.raises(NotFound):
        talk(settings=Settings(model="none"))


def test_each_question_carries_the_conversation(server, capsys):
    talk("Hello", "And now?")
    first, second = server.bodies("/api/chat")
    assert first == {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "options": {}}
    assert second["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "And now?"},
    ]
    assert capsys.readouterr().out == "Good day.\n" * 2


def test_settings_are_passed_on(server):
    talk("/set system Be brief.", "/set parameter seed 7", "/set format json", "/set think low", "Hi")
    assert server.bodies("/api/chat") == [
        {
            "model": "demo",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "options": {"seed": 7},
            "format": "json",
            "think": "low",
        }
    ]


def test_triple_quotes_make_one_message_of_many_lines(server):
    talk('"""one', "two", '"""')
    assert server.bodies("/api/chat")[0]["messages"] == [{"role": "user", "content": "one\ntwo\n"}]


def test_ctrl_c_forgets_open_quotes(server):
    talk('"""one', KeyboardInterrupt, "two")
    assert server.bodies("/api/chat")[0]["messages"] == [{"role": "user", "content": "two"}]


def test_ctrl_c_at_an_empty_prompt_says_how_to_leave(server, capsys):
    talk(KeyboardInterrupt, "/bye", "never read")
    assert capsys.readouterr().out == "\nUse Ctrl+d or /bye to leave.\n"
    assert server.bodies("/api/chat") == []


def test_an_error_is_told_and_the_conversation_goes_on(server, capsys):
    server.failures["/api/chat"] = (500, {"error": "the model's process died."})
    session = talk("Hello", "/list")
    captured = capsys.readouterr()
    assert captured.err == "Error: the model's process died.\n"
    assert captured.out == "NAME    ID    SIZE    MODIFIED\n"
    assert session.settings.messages == ()


def test_an_answer_that_fails_half_way_stays_in_the_conversation(server, updates):
    server.chatted = [*updates["chat"]("Once")[:1], {"error": "the model ran out of memory."}]
    session = talk("Tell me a story")
    assert [message["content"] for message in session.settings.messages] == ["Tell me a story", "Once"]


def test_clear_starts_a_new_conversation(server):
    talk("Hello", "/clear", "Hello")
    assert [len(body["messages"]) for body in server.bodies("/api/chat")] == [1, 1]


def test_load_goes_on_with_another_model(server):
    server.models["other"] = server.models["demo"]
    session = talk("Hello", "/load other", "Hello")
    assert server.bodies("/api/chat")[1]["model"] == "other"
    assert len(server.bodies("/api/chat")[1]["messages"]) == 1
    assert session.settings.model == "other"


def test_load_of_a_missing_model_keeps_the_present_one(server, capsys):
    session = talk("/load none")
    assert session.settings.model == "demo"
    assert capsys.readouterr().err == "Error: model 'none' not found\n"


def test_save_makes_a_model_of_the_conversation(server, capsys):
    talk("/set system Be brief.", "/set parameter seed 7", "Hello", "/save mine")
    assert server.bodies("/api/create") == [
        {
            "model": "mine",
            "from": "demo",
            "system": "Be brief.",
            "parameters": {"seed": 7},
            "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}],
        }
    ]
    assert capsys.readouterr().out.endswith("Created new model 'mine'\n")


def test_a_models_own_conversation_is_shown_when_it_is_loaded(server, capsys):
    server.models["demo"]["messages"] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy"}]
    talk()
    assert capsys.readouterr().out == ">>> Hi\n\nAhoy\n\n"


def test_verbose_prints_timings_after_each_answer(server, capsys, updates):
    server.chatted = updates["chat"]("Hi", total_duration=1_000_000_000)
    talk("/set verbose", "Hello")
    assert capsys.readouterr().err == "total duration:       1s\n\n"


MODEL = {"license": "MIT", "parameters": "seed                           1", "system": "Own."}


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("license", "MIT\n"),
        ("system", "Own.\n"),
        ("template", "No prompt template was specified for this model.\n"),
        ("modelfile", "No Modelfile was specified for this model.\n"),
        ("parameters", "Of the model:\nseed                           1\n"),
    ],
)
def test_show_prints_a_part_or_says_that_there_is_none(part, text):
    assert shown(MODEL, part, Settings(model="demo")) == text


def test_show_prefers_what_the_session_set():
    settings = Settings(model="demo", system="Mine.", parameters={"top_k": 5})
    assert shown(MODEL, "system", settings) == "Mine.\n"
    assert shown(MODEL, "parameters", settings) == (
        "Of the model:\nseed                           1\n\nOf this session:\ntop_k                          5\n"
    )
    assert shown({}, "parameters", Settings(model="demo")) == "No parameters were specified for this model.\n"


def test_show_info_is_the_overview(server, capsys):
    talk("/show info")
    assert capsys.readouterr().out.startswith("  Model\n    architecture    llama\n")


def read_lines(path, keys, keeps_history=True, count=1):
    with create_pipe_input() as source, create_app_session(input=source, output=DummyOutput()):
        source.send_text(keys)
        editor = LineEditor(path, keeps_history)
        return [editor.read(False, keeps_history) for _ in range(count)]


def test_the_line_editor_remembers_lines_in_a_private_file(tmp_path):
    path = tmp_path / "home" / "history"
    assert read_lines(path, "first\rsecond\r", count=2) == ["first", "second"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_lines(path, "\x1b[A\x1b[A\r") == ["first"]


def test_without_history_nothing_is_written(tmp_path):
    path = tmp_path / "history"
    assert read_lines(path, "secret\r", keeps_history=False) == ["secret"]
    assert not path.exists()


def test_a_history_that_cannot_be_written_is_no_reason_to_stop(tmp_path):
    (tmp_path / "file").write_text("")
    assert read_lines(tmp_path / "file" / "history", "hello\r") == ["hello"]


def test_ctrl_c_and_ctrl_d_reach_the_session(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        read_lines(tmp_path / "history", "half\x03")
    with pytest.raises(EOFError):
        read_lines(tmp_path / "history", "\x04")


def test_a_whole_conversation_at_a_terminal(server, start_process, read_until):
    server.hangs = True
    ours, theirs = pty.openpty()
    # This terminal does not answer requests for the cursor's position.
    environment = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        process = start_process("run", "demo", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        read_until(ours, ">>> .*Send a message")
        os.write(ours, b"Hello\r")
        read_until(ours, "Good")  # the next word may not be complete yet
        process.send_signal(signal.SIGINT)
        assert server.has_hung_up.wait(30)
        server.hangs = False
        read_until(ours, ">>> .*Send a message")
        os.write(ours, b"Again\r")
        read_until(ours, r"Good day\.[\s\S]*>>> .*Send a message")
        os.write(ours, b"\x04")
        assert process.wait(30) == 0
    finally:
        os.close(ours)
    assert [message["content"] for message in server.bodies("/api/chat")[1]["messages"]][::2] == ["Hello", "Again"]
