import pytest

from paddock.supervisor.environment import runner_environment

PLAIN = {"PATH": "/bin", "HOME": "/home/me", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "TOKENIZERS_PARALLELISM": "true"}


def test_what_programs_need_is_kept():
    assert PLAIN.items() <= runner_environment(PLAIN, {}).items()


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "db_password",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SSH_AUTH_SOCK",
        "HTTPS_PROXY",
        "APIKEY",
        "SESSION_COOKIE",
    ],
)
def test_secrets_are_taken_out_by_name(name):
    assert name not in runner_environment({**PLAIN, name: "hidden"}, {})


def test_an_address_with_a_password_in_it_is_taken_out():
    environment = runner_environment(
        {"DATABASE_URL": "postgres://me:hidden@db/x", "SITE": "http://localhost:80/a@b"}, {}
    )
    assert "DATABASE_URL" not in environment
    assert environment["SITE"] == "http://localhost:80/a@b"


def test_a_runner_is_always_offline_and_quiet():
    environment = runner_environment({"HF_HUB_OFFLINE": "0"}, {})
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["TRANSFORMERS_VERBOSITY"] == "error"


def test_what_the_spec_adds_wins():
    assert (
        runner_environment({"A": "1"}, {"A": "2", "MY_TOKEN": "meant"}).items()
        >= {"A": "2", "MY_TOKEN": "meant"}.items()
    )


def test_the_number_of_threads_reaches_the_matrix_library_only_where_it_is_fixed():
    assert runner_environment({}, {}, num_thread=3)["OPENBLAS_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in runner_environment({}, {}, num_thread=0)


def test_large_blocks_go_back_to_the_system_unless_the_user_says_otherwise() -> None:
    assert runner_environment({}, {})["MALLOC_MMAP_THRESHOLD_"] == "1048576"
    assert runner_environment({"MALLOC_MMAP_THRESHOLD_": "7"}, {})["MALLOC_MMAP_THRESHOLD_"] == "7"
