"""What control groups leave, read from trees like the kernel's."""

from __future__ import annotations

from pathlib import Path

from paddock.memory.cgroup import Limit, limits

MIB = 1024 * 1024


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def version_2(root: Path, group: str, mount_root: str = "/") -> Path:
    return write(
        root,
        {
            "proc/self/cgroup": f"0::{group}\n",
            "proc/self/mountinfo": f"30 24 0:27 {mount_root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n",
        },
    )


def group_2(root: Path, folder: str, most: str, used: int, inactive: int = 0, active: int = 0) -> None:
    base = f"sys/fs/cgroup/{folder}"
    statistics = f"anon 5\ninactive_file {inactive}\nactive_file {active}\n"
    write(
        root,
        {f"{base}/memory.max": f"{most}\n", f"{base}/memory.current": f"{used}\n", f"{base}/memory.stat": statistics},
    )


def test_every_group_above_counts_too(tmp_path: Path) -> None:
    root = version_2(tmp_path, "/outer/inner")
    group_2(root, "outer/inner", str(500 * MIB), 100 * MIB)
    group_2(root, "outer", str(300 * MIB), 250 * MIB)

    assert limits(root) == [Limit(500 * MIB, 400 * MIB), Limit(300 * MIB, 50 * MIB)]


def test_a_group_without_a_bound_says_nothing(tmp_path: Path) -> None:
    root = version_2(tmp_path, "/outer/inner")
    group_2(root, "outer/inner", "max", 100)
    group_2(root, "outer", str(MIB), 100)

    assert limits(root) == [Limit(MIB, MIB - 100)]


def test_pages_of_files_that_would_be_given_up_are_available(tmp_path: Path) -> None:
    root = version_2(tmp_path, "/a")
    group_2(root, "a", "1000", 900, inactive=300, active=200)

    assert limits(root) == [Limit(1000, 500)]


def test_a_group_over_its_bound_has_nothing_left(tmp_path: Path) -> None:
    root = version_2(tmp_path, "/a")
    group_2(root, "a", "1000", 1200)

    assert limits(root) == [Limit(1000, 0)]


def test_a_container_sees_its_own_group_at_the_mount(tmp_path: Path) -> None:
    root = version_2(tmp_path, "/../outside", mount_root="/docker/1234")
    group_2(root, "", "1000", 400)

    assert limits(root) == [Limit(1000, 600)]


def test_version_1_is_read_beside_other_controllers(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/12/job\n0::/\n",
            "proc/self/mountinfo": (
                "33 24 0:30 /docker/12 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                "34 24 0:31 /docker/12 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2000\n",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "900\n",
            "sys/fs/cgroup/memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 100\ntotal_active_file 200\n",
        },
    )

    assert limits(root) == [Limit(2000, 1300)]


def test_a_system_without_control_groups_has_no_bounds(tmp_path: Path) -> None:
    assert limits(tmp_path) == []
    assert limits(write(tmp_path, {"proc/self/cgroup": "nonsense", "proc/self/mountinfo": ""})) == []


def test_this_system_can_be_read() -> None:
    assert all(0 <= limit.available_bytes <= limit.limit_bytes for limit in limits())
