"""Whether the disk can take what is to come, asked before anything does."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from paddock.errors import StoreFull
from paddock.store.durable import told_plainly
from paddock.store.library import Library
from paddock.store.transfer.fetch import Nearby
from paddock.store.transfer.partial import Partials
from paddock.store.transfer.remote_file import RemoteFile

SPARE_BYTES = 1024**3
SPARE_PART = 50
"""Of what is fetched, one in so many bytes is kept free besides, or `SPARE_BYTES` where that is more."""


def check_room(library: Library, what: str, files: Iterable[RemoteFile], nearby: Nearby) -> None:
    """StoreFull, telling how many bytes are short, where the disk cannot take these files; `what` is what messages
    call them. Blocks."""
    partials, wanted = Partials(library.root), {file.identity: file for file in files}
    needed_bytes = sum(
        file.size_bytes - partials.room(file)
        for file in wanted.values()
        if not (file.sha256 and library.blobs.has(f"sha256:{file.sha256}"))
        and not any(_is_near(library, path.stat().st_dev) for path in nearby(file))
    )
    spare_bytes = max(needed_bytes // SPARE_PART, min(SPARE_BYTES, needed_bytes))
    with told_plainly():
        free_bytes = shutil.disk_usage(library.root).free
    if (short_bytes := needed_bytes + spare_bytes - free_bytes) > 0:
        raise StoreFull(
            f"There is not enough room for {what}: {needed_bytes} bytes are to come, and with what should stay free "
            f"{short_bytes} bytes are short; free some space or move the store."
        )


def _is_near(library: Library, device: int) -> bool:
    """Whether a file there can be linked to, and so needs no room."""
    return library.root.stat().st_dev == device
