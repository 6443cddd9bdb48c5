"""list, ps, show, stop, cp, rm, pull, push and --version, as users see them."""

import signal
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

import paddock

DIGEST = "0123456789abcdef" * 4


def listed(name, size, ago):
    modified = datetime.now(UTC) - ago
    return {"name": name, "digest": DIGEST, "size": size, "modified_at": modified.isoformat()}


def running(name, **changes):
    expires = datetime.now(UTC) + timedelta(minutes=4, seconds=30)
    row = {"name": name, "digest": DIGEST, "size": 5_000_000_000, "size_vram": 0, "context_length": 4096}
    return {**row, "expires_at": expires.isoformat(), **changes}


def test_list_prints_a_table(server, paddock_command):
    server.tags = [
        listed("demo:latest", 4_200_000, timedelta(days=3)),
        listed("big:7b", 4_700_000_000, timedelta(minutes=5)),
    ]
    assert paddock_command("list").out == (
        "NAME           ID              SIZE      MODIFIED\n"
        "demo:latest    0123456789ab    4.2 MB    3 days ago\n"
        "big:7b         0123456789ab    4.7 GB    5 minutes ago\n"
    )


def test_ls_is_list_and_takes_a_prefix_in_either_case(server, paddock_command):
    server.tags = [listed("Demo:latest", 1, timedelta(0)), listed("other", 1, timedelta(0))]
    lines = paddock_command("ls", "dEmo").out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "Demo:latest"]


def test_a_time_with_nanoseconds_is_understood(server, paddock_command):
    server.tags = [{**listed("demo", 1, timedelta(0)), "modified_at": "2020-01-01T10:00:00.123456789Z"}]
    assert paddock_command("list").out.splitlines()[1].endswith("years ago")


def test_ps_prints_where_each_model_lives_and_until_when(server, paddock_command):
    server.running = [
        running("demo:latest"),
        running("kept:latest", size_vram=5_000_000_000, expires_at="2318-01-01T00:00:00Z"),
        running("half:latest", size_vram=3_000_000_000),
        running("gone:latest", expires_at="2020-01-01T00:00:00Z"),
    ]
    assert paddock_command("ps").out == (
        "NAME           ID              SIZE    PROCESSOR          CONTEXT    UNTIL\n"
        "demo:latest    0123456789ab    5 GB    100% CPU           4096       4 minutes from now\n"
        "kept:latest    0123456789ab    5 GB    100% GPU           4096       Forever\n"
        "half:latest    0123456789ab    5 GB    40%/60% CPU/GPU    4096       4 minutes from now\n"
        "gone:latest    0123456789ab    5 GB    100% CPU           4096       Stopping...\n"
    )


def test_show_prints_the_sections_that_have_something_to_say(server, paddock_command):
    server.models["demo"] = {
        "details": {"family": "llama", "parameter_size": "1B", "quantization_level": "BF16"},
        "model_info": {
            "general.architecture": "llama",
            "general.parameter_count": 1_235_814_400,
            "llama.context_length": 2048,
            "llama.embedding_length": 64,
        },
        "capabilities": ["completion", "tools"],
        "parameters": 'stop                           "</s>"\ntemperature                    0.5',
        "system": "One.\n\nTwo.\nThree.",
        "license": "MIT",
    }
    assert paddock_command("show", "demo").out == (
        "  Model\n"
        "    architecture        llama\n"
        "    parameters          1.2B\n"
        "    context length      2048\n"
        "    embedding length    64\n"
        "    quantization        BF16\n"
        "\n"
        "  Capabilities\n"
        "    completion\n"
        "    tools\n"
        "\n"
        "  Parameters\n"
        '    stop           "</s>"\n'
        "    temperature    0.5\n"
        "\n"
        "  System\n"
        "    One.\n"
        "    Two.\n"
        "    ...\n"
        "\n"
        "  License\n"
        "    MIT\n"
        "\n"
    )


