"""Encoders that are stored one tensor at a time give the vectors that whole files give."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from paddock.store.library import Library
from tests.fakes.tensor_models import KINDS, all_of, as_it_is, folder_model
from tests.runner.engines.embedding.test_decoder import make_decoder, save, vectors
from tests.runner.engines.embedding.tiny import make_tiny_bert


def view_of(root: Path, folder: Path, kind: str = "") -> Path:
    library = Library(root)
    model = folder_model(folder, all_of(kind) if kind else as_it_is).put_into(library, "stored")
    assert model.facts.engine == "embedding"
    return library.view(model)


def test_an_encoder_gives_the_same_vectors(tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "bert")

    view = view_of(tmp_path / "store", folder)

    assert np.array_equal(vectors(view, "one", "another text"), vectors(folder, "one", "another text"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_decoder_gives_the_vectors_of_the_quantised_numbers(tmp_path: Path, kind: str) -> None:
    """The same numbers in sums of another order: 1e-4 of a length of 1."""
    folder = tmp_path / "decoder"
    folder.mkdir()
    weights = dict(tree_flatten(make_decoder(folder).parameters()))
    save(folder, weights)
    view = view_of(tmp_path / "store", folder, kind)
    for name, array in weights.items():
        if all_of(kind)(name):
            weights[name] = mx.dequantize(*mx.quantize(array, **KINDS[kind]), **KINDS[kind], dtype=mx.float32)
    save(folder, weights)

    assert np.abs(vectors(view, "one", "two") - vectors(folder, "one", "two")).max() < 1e-4
