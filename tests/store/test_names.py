from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddock.errors import InvalidName
from paddock.store.blobs import Blobs
from paddock.store.names import ModelName, parse_digest

HEX = "0123456789abcdef" * 4

fragments = st.sampled_from([*"aA0_-.:/\\@%~ \0\n", "..", "../", "://", "é", "／", "\ud800"])
hostile_text = st.lists(fragments, max_size=40).map("".join)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("demo", "registry.ollama.ai/library/demo:latest"),
        ("demo:1b", "registry.ollama.ai/library/demo:1b"),
        ("someone/demo", "registry.ollama.ai/someone/demo:latest"),
        ("host.io/someone/demo:x", "host.io/someone/demo:x"),
        ("localhost:5000/someone/demo", "localhost:5000/someone/demo:latest"),
        ("https://host.io/someone/demo", "host.io/someone/demo:latest"),
        ("http://host.io:80/a/b:c", "host.io:80/a/b:c"),
        ("Demo_1.5-x:Q4_K.M", "registry.ollama.ai/library/Demo_1.5-x:Q4_K.M"),
        ("hf.co/Org.AI/Repo:v2", "hf.co/Org.AI/Repo:v2"),
        ("https://huggingface.co/org/repo", "hf.co/org/repo:latest"),
        ("HuggingFace.co/org/repo", "hf.co/org/repo:latest"),
        ("console:aux1", "registry.ollama.ai/library/console:aux1"),
    ],
)
def test_a_name_is_completed_with_defaults(text, full):
    name = ModelName.parse(text)
    assert f"{name.host}/{name.namespace}/{name.model}:{name.tag}" == full


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "/", ":tag", "demo:", "/demo", "a//demo", "a/", "host//demo", "a.b/demo", "a/b/c/d",
        "..", "../demo", "../../etc/passwd", "/etc/shadow",
        "demo:..", "demo:a/b", ".demo", "-demo", "demo:-x", "de mo", "demo\0", "demo\n",
        "demo@sha256:" + HEX, "démo", "demo\\x", "%2e%2e/x",
        "ftp://host/a/b", "https://host/demo", "host:/a:b",
        "demo.", "demo:x.", "con", "a/NUL", "aux.b:x", "demo:com1", "lpt9/x", "hf.co/repo", "hf.co/a.b.c/d/e",
        "a" * 81, "demo:" + "t" * 81, "n" * 81 + "/demo", "h" * 256 + "/a/b",
    ],
)  # fmt: skip
def test_what_the_grammar_forbids_is_no_name(text):
    with pytest.raises(InvalidName, match=r"^invalid model name$"):
        ModelName.parse(text)


def test_the_longest_parts_are_allowed():
    name = ModelName.parse(f"{'h' * 255}/{'n' * 80}/{'m' * 80}:{'t' * 80}")
    assert len(name.host) == 255
    assert ModelName.parse(f"hf.co/{'n' * 96}/{'m' * 96}").is_on_hub
    with pytest.raises(InvalidName):
        ModelName.parse(f"hf.co/org/{'m' * 97}")


@given(hostile_text)
@example("../../../../tmp/x:latest")
@example("a:5/..:b")
def test_no_name_ever_leads_out_of_its_folder(text):
    try:
        name = ModelName.parse(text)
    except InvalidName:
        return
    root = Path("/models/manifests")
    assert (root / name.relative_path).resolve().relative_to(root).parts == name.relative_path.parts
    assert len(name.relative_path.parts) == 4
    assert not any(part.startswith(".") for part in name.relative_path.parts)


@given(hostile_text)
@example("hf.co/a/b.")
@example("HF.CO/con/b")
def test_a_name_is_the_same_on_every_file_system(text):
    try:
        name = ModelName.parse(text)
    except InvalidName:
        return
    for part in name.relative_path.parts:
        assert part.isascii()
        assert len(part) <= 255
        assert part[-1] not in ". "
        assert part.lower().partition(".")[0] not in ("con", "prn", "aux", "nul")


@given(hostile_text)
def test_a_displayed_name_means_the_same(text):
    try:
        name = ModelName.parse(text)
    except InvalidName:
        return
    assert ModelName.parse(name.display).same_as(name)


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("demo", "demo:latest"),
        ("Registry.Ollama.AI/Library/demo:x", "demo:x"),
        ("someone/demo", "someone/demo:latest"),
        ("host.io/library/demo", "host.io/library/demo:latest"),
        ("https://huggingface.co/Org/Repo", "hf.co/Org/Repo:latest"),
    ],
)
def test_the_display_leaves_out_what_is_default(text, display):
    assert ModelName.parse(text).display == display


def test_names_are_the_same_whatever_their_case():
    assert ModelName.parse("Demo:Latest").same_as(ModelName.parse("demo"))
    assert not ModelName.parse("demo").same_as(ModelName.parse("demo:x"))


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha256-{HEX}", f"sha256:{HEX.upper()}"])
def test_a_digest_has_one_canonical_form(text):
    assert parse_digest(text) == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "", "abc", HEX, f"sha512:{HEX}", f"sha256:{HEX[:-1]}", f"sha256:{HEX}0", f"SHA256:{HEX}",
        "sha256:../../../../tmp/pwn",
        "sha256:a/../..", "sha256-..", f"sha256:{HEX[:-1]}\0", f"sha256:{HEX}\n", f" sha256:{HEX}",
        "sha256:%2e%2e%2f" + HEX[:55], "/etc/passwd",
        "sha256:..\\..\\x", f"sha256：{HEX}", "sha256:" + "０" * 64, "sha256:" + "g" * 64,
    ],
)  # fmt: skip
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(InvalidName, match=r"^invalid digest format$"):
        parse_digest(text)


@given(hostile_text | st.from_regex(r"sha256[:-][0-9a-fA-F]{60,66}"))
def test_no_digest_ever_leads_out_of_the_blobs(text):
    blobs = Blobs.__new__(Blobs)
    blobs._folder = Path("/models/blobs")
    try:
        path = blobs.path(text)
    except InvalidName:
        return
    assert path.parent == Path("/models/blobs")
    assert len(path.name) == len("sha256-") + 64
