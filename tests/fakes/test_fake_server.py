import asyncio

import pytest

from paddock.errors import LoadFailed, OutOfMemory, RunnerDied
from paddock.protocol import CompletionRequest, Done, Failed, Image, ImageRequest, Step, Text
from tests.fakes.fake_server import FakeModelServer, FakeModelServers, Script, done
from tests.fakes.runners import CPU, SYSTEM, fake_spec
from tests.fakes.waiting import settle

PROMPT = CompletionRequest(prompt="hi")


async def ready(script: Script) -> FakeModelServer:
    server = FakeModelServer(fake_spec(), script)
    assert await server.load(SYSTEM, [CPU], require_full=False) == ["cpu"]
    await server.wait_until_running()
    return server


async def test_a_load_waits_for_its_gate_and_then_fails_as_scripted():
    script = Script(load_gate=asyncio.Event(), load_failure=LoadFailed("It broke."))
    loading = asyncio.create_task(ready(script))
    await settle()
    assert not loading.done()
    script.load_gate.set()
    with pytest.raises(LoadFailed, match="It broke"):
        await loading


async def test_a_death_ends_a_load_that_waits():
    server = FakeModelServer(fake_spec(), Script(load_gate=asyncio.Event()))
    await server.load(SYSTEM, [CPU], require_full=False)
    loading = asyncio.create_task(server.wait_until_running())
    await settle()
    server.die("exit code 3")
    with pytest.raises(RunnerDied, match="exit code 3"):
        await loading
    assert server.has_exited


async def test_an_answer_follows_its_script():
    gate = asyncio.Event()
    server = await ready(Script(answer=(Text(content="a"), gate, Text(content="b"), done())))
    stream = server.completion(PROMPT)
    assert await anext(stream) == Text(content="a")
    gate.set()
    assert [await anext(stream), await anext(stream)] == [Text(content="b"), done()]
    await stream.aclose()
    assert server.calls == ["load", "wait_until_running", "completion"]
    assert server.active == 0


@pytest.mark.parametrize("error", [Failed(code="out_of_memory", message="No."), OutOfMemory("No.")])
async def test_an_error_in_the_script_is_raised(error):
    server = await ready(Script(answer=(Text(content="a"), error)))
    stream = server.completion(PROMPT)
    await anext(stream)
    with pytest.raises(OutOfMemory, match="No"):
        await anext(stream)


async def test_a_closed_answer_is_recorded_as_cancelled():
    server = await ready(Script())
    stream = server.completion(PROMPT)
    await anext(stream)
    assert server.active == 1
    await stream.aclose()
    assert server.calls[-1] == "cancelled"
    assert server.active == 0


async def test_pictures_are_those_that_were_asked_for():
    server = await ready(Script())
    request = ImageRequest(prompt="a red circle", width=16, height=8, steps=1, seed=4, count=2)
    frames = [frame async for frame in server.image(request)]
    assert [type(frame) for frame in frames] == [Step, Step, Image, Image, Done]
    assert [(frame.seed, frame.width, frame.height) for frame in frames[2:4]] == [(4, 16, 8), (5, 16, 8)]
    assert server.requests == [request]


async def test_fakes_are_made_after_the_script_of_their_name():
    servers = FakeModelServers(scripts={"tiny": Script(pid=7)})
    server = servers(fake_spec(name="tiny"))
    await server.load(SYSTEM, [CPU], require_full=False)
    assert server.pid == 7
    assert servers.running("tiny") == servers.made == [server]
    await server.close()
    assert servers.running("tiny") == []
