from __future__ import annotations

import struct

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from paddock.errors import InvalidModelFiles
from paddock.vetting.safetensors_header import MAX_HEADER_BYTES, MAX_TENSORS, read_header
from tests.store.making import entry, safetensors_bytes


def read(tmp_path, data: bytes):
    path = tmp_path / "blob"
    path.write_bytes(data)
    return read_header(path, "model.safetensors")


def refusal(tmp_path, data: bytes) -> str:
    with pytest.raises(InvalidModelFiles) as error:
        read(tmp_path, data)
    assert error.value.message.startswith("The file model.safetensors ")
    assert error.value.message.endswith(".")
    assert str(tmp_path) not in error.value.message
    return error.value.message


def test_a_file_of_the_reference_library_is_read(tmp_path):
    arrays = {
        "b": numpy.zeros((2, 3), numpy.float32),
        "a": numpy.zeros(5, numpy.float16),
        "empty": numpy.zeros((0, 4), numpy.int8),
    }
    save_file(arrays, tmp_path / "x", metadata={"format": "mlx"})
    tensors = {tensor.name: tensor for tensor in read_header(tmp_path / "x", "x")}
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()} == {
        "a": ("F16", (5,)),
        "b": ("F32", (2, 3)),
        "empty": ("I8", (0, 4)),
    }
    assert tensors["b"].size_bytes == 24
    assert tensors["b"].element_count == 6


def test_a_scalar_and_a_padded_header_are_fine(tmp_path):
    raw = b'{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   '
    (tensor,) = read(tmp_path, safetensors_bytes(raw, bytes(4)))
    assert tensor.shape == ()
    assert tensor.element_count == 1


def test_metadata_may_be_null_as_mlx_writes_it(tmp_path):
    assert read(tmp_path, safetensors_bytes({"__metadata__": None})) == ()


def test_a_file_without_tensors_is_well_formed(tmp_path):
    assert read(tmp_path, safetensors_bytes({})) == ()


