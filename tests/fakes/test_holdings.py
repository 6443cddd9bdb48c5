import asyncio
import os
import threading

import pytest

from tests.fakes.holdings import Holdings


async def test_what_is_held_beyond_is_named():
    before = Holdings()
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait, name="left over")
    thread.start()
    task = asyncio.create_task(asyncio.sleep(60), name="left behind")
    ends = os.pipe()
    try:
        assert before.grown() == ["thread left over", "task left behind", "2 descriptors"]
        with pytest.raises(AssertionError, match=r"still held after 0 s: thread left over, task"):
            await before.are_all(within_seconds=0)
    finally:
        is_over.set()
        thread.join()
        task.cancel()
        for end in ends:
            os.close(end)
    await before.are_all()


async def test_that_less_is_held_is_no_leak():
    ends = os.pipe()
    before = Holdings()
    for end in ends:
        os.close(end)
    await before.are_all(within_seconds=0)
