"""Safetensors files written piece by piece: the header first, since all shapes are known, then rows as they come.

Format: https://github.com/huggingface/safetensors#format. File names and the index are mlx-lm's.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import mlx.core as mx

from paddock.runner.engines.conversion.pieces import Entry, Piece

INDEX_FILE = "model.safetensors.index.json"

_DTYPES: Mapping[mx.Dtype, str] = {
    mx.bool_: "BOOL",
    mx.uint8: "U8",
    mx.int8: "I8",
    mx.uint16: "U16",
    mx.int16: "I16",
    mx.float16: "F16",
    mx.bfloat16: "BF16",
    mx.uint32: "U32",
    mx.int32: "I32",
    mx.float32: "F32",
    mx.uint64: "U64",
    mx.int64: "I64",
    mx.complex64: "C64",
}


def write_weights(pieces: list[Piece], folder: Path, most_file_bytes: int, report: Callable[[float], None]) -> None:
    """Make the weights, in files of at most so many bytes of tensors unless one alone is larger, and sync them to the
    disk. The list is emptied on the way, so that nothing keeps what has been written; `report` is told the share done.
    """
    total_bytes = max(1, sum(piece.source.nbytes for piece in pieces))
    shards = _shards(pieces, most_file_bytes)
    pieces.clear()
    total_size = sum(entry.size_bytes for shard in shards for piece in shard for entry in piece.entries)
    done_bytes = 0
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        weight_map |= {entry.name: name for piece in shard for entry in piece.entries}
        with (folder / name).open("xb") as file:
            offsets = _write_header(file, [entry for piece in shard for entry in piece.entries])
            while shard:
                piece = shard.pop(0)
                _write_piece(file, piece, offsets)
                done_bytes += piece.source.nbytes
                report(done_bytes / total_bytes)
            file.flush()
            os.fsync(file.fileno())
    if len(shards) > 1:
        index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=1))


def _shards(pieces: Sequence[Piece], most_bytes: int) -> list[list[Piece]]:
    shards: list[list[Piece]] = [[]]
    size_bytes = 0
    for piece in pieces:
        piece_bytes = sum(entry.size_bytes for entry in piece.entries)
        if shards[-1] and size_bytes + piece_bytes > most_bytes:
            shards.append([])
            size_bytes = 0
        shards[-1].append(piece)
        size_bytes += piece_bytes
    return shards


def _write_header(file: BinaryIO, entries: Sequence[Entry]) -> dict[str, int]:
    """Write the header; returns where in the file each tensor begins."""
    header: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    begins: dict[str, int] = {}
    position = 0
    for entry in entries:
        begins[entry.name] = position
        header[entry.name] = {
            "dtype": _DTYPES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [position, position + entry.size_bytes],
        }
        position += entry.size_bytes
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(struct.pack("<Q", len(raw)) + raw)
    file.truncate(file.tell() + position)
    return {name: file.tell() + begin for name, begin in begins.items()}


def _write_piece(file: BinaryIO, piece: Piece, offsets: Mapping[str, int]) -> None:
    mx.eval(piece.source)
    for first_row, arrays in piece.chunks():
        flat = [mx.contiguous(array).reshape(-1).view(mx.uint8) for array in arrays]
        mx.eval(flat)
        for entry, rows in zip(piece.entries, flat, strict=True):
            row_bytes = entry.size_bytes // entry.shape[0] if entry.shape else 0
            file.seek(offsets[entry.name] + first_row * row_bytes)
            file.write(memoryview(rows))  # type: ignore[arg-type]  # a buffer, which its type does not say
