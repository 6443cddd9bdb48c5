import importlib.util
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from paddock.runner import hygiene


def test_libraries_find_their_settings_and_those_of_the_user_win():
    variables = {"HF_HUB_OFFLINE": "0"}

    hygiene.prepare_environment(variables, num_gpu=0)

    assert variables["HF_HUB_OFFLINE"] == "0"
    assert variables["TRANSFORMERS_VERBOSITY"] == "error"
    assert variables["TOKENIZERS_PARALLELISM"] == "false"


def test_limits_cannot_be_changed_inside_the_block_and_can_be_after_it():
    original = resource.setrlimit
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with hygiene.file_limit_kept():
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    assert resource.setrlimit is original


def test_descriptors_are_kept_from_children():
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)

    hygiene.keep_to_ourselves(read_end, write_end)

    assert not os.get_inheritable(read_end)
    os.close(read_end)
    os.close(write_end)


def in_a_process_of_its_own(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_runner_connects_to_unix_sockets_only():
    told = in_a_process_of_its_own(
        """
        import os, socket, tempfile
        from paddock.runner import hygiene
        hygiene.stay_off_the_network()
        folder = tempfile.mkdtemp()
        listener = socket.socket(socket.AF_UNIX); listener.bind(folder + "/s"); listener.listen()
        socket.socket(socket.AF_UNIX).connect(folder + "/s")
        print("unix")
        attempts = [
            lambda: socket.create_connection(("127.0.0.1", 9)),
            lambda: socket.socket(socket.AF_INET).connect(("127.0.0.1", 9)),
            lambda: socket.socket(socket.AF_INET6).connect_ex(("::1", 9)),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
            lambda: socket.getaddrinfo("huggingface.co", 443),
            lambda: __import__("urllib.request").request.urlopen("http://127.0.0.1:9/"),
        ]
        for attempt in attempts:
            try:
                attempt()
            except OSError as error:
                print("refused" if "does not use the network" in str(error) else error)
        """
    )

    assert told.splitlines() == ["unix", *["refused"] * 6]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a score of who goes first")
def test_a_runner_writes_no_core_and_goes_first_where_memory_ends():
    told = in_a_process_of_its_own(
        """
        import resource
        from paddock.runner import hygiene
        hygiene.stay_small_in_death()
        print(resource.getrlimit(resource.RLIMIT_CORE), open("/proc/self/oom_score_adj").read())
        """
    )

    assert told.split() == ["(0,", "0)", "500"]


def test_one_processor_is_left_to_everything_else():
    variables: dict[str, str] = {}

    hygiene.prepare_environment(variables, num_gpu=0)

    assert int(variables["OPENBLAS_NUM_THREADS"]) == max(1, hygiene.usable_cpus() - 1)
    assert 1 <= hygiene.usable_cpus() <= (os.cpu_count() or 1)


def test_every_wired_limit_of_the_library_goes_through_the_one_name_that_is_neutralised():
    """mlx-lm sets it around each generation. The engine replaces `mx.set_wired_limit`: no other name may reach it."""
    for package in ("mlx_lm", "mlx_vlm"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for path in Path(spec.origin).parent.rglob("*.py"):
            for line in path.read_text().splitlines():
                if "set_wired_limit" in line:
                    assert "mx.set_wired_limit" in line, f"{path}: {line}"


def test_transformers_takes_torch_for_not_installed():
    code = (
        "from paddock.runner.hygiene import leave_torch_out; leave_torch_out();"
        "from transformers.utils import is_torch_available; import sys; sys.exit(is_torch_available())"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
