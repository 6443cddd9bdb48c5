"""A model folder from a stranger: links in it carry no file of one's own along."""

from __future__ import annotations

import pytest

from paddock.cli.create import collect_adapter, collect_files, folder_licenses
from paddock.errors import InvalidModelFiles
from tests.store.making import write_model


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "id_rsa"
    path.write_text("my own secret")
    return path


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja"])
def test_a_link_that_leads_out_is_refused_by_name(folder, secret, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(InvalidModelFiles, match=f'"{name}" is a link that leads out of the folder'):
        collect_files(folder)


def test_so_is_one_by_way_of_a_folder(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    (folder / "1_Pooling").symlink_to(tmp_path / "mine")
    with pytest.raises(InvalidModelFiles, match=r"1_Pooling/config\.json"):
        collect_files(folder)


def test_a_licence_that_leads_out_is_left_out(folder, secret):
    (folder / "LICENSE").symlink_to(secret)
    assert folder_licenses(folder) == []


def test_an_adapter_that_leads_out_is_refused(folder, secret):
    (folder / "adapters.safetensors").write_bytes(b"")
    (folder / "adapter_config.json").symlink_to(secret)
    with pytest.raises(InvalidModelFiles, match=r"adapter_config\.json"):
        collect_adapter(".", folder)


def test_links_within_the_folder_are_its_own(folder):
    (folder / "config.json").rename(folder / "real.json")
    (folder / "config.json").symlink_to("real.json")
    assert "config.json" in collect_files(folder)


def test_hugging_faces_cache_is_links_throughout(tmp_path):
    snapshot = write_model(tmp_path / "models--org--repo" / "snapshots" / ("0" * 40))
    blobs = tmp_path / "models--org--repo" / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(f"../../blobs/{number}")
    assert set(collect_files(snapshot)) == {"config.json", "model.safetensors", "tokenizer.json"}


def test_weights_may_be_elsewhere_as_nothing_else_passes_for_them(folder, tmp_path):
    (folder / "model.safetensors").rename(tmp_path / "weights")
    (folder / "model.safetensors").symlink_to(tmp_path / "weights")
    assert "model.safetensors" in collect_files(folder)
