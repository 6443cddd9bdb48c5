"""The header of a safetensors file, read strictly and without ever touching the tensors themselves.

MLX loads files that the format forbids (overlaps, holes, shapes that wrap around), so nothing reaches it that was not
checked here. Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from paddock.errors import InvalidModelFiles

MAX_HEADER_BYTES = 25 * 1024 * 1024
MAX_TENSORS = 200_000
MAX_DIMENSIONS = 16
MAX_TENSOR_NAME = 1_024
_LENGTH = struct.Struct("<Q")
_MAX_DIMENSION = 2**31 - 1
"""MLX holds a dimension in 32 bits."""

DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "C64": 8,
}
"""The types that MLX loads, and the bytes of one element."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as its header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the end of the header."""
    end: int

    @property
    def size_bytes(self) -> int:
        return self.end - self.begin

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)


class _Malformed(Exception):
    """What is wrong with a header, as the end of the sentence that starts with the file's name."""


@dataclass(frozen=True)
class Header:
    """All that a header says."""

    tensors: tuple[Tensor, ...]
    """In the order of their bytes."""
    metadata: Mapping[str, str]
    """What whoever wrote the file noted beside them."""


def read_header(path: Path, name: str) -> tuple[Tensor, ...]:
    """The tensors of a file in the order of their bytes; `name` is what messages call the file.

    InvalidModelFiles, in one sentence, for everything that is not a whole and well-formed safetensors file.
    """
    return read_whole_header(path, name).tensors


def read_whole_header(path: Path, name: str, most_bytes: int = MAX_HEADER_BYTES) -> Header:
    """As `read_header`, with the metadata; a header of more than `most_bytes` is refused."""
    try:
        raw, body_bytes = _raw_header(path, most_bytes)
        header = _decode(raw)
        metadata = _metadata(header)
        tensors = sorted(_tensors(header), key=lambda tensor: (tensor.begin, tensor.end))
        _check_layout(tensors, body_bytes)
    except _Malformed as problem:
        raise InvalidModelFiles(f"The file {name} {problem}.") from None
    except OSError:
        raise InvalidModelFiles(f"The file {name} cannot be read.") from None
    return Header(tuple(tensors), metadata)


def _raw_header(path: Path, most_bytes: int) -> tuple[bytes, int]:
    """The header's bytes, and how many bytes follow it."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _Malformed("is not a regular file")
        start = file.read(_LENGTH.size)
        if start[:4] == b"GGUF":
            raise _Malformed("is a GGUF file: only safetensors files are supported")
        if len(start) < _LENGTH.size:
            raise _Malformed("is too short to be a safetensors file")
        (header_bytes,) = _LENGTH.unpack(start)
        body_bytes = status.st_size - _LENGTH.size - header_bytes
        if body_bytes < 0:
            raise _Malformed("is truncated, or not a safetensors file")
        if header_bytes > most_bytes:
            raise _Malformed(f"has a header of more than {most_bytes} bytes")
        return file.read(header_bytes), body_bytes


def _decode(raw: bytes) -> dict[str, object]:
    """The header as JSON; only its innermost values may be numbers, and those must be whole."""
    if raw[:1] != b"{":
        raise _Malformed("has no safetensors header")
    try:
        header = json.loads(
            raw.decode(), object_pairs_hook=_object, parse_float=_no_float, parse_constant=_no_float, parse_int=_integer
        )
    except (ValueError, RecursionError):
        raise _Malformed("has a header that is not valid JSON") from None
    assert isinstance(header, dict)  # it starts with a brace
    return header


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_TENSORS + 1:
        raise _Malformed(f"has more than {MAX_TENSORS} tensors")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Malformed("names a tensor or a field twice")
    return found


def _no_float(_: str) -> NoReturn:
    raise _Malformed("has a fraction where only whole numbers are allowed")


def _integer(text: str) -> int:
    if len(text) > 19:
        raise _Malformed("has a number that is too large")
    return int(text)


def _metadata(header: dict[str, object]) -> dict[str, str]:
    """What is beside the tensors; it is taken out of the header."""
    metadata = header.pop("__metadata__", None)
    if metadata is None:  # MLX writes null where there is none
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Malformed("has metadata that is not text")
    return metadata


def _tensors(header: dict[str, object]) -> list[Tensor]:
    return [_tensor(name, fields) for name, fields in header.items()]


def _tensor(name: str, fields: object) -> Tensor:
    if not name or len(name) > MAX_TENSOR_NAME or not name.isprintable():
        raise _Malformed("has a tensor without a proper name")
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Malformed(f"does not describe its tensor {name} properly")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _Malformed(f"has the tensor {name} in a number format that MLX cannot read")
    if not _whole_numbers(shape) or len(shape) > MAX_DIMENSIONS or any(size > _MAX_DIMENSION for size in shape):
        raise _Malformed(f"has the tensor {name} with an impossible shape")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _Malformed(f"has the tensor {name} at an impossible place")
    tensor = Tensor(name, dtype, tuple(shape), offsets[0], offsets[1])
    if tensor.element_count * DTYPE_BYTES[dtype] != tensor.size_bytes:
        raise _Malformed(f"has the tensor {name} with another number of bytes than its shape needs")
    return tensor


def _whole_numbers(value: object) -> bool:
    """Whether it is a list of whole numbers, none negative; booleans are not numbers."""
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _check_layout(tensors: list[Tensor], body_bytes: int) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    position = 0
    for tensor in tensors:
        if tensor.begin < position:
            raise _Malformed(f"has the tensor {tensor.name} overlapping another")
        if tensor.begin > position:
            raise _Malformed(f"has a hole before its tensor {tensor.name}")
        position = tensor.end
    if position > body_bytes:
        raise _Malformed("is truncated")
    if position < body_bytes:
        raise _Malformed("has bytes that belong to no tensor")
