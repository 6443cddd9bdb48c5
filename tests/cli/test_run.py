"""paddock run with a prompt."""

import json
import signal
import subprocess

import pytest

from paddock.cli.run import parse_format_flag, parse_keepalive_flag, parse_think_flag
from paddock.errors import InvalidOption


def test_the_answer_is_streamed_to_stdout(server, paddock_command):
    outcome = paddock_command("run", "demo", "Say", "hello")
    assert (outcome.exit_code, outcome.out, outcome.err) == (0, "Hello there.\n", "")
    assert server.bodies("/api/generate") == [{"model": "demo", "prompt": "Say hello"}]


def test_what_is_piped_in_goes_before_the_arguments(server, paddock_command):
    paddock_command("run", "demo", "Summarise", "this", stdin="A long text.\n")
    assert server.bodies("/api/generate")[0]["prompt"] == "A long text.\n Summarise this"


def test_piped_text_alone_is_the_prompt(server, paddock_command):
    assert paddock_command("run", "demo", stdin="Hi").out == "Hello there.\n"
    assert server.bodies("/api/generate")[0]["prompt"] == "Hi"


def test_without_any_prompt_a_pipe_only_loads_the_model(server, paddock_command):
    outcome = paddock_command("run", "demo")
    assert (outcome.exit_code, outcome.out) == (0, "")
    assert server.bodies("/api/generate") == [{"model": "demo", "prompt": "", "stream": False}]


def test_the_flags_are_passed_on(server, paddock_command):
    paddock_command("run", "--think", "demo", "hi", "--keepalive", "1h", "--format", "json")
    assert server.bodies("/api/generate") == [
        {"model": "demo", "prompt": "hi", "think": True, "keep_alive": "1h", "format": "json"}
    ]


def test_a_prompt_may_hold_what_looks_like_a_flag(server, paddock_command):
    paddock_command("run", "demo", "--", "--think", "about it")
    assert server.bodies("/api/generate") == [{"model": "demo", "prompt": "--think about it"}]


def test_verbose_prints_timings_to_stderr(server, paddock_command, updates):
    server.generated = updates["generate"](
        "Hi", total_duration=2_000_000_000, eval_count=4, eval_duration=1_000_000_000
    )
    outcome = paddock_command("run", "--verbose", "demo", "x")
    assert outcome.out == "Hi\n"
    assert outcome.err == (
        "total duration:       2s\n"
        "eval count:           4 token(s)\n"
        "eval duration:        1s\n"
        "eval rate:            4.00 tokens/s\n"
    )


def test_a_pipe_gets_the_text_exactly_as_the_model_wrote_it(server, paddock_command, updates):
    text = "x" * 300 + "\x1b[1m  two  spaces " + "word " * 50
    server.generated = updates["generate"](text)
    assert paddock_command("run", "demo", "x").out == text + "\n"


def test_thinking_is_set_off_from_the_answer(server, paddock_command, updates):
    server.generated = [{"thinking": "Hm"}, {"thinking": "m."}, *updates["generate"]("Yes.")]
    out = paddock_command("run", "demo", "x").out
    assert "Thinking...\nHmm.\n...done thinking." in out
    assert out.endswith("Yes.\n")
    assert paddock_command("run", "--hidethinking", "demo", "x").out == "Yes.\n"


def test_an_error_in_the_middle_ends_the_line_and_exits_with_one(server, paddock_command, updates):
    server.generated = [*updates["generate"]("Once upon")[:1], {"error": "the model ran out of memory."}]
    outcome = paddock_command("run", "demo", "x")
    assert (outcome.exit_code, outcome.out) == (1, "Once upon\n")
    assert outcome.err == "Error: the model ran out of memory.\n"


def test_a_stream_without_its_last_update_is_an_error(server, paddock_command, updates):
    server.generated = updates["generate"]("Once upon")[:1]
    outcome = paddock_command("run", "demo", "x")
    assert (outcome.exit_code, outcome.out) == (1, "Once upon\n")
    assert outcome.err == "Error: the server ended the answer before it was complete.\n"