def test_show_verbose_adds_metadata_and_tensors(server, paddock_command):
    server.models["demo"] = {
        "details": {},
        "model_info": {"b": [1, 2, 3, 4, 5], "a": True},
        "tensors": [{"name": "embed.weight", "type": "BF16", "shape": [8, 4]}],
    }
    out = paddock_command("show", "demo", "--verbose").out
    assert "  Metadata\n    a    true\n    b    [1, 2, 3, ...+2 more]\n\n" in out
    assert "  Tensors\n    embed.weight    BF16    [8, 4]\n\n" in out
    assert server.bodies("/api/show") == [{"model": "demo", "verbose": True}]


@pytest.mark.parametrize("part", ["license", "modelfile", "parameters", "system", "template"])
def test_show_prints_one_part_word_for_word(server, paddock_command, part):
    server.models["demo"][part] = "first line\n  second line\n"
    assert paddock_command("show", "demo", f"--{part}").out == "first line\n  second line\n"


def test_show_prints_at_most_one_part(server, paddock_command):
    outcome = paddock_command("show", "demo", "--system", "--license")
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: only one of '--license', '--modelfile',")


def test_show_of_a_missing_model_is_the_servers_sentence(server, paddock_command):
    outcome = paddock_command("show", "none")
    assert (outcome.exit_code, outcome.err) == (1, "Error: model 'none' not found\n")


def test_stop_asks_for_no_keep_alive(server, paddock_command):
    assert paddock_command("stop", "demo").exit_code == 0
    assert server.bodies("/api/generate") == [{"model": "demo", "keep_alive": 0, "stream": False}]


def test_stop_of_a_missing_model_says_so(server, paddock_command):
    outcome = paddock_command("stop", "none")
    assert (outcome.exit_code, outcome.err) == (1, 'Error: couldn\'t find model "none" to stop\n')


@pytest.mark.parametrize("arguments", [["stop"], ["stop", "demo", "--server"]])
def test_stop_wants_either_a_model_or_the_server(server, paddock_command, arguments):
    outcome = paddock_command(*arguments)
    assert outcome.exit_code == 2
    assert "name a model, or say --server" in outcome.err


def test_cp_says_what_it_copied(server, paddock_command):
    assert paddock_command("cp", "demo", "mine").out == "copied 'demo' to 'mine'\n"
    assert server.bodies("/api/copy") == [{"source": "demo", "destination": "mine"}]


def test_rm_unloads_each_model_before_it_deletes_it(server, paddock_command):
    server.models["other"] = server.models["demo"]
    assert paddock_command("rm", "demo", "other").out == "deleted 'demo'\ndeleted 'other'\n"
    assert [path for _, path, _ in server.asked] == ["/api/generate", "/api/delete"] * 2


def test_rm_of_a_missing_model_is_the_servers_sentence(server, paddock_command):
    outcome = paddock_command("rm", "none")
    assert (outcome.exit_code, outcome.out, outcome.err) == (1, "", "Error: model 'none' not found\n")


def test_rm_deletes_a_model_that_cannot_be_unloaded(server, paddock_command):
    server.failures["/api/generate"] = (400, {"error": '"demo" does not support generate'})
    outcome = paddock_command("rm", "demo")
    assert (outcome.exit_code, outcome.out) == (0, "deleted 'demo'\n")
    assert outcome.err == "Warning: unable to stop model 'demo': \"demo\" does not support generate\n"


def test_pull_prints_each_status_once_where_there_is_no_terminal(server, paddock_command):
    server.statuses = [
        {"status": "pulling manifest"},
        {"status": "pulling 0123", "digest": "sha256:0123", "total": 10, "completed": 0},
        {"status": "pulling 0123", "digest": "sha256:0123", "total": 10, "completed": 10},
        {"status": "success"},
    ]
    outcome = paddock_command("pull", "demo")
    assert (outcome.exit_code, outcome.out) == (0, "")
    assert outcome.err == "pulling manifest\npulling 0123\nsuccess\n"