TWICE = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
GOOD = entry("F32", [2], 0, 8)
BROKEN = {
    "empty": b"",
    "zeros": bytes(64),
    "four bytes": b"abcd",
    "only a length": struct.pack("<Q", 0),
    "length 2^63": struct.pack("<Q", 2**63) + b"{}" * 39,
    "length 2^64-1": struct.pack("<Q", 2**64 - 1) + b"{}",
    "length 20e9": struct.pack("<Q", 20_000_000_000) + b"{}" * 39,
    "length 99e6": struct.pack("<Q", 99_000_000) + b"{}" * 39,
    "truncated header": safetensors_bytes({"a": GOOD}, bytes(8))[:30],
    "truncated body": safetensors_bytes({"a": GOOD}, bytes(7)),
    "no body": safetensors_bytes({"a": GOOD}),
    "bytes after the end": safetensors_bytes({"a": GOOD}, bytes(9)),
    "not a dict": safetensors_bytes([1, 2]),
    "a string": safetensors_bytes(b'"hello"'),
    "bad UTF-8": safetensors_bytes(b'{"\xff":1}'),
    "broken JSON": safetensors_bytes(b'{"a":'),
    "text after the JSON": safetensors_bytes(b"{} {}"),
    "space before the JSON": safetensors_bytes(b" {}"),
    "brackets": safetensors_bytes(b"[" * 2_000_000),
    "nested objects": safetensors_bytes(b'{"a":' * 500_000),
    "overlap": safetensors_bytes({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, bytes(12)),
    "same place twice": safetensors_bytes({"a": GOOD, "b": GOOD}, bytes(8)),
    "hole": safetensors_bytes({"a": GOOD, "b": entry("F32", [2], 12, 20)}, bytes(20)),
    "hole at the start": safetensors_bytes({"a": entry("F32", [2], 4, 12)}, bytes(12)),
    "wrapping shape": safetensors_bytes({"a": entry("F32", [2**32, 2**32], 0, 0)}),
    "wrapping product": safetensors_bytes({"a": entry("F32", [2**38], 0, 2**40)}, bytes(8)),
    "dimension of 2^31": safetensors_bytes({"a": entry("U8", [2**31, 0], 0, 0)}),
    "huge number": safetensors_bytes(b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}'),
    "fraction in a shape": safetensors_bytes({"a": entry("U8", [4.5], 0, 4)}, bytes(4)),
    "float in a shape": safetensors_bytes({"a": entry("U8", [4.0], 0, 4)}, bytes(4)),
    "NaN": safetensors_bytes(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}'),
    "boolean in a shape": safetensors_bytes({"a": entry("U8", [True], 0, 1)}, bytes(1)),
    "negative shape": safetensors_bytes({"a": entry("F32", [-1, -2], 0, 8)}, bytes(8)),
    "too many dimensions": safetensors_bytes({"a": entry("U8", [1] * 17, 0, 1)}, bytes(1)),
    "shape no list": safetensors_bytes({"a": {"dtype": "U8", "shape": 4, "data_offsets": [0, 4]}}, bytes(4)),
    "begin after end": safetensors_bytes({"a": entry("F32", [2], 8, 0)}, bytes(8)),
    "negative offset": safetensors_bytes({"a": entry("F32", [2], -8, 0)}, bytes(8)),
    "offset 2^63": safetensors_bytes({"a": entry("F32", [2], 2**63, 2**63 + 8)}, bytes(8)),
    "three offsets": safetensors_bytes({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}, bytes(1)),
    "unknown dtype": safetensors_bytes({"a": entry("F33", [2], 0, 8)}, bytes(8)),
    "dtype that MLX lacks": safetensors_bytes({"a": entry("F64", [1], 0, 8)}, bytes(8)),
    "dtype no text": safetensors_bytes({"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "shape mismatch": safetensors_bytes({"a": entry("F32", [3], 0, 8)}, bytes(8)),
    "missing field": safetensors_bytes({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "extra field": safetensors_bytes({"a": GOOD | {"x": 1}}, bytes(8)),
    "tensor no object": safetensors_bytes({"a": 1}),
    "metadata with numbers": safetensors_bytes({"__metadata__": {"a": 1}}),
    "metadata no object": safetensors_bytes({"__metadata__": "x"}),
    "the same name twice": safetensors_bytes(TWICE, bytes(1)),
    "nameless tensor": safetensors_bytes({"": GOOD}, bytes(8)),
    "control characters": safetensors_bytes({"a\u0000b": GOOD}, bytes(8)),
    "lone surrogate": safetensors_bytes(b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', bytes(1)),
    "a GGUF file": b"GGUF" + bytes(60),
    "a pickle in a zip": b"PK\x03\x04" + bytes(60),
}  # fmt: skip


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_in_one_sentence(tmp_path, data):
    refusal(tmp_path, data)


def test_what_mlx_would_load_wrongly_is_named_for_what_it_is(tmp_path):
    assert "overlapping" in refusal(tmp_path, BROKEN["overlap"])
    assert "hole" in refusal(tmp_path, BROKEN["hole"])
    assert "shape" in refusal(tmp_path, BROKEN["wrapping shape"])
    assert "fraction" in refusal(tmp_path, BROKEN["fraction in a shape"])
    assert "truncated" in refusal(tmp_path, BROKEN["truncated body"])
    assert "GGUF" in refusal(tmp_path, BROKEN["a GGUF file"])


def test_a_header_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "blob"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        file.truncate(MAX_HEADER_BYTES + 100)  # sparse
    with pytest.raises(InvalidModelFiles, match="header of more than"):
        read_header(path, "model.safetensors")


def test_too_many_tensors_are_refused(tmp_path):
    one = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    raw = b"{" + b",".join(one % number for number in range(MAX_TENSORS + 2)) + b"}"
    assert "more than" in refusal(tmp_path, safetensors_bytes(raw))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InvalidModelFiles, match="cannot be read"):
        read_header(tmp_path, "model.safetensors")


def test_the_tensors_themselves_are_never_read(tmp_path):
    path = tmp_path / "blob"
    size = 4 * 1024**4
    header = safetensors_bytes({"a": entry("U8", [4096, 2**30], 0, size)})
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)  # sparse: four terabytes that take no room
    assert read_header(path, "model.safetensors")[0].size_bytes == size


@given(data=st.binary(max_size=100), is_framed=st.booleans())
def test_random_bytes_are_read_or_refused(tmp_path_factory, data, is_framed):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(safetensors_bytes(data) if is_framed else data)
    try:
        tensors = read_header(path, "random")
    except InvalidModelFiles:
        return
    assert tensors == ()