def test_a_connection_that_breaks_off_is_an_error(server, paddock_command):
    server.cuts = True
    outcome = paddock_command("run", "demo", "x")
    assert (outcome.exit_code, outcome.out) == (1, "Hello there.\n")
    assert "closed the connection before its answer was complete" in outcome.err


def test_a_missing_model_is_pulled(server, paddock_command):
    server.models.clear()
    server.statuses = [{"status": "pulling manifest"}, {"status": "success"}]
    outcome = paddock_command("run", "demo", "x")
    assert (outcome.exit_code, outcome.out) == (0, "Hello there.\n")
    assert outcome.err == "pulling manifest\nsuccess\n"
    assert server.bodies("/api/pull") == [{"model": "demo"}]


def test_a_model_that_cannot_be_pulled_is_the_servers_sentence(server, paddock_command):
    server.failures["/api/pull"] = (404, {"error": "model 'none' cannot be pulled."})
    outcome = paddock_command("run", "none", "x")
    assert (outcome.exit_code, outcome.err) == (1, "Error: model 'none' cannot be pulled.\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--think=perhaps"], 'invalid value for --think: "perhaps" (must be true, false, high, medium, low, max).'),
        (["--keepalive", "soon"], '--keepalive must be a duration such as 5m or 1h30m, not "soon".'),
        (["--format", "yaml"], "--format must be json, a JSON schema, or a file that holds one."),
        (["--format", "[1]"], "--format must be json, a JSON schema, or a file that holds one."),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused_before_anything_is_asked(server, paddock_command, flags, message):
    outcome = paddock_command("run", *flags, "demo", "x")
    assert (outcome.exit_code, outcome.err) == (1, f"Error: {message}\n")
    assert server.asked == []


def test_flags_have_the_types_of_the_api():
    assert [parse_think_flag(text) for text in (None, "true", "false", "high")] == [None, True, False, "high"]
    assert [parse_keepalive_flag(text) for text in (None, "5m", "-1", "0", "-1m")] == [None, "5m", -1, 0, "-1m"]
    assert parse_format_flag('{"type": "object"}') == {"type": "object"}
    assert parse_format_flag("") is None
    assert parse_format_flag("json") == "json"
    with pytest.raises(InvalidOption):
        parse_keepalive_flag("--5")


def test_a_schema_may_be_in_a_file(server, paddock_command, tmp_path):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    path = tmp_path / "person.json"
    path.write_text(json.dumps(schema))

    assert paddock_command("run", "--format", str(path), "demo", "x").exit_code == 0
    assert server.bodies("/api/generate")[-1]["format"] == schema

    path.write_text("[1]")
    with pytest.raises(InvalidOption):
        parse_format_flag(str(path))


def test_another_machine_is_never_served_by_a_server_started_here(paddock_command, monkeypatch):
    monkeypatch.setattr("paddock.cli.client.Client.is_answering", lambda self: False)
    monkeypatch.setenv("PADDOCK_HOST", "192.0.2.1")
    outcome = paddock_command("run", "demo", "x")
    assert outcome.exit_code == 1
    assert outcome.err.startswith("Error: could not connect to a Paddock server at http://192.0.2.1:11434")


def test_ctrl_c_stops_the_answer_and_exits_quietly_with_130(server, start_process, read_until):
    server.hangs = True
    process = start_process(
        "run", "demo", "x", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    read_until(process.stdout.fileno(), r"Hello there\.")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, b"")
    assert server.has_hung_up.wait(5)


def test_bytes_that_are_no_text_are_refused(server, paddock_command):
    outcome = paddock_command("run", "demo", stdin=b"\xff\xfe\xfd")
    assert (outcome.exit_code, outcome.err) == (1, "Error: what is piped in is not text: a prompt must be UTF-8.\n")


def test_a_terminal_without_unicode_gets_question_marks(server, start_process, updates, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    server.generated = updates["generate"]("Grüße 日本")
    process = start_process(
        "run", "demo", "x", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.communicate(timeout=30) == (b"Gr??e ??\n", b"")
    assert process.returncode == 0
