import tempfile
from pathlib import Path

from paddock.supervisor.host import RUNNER_COMMAND, choose_runtime_folder, this_host


def test_the_users_runtime_folder_comes_first(tmp_path):
    assert choose_runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": "/tmp"}) == tmp_path


def test_a_folder_that_is_absent_or_too_long_for_a_socket_is_passed_over(tmp_path):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    assert choose_runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path / "absent"), "TMPDIR": str(long)}) == Path("/tmp")


def test_this_host_hands_on_the_environment_and_the_runner_command(tmp_path):
    host = this_host({"PATH": "/bin", "TMPDIR": tempfile.gettempdir()}, tmp_path)
    assert host.environment["PATH"] == "/bin"
    assert host.command == RUNNER_COMMAND
    assert host.log_folder == tmp_path
    assert host.runtime_folder.is_dir()
