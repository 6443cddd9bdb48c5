import pytest

from tests.runner.engines.image.tiny_folders import make_tiny_klein, make_tiny_z_image


@pytest.fixture(scope="session")
def tiny_z_image(tmp_path_factory):
    return make_tiny_z_image(tmp_path_factory.mktemp("z-image"), steps=3, width=32, height=24)


@pytest.fixture(scope="session")
def tiny_klein(tmp_path_factory):
    return make_tiny_klein(tmp_path_factory.mktemp("klein"))
