"""Image models that are stored one tensor at a time make the pictures that whole files make."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from paddock.errors import InvalidModelFiles
from paddock.runner.engines.image.families import make_family
from paddock.runner.engines.image.folder import TRANSFORMER, read_folder
from paddock.runner.engines.image.parts import Parts
from paddock.store.library import Library, StoredModel
from tests.fakes.tensor_models import KINDS, KindOf, as_it_is, folder_model, is_quantisable
from tests.runner.engines.image.running import ask, loaded, pictures, pixels
from tests.runner.running import run


def stored(root: Path, folder: Path, kind_of: KindOf = as_it_is) -> tuple[Path, StoredModel]:
    library = Library(root)
    model = folder_model(folder, kind_of).put_into(library, "stored")
    return library.view(model), model


def picture(folder: Path, **options: object) -> np.ndarray:
    return pixels(pictures(run(loaded(folder, **options), ask(width=32, height=24, steps=2))[0])[0]).astype(int)


def linear(kind: str) -> KindOf:
    """What Ollama quantises of an image model: neither its autoencoder nor embeddings and norms."""

    def kind_of(name: str) -> str:
        is_linear = name.endswith(".weight") and not any(word in name for word in ("vae/", "embed", "norm"))
        return kind if is_linear else ""

    return kind_of


def as_the_kind_has_it(folder: Path, kind: str, target: Path) -> Path:
    """The same model with the numbers that its weights have once they are quantised."""
    shutil.copytree(folder, target)
    for path in (file for part in ("transformer", "text_encoder") for file in (target / part).glob("*.safetensors")):
        tensors = dict(mx.load(str(path)))
        for name, array in tensors.items():
            full = f"{path.parent.name}/{name}"
            if linear(kind)(full) and is_quantisable(array, kind):
                packed = mx.quantize(array, **KINDS[kind])
                tensors[name] = mx.dequantize(*packed, **KINDS[kind], dtype=mx.float32)
        mx.eval(tensors)
        mx.save_safetensors(str(path), tensors)
    return target


@pytest.mark.parametrize("name", ["tiny_z_image", "tiny_klein"])
def test_a_picture_is_the_same(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)

    view, model = stored(tmp_path / "store", folder)

    assert (model.facts.engine, model.facts.capabilities) == ("image", ("image", "vision"))
    assert model.facts.quantization_level == "F32"
    assert np.array_equal(picture(view), picture(folder))


@pytest.mark.parametrize("kind", ["int4", "nvfp4"])
def test_a_quantised_picture_is_that_of_the_quantised_numbers(kind: str, tiny_z_image: Path, tmp_path: Path) -> None:
    """Sums of packed weights are added up in another order, which may round one step of 256 the other way."""
    view, model = stored(tmp_path / "store", tiny_z_image, linear(kind))
    expected = picture(as_the_kind_has_it(tiny_z_image, kind, tmp_path / "reference"))

    assert model.facts.quantization_level == kind
    assert np.array_equal(picture(view), expected)
    assert np.abs(picture(view, keep_packed=True) - expected).max() <= 1


def test_packed_layers_stay_packed_where_they_are_to(tiny_z_image: Path, tmp_path: Path) -> None:
    view, model = stored(tmp_path, tiny_z_image, linear("nvfp4"))
    checked = read_folder(view)
    parts = Parts(checked, make_family(checked), staged=False, keep_packed=True)
    parts.load(lambda _progress: None)

    assert isinstance(parts.transformer().layers[0].feed_forward.w1, nn.QuantizedLinear)
    assert model.facts.image is not None
    held = model.facts.image
    expected = held.text_encoder.float32_bytes + held.transformer.float32_bytes + held.autoencoder.float32_bytes
    assert parts.weights_bytes == expected


def test_a_part_without_tensors_makes_no_model(tiny_z_image: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_z_image, tmp_path / "model")
    for path in (folder / TRANSFORMER).glob("*.safetensors"):
        path.unlink()

    with pytest.raises(InvalidModelFiles, match="no weights of the part transformer"):
        stored(tmp_path / "store", folder)
