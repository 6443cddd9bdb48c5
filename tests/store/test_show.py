from __future__ import annotations

import pytest

from paddock.cli.modelfile import read
from paddock.store.library import Library
from paddock.store.show import parameters_text, show_modelfile
from tests.store.making import make


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models")


def test_parameters_are_laid_out_as_ollama_does(library, tmp_path):
    model = make(
        library,
        tmp_path / "demo",
        parameters={"temperature": 1.0, "top_p": 0.95, "num_ctx": 4096, "stop": ["<end>", 'a "b"\n']},
    )
    assert parameters_text(model).splitlines() == [
        "num_ctx                        4096",
        'stop                           "<end>"',
        'stop                           "a \\"b\\"\\n"',
        "temperature                    1",
        "top_p                          0.95",
    ]


def test_a_plain_model_has_a_plain_modelfile(library, tmp_path):
    model = make(library, tmp_path / "demo")
    assert parameters_text(model) == ""
    lines = show_modelfile(model).splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["FROM demo:latest"]
    assert str(tmp_path) not in show_modelfile(model)


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines", 'with "quotes"', 'ends in "quotes"', '"begins" so', "# no comment", "a  b"]
)
def test_a_modelfile_says_all_that_is_known(library, tmp_path, text):
    said = {
        "parameters": {"temperature": 0.5, "num_ctx": 128, "stop": [text, "x"]},
        "system": text,
        "template": "{{ messages }} " + text,
        "licenses": (text, "second"),
        "messages": ({"role": "user", "content": text}, {"role": "assistant", "content": "hello"}),
    }
    modelfile = read(show_modelfile(make(library, tmp_path / "demo", **said)))
    assert modelfile.source == "demo:latest"
    assert modelfile.parameters == said["parameters"]
    assert (modelfile.system, modelfile.template) == (said["system"], said["template"])
    assert (tuple(modelfile.licenses), tuple(modelfile.messages)) == (said["licenses"], said["messages"])
