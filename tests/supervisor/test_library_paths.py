from pathlib import Path

from paddock.supervisor.library_paths import find_library_folders, library_variables


def test_the_folders_of_the_cuda_wheels_come_before_what_was_inherited():
    folders = [Path("/s/nvidia/cublas/lib"), Path("/s/nvidia/cudnn/lib")]
    variables = library_variables("Linux", folders, "/opt/lib::/s/nvidia/cudnn/lib")
    assert variables == {"LD_LIBRARY_PATH": "/s/nvidia/cublas/lib:/s/nvidia/cudnn/lib:/opt/lib"}


def test_without_cuda_wheels_nothing_is_set():
    assert library_variables("Linux", [], "/opt/lib") == {}


def test_macos_needs_nothing():
    assert library_variables("Darwin", [Path("/s/nvidia/cublas/lib")]) == {}


def test_only_folders_of_libraries_are_found(tmp_path):
    for part in ("nvidia/cudnn/lib", "nvidia/cu13/lib", "nvidia/cudnn/include", "mlx/lib"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "nvidia" / "lib").touch()
    assert find_library_folders([tmp_path, tmp_path / "absent"]) == [
        tmp_path / "nvidia/cu13/lib",
        tmp_path / "nvidia/cudnn/lib",
    ]