def test_push_tells_how_far_it_is_and_both_ways_may_be_insecure(server, paddock_command):
    server.statuses = [{"status": "retrieving manifest"}, {"status": "pushing manifest"}, {"status": "success"}]
    assert paddock_command("push", "host/me/demo").err == "retrieving manifest\npushing manifest\nsuccess\n"
    paddock_command("push", "host/me/demo", "--insecure")
    paddock_command("pull", "host/me/demo", "--insecure")
    assert server.bodies("/api/push") == [{"model": "host/me/demo"}, {"model": "host/me/demo", "insecure": True}]
    assert server.bodies("/api/pull") == [{"model": "host/me/demo", "insecure": True}]


def test_pull_that_fails_half_way_exits_with_the_servers_sentence(server, paddock_command):
    server.statuses = [{"status": "pulling manifest"}, {"error": "the disk is full."}]
    outcome = paddock_command("pull", "demo")
    assert (outcome.exit_code, outcome.err) == (1, "pulling manifest\nError: the disk is full.\n")


def test_version_is_the_servers(server, paddock_command):
    outcome = paddock_command("--version")
    assert (outcome.exit_code, outcome.out, outcome.err) == (0, f"paddock version is {paddock.__version__}\n", "")


def test_version_warns_where_this_program_differs(server, paddock_command):
    server.failures["/api/version"] = (200, {"version": "9.9.9"})
    outcome = paddock_command("-v")
    assert outcome.out == "paddock version is 9.9.9\n"
    assert outcome.err == f"Warning: client version is {paddock.__version__}\n"


def test_version_without_a_server_warns(no_server, paddock_command):
    outcome = paddock_command("--version")
    assert (outcome.exit_code, outcome.out) == (0, "")
    assert outcome.err == (
        f"Warning: could not connect to a running Paddock server\nWarning: client version is {paddock.__version__}\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["ps"], ["show", "x"], ["stop", "x"], ["cp", "x", "y"], ["rm", "x"], ["pull", "x"], ["push", "x"]],
    ids=lambda arguments: arguments[0],
)
def test_without_a_server_every_command_says_how_to_start_one(no_server, paddock_command, arguments):
    outcome = paddock_command(*arguments)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert outcome.err == (
        f"Error: could not connect to a Paddock server at {no_server}: start one with `paddock serve`.\n"
    )


def test_a_setting_that_makes_no_sense_is_one_sentence(monkeypatch, paddock_command):
    monkeypatch.setenv("PADDOCK_HOST", "ftp://x")
    outcome = paddock_command("list")
    assert (outcome.exit_code, outcome.err) == (
        1,
        'Error: "ftp://x" is not an address: only http and https are known.\n',
    )


def test_rm_deletes_what_is_there_and_tells_of_all_that_is_not(server, paddock_command):
    server.models["other"] = server.models["demo"]
    outcome = paddock_command("rm", "none", "demo", "nobody", "other")
    assert (outcome.exit_code, outcome.out) == (1, "deleted 'demo'\ndeleted 'other'\n")
    assert outcome.err == "Error: model 'none' not found; model 'nobody' not found\n"


@pytest.mark.parametrize(("command", "again"), [(["pull", "demo"], "pull demo"), (["pull", "--insecure", "h/n/m"], "")])
def test_a_pull_that_is_stopped_says_how_to_go_on(server, start_process, command, again):
    server.statuses = [{"status": "pulling manifest"}]
    server.hangs = True
    process = start_process(*command, stderr=subprocess.PIPE)
    assert server.is_hanging.wait(20)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    last = told.decode().splitlines()[-1]
    assert last == f"Stopped. What is there already is kept: `paddock {again or ' '.join(command)}` goes on with it."
    assert server.has_hung_up.wait(20)
