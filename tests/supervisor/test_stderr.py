import asyncio
import os

from paddock.supervisor.stderr import TAIL_BYTES, LogFile, OutputReader
from tests.fakes.holdings import Holdings
from tests.fakes.waiting import until


async def test_output_is_kept_up_to_the_size_of_the_tail():
    read_end, write_end = os.pipe()
    reader = OutputReader(read_end)
    written = bytes(range(256)) * 4096
    await asyncio.to_thread(write_all, write_end, written)
    os.close(write_end)
    await reader.finish()
    assert reader.tail == written[-TAIL_BYTES:]


async def test_finishing_takes_what_is_there_and_does_not_wait_for_a_pipe_that_stays_open():
    read_end, write_end = os.pipe()
    reader = OutputReader(read_end)
    os.write(write_end, b"last words")
    await reader.finish()
    assert reader.tail == b"last words"
    os.close(write_end)


async def test_a_reader_leaves_no_thread_and_no_descriptor():
    before = Holdings()
    for is_finished in (True, False):
        read_end, write_end = os.pipe()
        reader = OutputReader(read_end)
        if is_finished:
            await reader.finish()
        else:
            reader.abandon()
        os.close(write_end)
    await before.are_all()


async def test_a_log_that_cannot_be_written_does_not_stop_the_reading(tmp_path):
    (tmp_path / "file").touch()
    read_end, write_end = os.pipe()
    reader = OutputReader(read_end, LogFile(tmp_path / "file" / "log"))
    os.write(write_end, b"first ")
    await until(lambda: reader.tail == b"first ")
    os.write(write_end, b"second")
    os.close(write_end)
    await reader.finish()
    assert reader.tail == b"first second"


async def test_output_is_appended_to_the_log(tmp_path):
    path = tmp_path / "logs" / "runner-tiny.log"
    for text in (b"one\n", b"two\n"):
        read_end, write_end = os.pipe()
        reader = OutputReader(read_end, LogFile(path))
        os.write(write_end, text)
        os.close(write_end)
        await reader.finish()
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_would_grow_too_large_is_moved_aside_and_only_one_old_one_is_kept(tmp_path):
    log = LogFile(tmp_path / "log", limit_bytes=10)
    for text in (b"12345", b"67890", b"abcde", b"fghij", b"k"):
        log.write(text)
    log.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"log": b"k", "log.1": b"abcdefghij"}


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
