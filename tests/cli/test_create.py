"""paddock create."""

import hashlib
from pathlib import Path

import pytest

from paddock.cli.create import collect_adapter, collect_files, find_source
from paddock.errors import InvalidModelFiles, NotFound
from paddock.store.model_files import check_files
from tests.runner.engines.image.tiny_folders import make_tiny_z_image

WEIGHTS = b"w" * 3_000_000


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_text(name)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    for name in ("README.md", "training_args.bin", "pytorch_model.bin"):
        (folder / name).write_text("left behind")
    (folder / "LICENSE.txt").write_text("Do what you like.\n")
    (folder / "tokenizer").mkdir()
    return folder


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_folder_becomes_blobs_and_a_model(server, paddock_command, weights, tmp_path):
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(
        "FROM ./weights\nPARAMETER seed 7\nSYSTEM Be brief.\nTEMPLATE {{ x }}\nLICENSE MIT\n"
        "MESSAGE user Hi\nDRAFT small\n"
    )
    server.statuses = [{"status": "writing manifest"}, {"status": "success"}]
    outcome = paddock_command("create", "mine", "-f", str(modelfile))
    assert (outcome.exit_code, outcome.out) == (0, "")
    assert outcome.err.splitlines()[0] == "hashing files"
    assert outcome.err.endswith("writing manifest\nsuccess\n")
    [request] = server.bodies("/api/create")
    names = {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors",
    }
    assert set(request.pop("files")) == names
    assert request == {
        "model": "mine",
        "draft": "small",
        "parameters": {"seed": 7},
        "system": "Be brief.",
        "template": "{{ x }}",
        "license": ["MIT", "Do what you like."],
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert server.blobs[digest_of(WEIGHTS)] == WEIGHTS
    assert len(server.blobs) == len(names)


def test_a_blob_that_the_server_has_is_not_sent_again(server, paddock_command, weights, monkeypatch):
    server.blobs[digest_of(WEIGHTS)] = WEIGHTS
    monkeypatch.chdir(weights)
    assert paddock_command("create", "mine").exit_code == 0
    sent = [path for method, path, _ in server.asked if method == "POST" and path.startswith("/api/blobs/")]
    assert f"/api/blobs/{digest_of(WEIGHTS)}" not in sent
    assert len(sent) == 4


def test_without_a_modelfile_the_folder_itself_is_the_model(server, paddock_command, weights, monkeypatch):
    monkeypatch.chdir(weights)
    assert paddock_command("create", "mine").exit_code == 0
    [request] = server.bodies("/api/create")
    assert set(request) == {"model", "files", "license"}


def test_the_modelfile_of_the_folder_is_found(server, paddock_command, tmp_path, monkeypatch):
    (tmp_path / "Modelfile").write_text("FROM demo\nSYSTEM Arr.")
    monkeypatch.chdir(tmp_path)
    assert paddock_command("create", "pirate").exit_code == 0
    assert server.bodies("/api/create") == [{"model": "pirate", "from": "demo", "system": "Arr."}]


def test_a_named_modelfile_that_is_missing_is_said_so(server, paddock_command, tmp_path):
    outcome = paddock_command("create", "mine", "-f", str(tmp_path / "none"))
    assert (outcome.exit_code, outcome.err) == (1, "Error: specified Modelfile wasn't found\n")


def test_a_modelfile_that_breaks_the_grammar_asks_nothing_of_the_server(server, paddock_command, tmp_path):
    (tmp_path / "Modelfile").write_text("FROM demo\nRENDERER qwen3-coder\n")
    outcome = paddock_command("create", "mine", "-f", str(tmp_path / "Modelfile"))
    assert outcome.exit_code == 1
    assert outcome.err.startswith("Error: Modelfile, line 2: RENDERER is not supported; ")
    assert server.asked == []


@pytest.fixture
def lora(tmp_path):
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    for name in ("adapters.safetensors", "0000100_adapters.safetensors"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("flag", ["--quantize", "-q"])
def test_the_kind_of_weights_is_passed_on(server, paddock_command, tmp_path, flag):
    (tmp_path / "Modelfile").write_text("FROM demo\n")
    outcome = paddock_command("create", "small", "-f", str(tmp_path / "Modelfile"), flag, "int4")
    assert outcome.exit_code == 0
    assert server.bodies("/api/create") == [{"model": "small", "from": "demo", "quantize": "int4"}]


def test_an_adapter_is_uploaded_beside_the_name_of_its_model(server, paddock_command, tmp_path, lora):
    (tmp_path / "Modelfile").write_text("FROM demo\nADAPTER ./lora\n")
    assert paddock_command("create", "tuned", "-f", str(tmp_path / "Modelfile")).exit_code == 0
    assert server.bodies("/api/create") == [
        {
            "model": "tuned",
            "from": "demo",
            "adapters": {
                "adapter_config.json": digest_of(b"{}"),
                "adapters.safetensors": digest_of(b"adapters.safetensors"),
            },
        }
    ]


def test_peft_calls_the_weights_of_an_adapter_otherwise(lora):
    (lora / "adapters.safetensors").rename(lora / "adapter_model.safetensors")
    assert set(collect_adapter("lora", lora.parent)) == {"adapter_config.json", "adapter_model.safetensors"}


def test_what_is_no_adapter_is_told_so(lora):
    (lora / "adapter_config.json").unlink()
    with pytest.raises(InvalidModelFiles, match="is no adapter"):
        collect_adapter("lora", lora.parent)
    with pytest.raises(NotFound, match="there is no such folder"):
        collect_adapter("nowhere", lora.parent)


def test_a_licence_is_told_once(server, paddock_command, weights, tmp_path):
    (weights / "COPYING").write_text("MIT")
    (weights / "NOTICE").write_bytes(b"\0 \n")
    (tmp_path / "Modelfile").write_text("FROM ./weights\nLICENSE MIT\n")
    assert paddock_command("create", "mine", "-f", str(tmp_path / "Modelfile")).exit_code == 0
    assert server.bodies("/api/create")[0]["license"] == ["MIT", "Do what you like."]


def test_a_former_parameter_is_a_warning(server, paddock_command, tmp_path):
    (tmp_path / "Modelfile").write_text("FROM demo\nPARAMETER use_mlock true\n")
    outcome = paddock_command("create", "mine", "-f", str(tmp_path / "Modelfile"))
    assert outcome.exit_code == 0
    assert outcome.err.startswith('Warning: line 2: the parameter "use_mlock" has no effect any more.\n')


def test_a_server_that_refuses_the_model_is_quoted(server, paddock_command, weights, monkeypatch):
    server.statuses = [{"status": "reading"}, {"error": "config.json names no architecture."}]
    monkeypatch.chdir(weights)
    outcome = paddock_command("create", "mine")
    assert outcome.exit_code == 1
    assert outcome.err.endswith("Error: config.json names no architecture.\n")


def test_without_a_server_nothing_is_hashed(no_server, paddock_command, weights, monkeypatch):
    monkeypatch.chdir(weights)
    outcome = paddock_command("create", "mine")
    assert outcome.exit_code == 1
    assert outcome.err.startswith("Error: could not connect to a Paddock server")


def test_a_source_is_a_folder_beside_the_modelfile_or_a_model(weights):
    assert find_source("weights", weights.parent) == weights
    assert find_source(str(weights), Path("/nowhere")) == weights
    assert find_source("demo:latest", weights.parent) is None
    assert find_source("x" * 5000, weights.parent) is None
    assert find_source("a\0b", weights.parent) is None


@pytest.mark.parametrize("source", ["./none", "/none/at/all", "../none"])
def test_a_path_that_leads_nowhere_is_not_taken_for_a_model(weights, source):
    with pytest.raises(NotFound, match="there is no such folder"):
        find_source(source, weights)


def test_a_file_is_no_source(weights):
    with pytest.raises(InvalidModelFiles, match="is a file"):
        find_source("model.safetensors", weights)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_model_is_refused(weights, missing):
    (weights / missing).unlink()
    with pytest.raises(InvalidModelFiles, match="is no model folder"):
        collect_files(weights)


def test_links_to_files_are_followed(weights, tmp_path):
    (tmp_path / "blob").write_bytes(b"shard")
    (weights / "model-00002.safetensors").symlink_to(tmp_path / "blob")
    assert "model-00002.safetensors" in collect_files(weights)


def test_of_an_image_model_the_files_of_its_parts_keep_their_folders(tmp_path):
    folder = make_tiny_z_image(tmp_path)
    for name in ("README.md", "LICENSE", "transformer/README.md", "text_encoder/pytorch_model.bin"):
        (folder / name).write_text("left behind")
    (folder / "assets").mkdir()
    (folder / "assets" / "config.json").write_text("{}")
    files = collect_files(folder)
    assert set(files) == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert check_files(files).engine == "image"
