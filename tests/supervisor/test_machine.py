import pytest

from paddock.errors import UnsupportedPlatform
from paddock.supervisor.machine import check_platform


@pytest.mark.parametrize(
    ("system", "machine"),
    [("Darwin", "arm64"), ("Linux", "x86_64"), ("Linux", "aarch64"), ("Linux", "arm64"), ("Linux", "AMD64")],
)
def test_machines_with_an_mlx_wheel_pass(system, machine):
    assert check_platform(system, machine) is None


@pytest.mark.parametrize(
    ("system", "machine", "named"),
    [
        ("Darwin", "x86_64", "Apple silicon"),
        ("Linux", "riscv64", "riscv64"),
        ("Windows", "AMD64", "Windows"),
        ("FreeBSD", "amd64", "FreeBSD"),
        ("", "", "this operating system"),
    ],
)
def test_other_machines_are_refused_in_one_sentence(system, machine, named):
    with pytest.raises(UnsupportedPlatform, match=named) as refusal:
        check_platform(system, machine)
    assert refusal.value.message.endswith(".")
    assert refusal.value.message.count(".") == 1
