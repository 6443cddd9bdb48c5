"""The composition root: settings in, a running server out."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import platform
import socket
from types import FrameType

import uvicorn

from paddock import __version__
from paddock.api.account import current_request_id
from paddock.api.door.connections import make_room_for, server_config
from paddock.api.door.gate import HOW_TO, is_key_required
from paddock.api.door.ring import KeyRing
from paddock.api.routes import build_api
from paddock.api.services import Services
from paddock.config import Config
from paddock.errors import PaddockError
from paddock.keys import KeyFile
from paddock.logs import configure_logs
from paddock.memory.devices import devices
from paddock.memory.observed import Observed
from paddock.memory.supply import current_supply
from paddock.scheduler.service import Scheduler
from paddock.store.conversion import sweep_conversions
from paddock.store.library import Library
from paddock.store.packaged import install_demo_into_new_store
from paddock.store.pulls import Pulls
from paddock.store.serving import keep_tidy, served_alone
from paddock.supervisor.breaker import BreakerLimits
from paddock.supervisor.host import this_host
from paddock.supervisor.load_watch import Deadlines
from paddock.supervisor.machine import check_platform, computes_faster_dense
from paddock.supervisor.spare import SpareLimits
from paddock.supervisor.stable import Stable, StableLimits

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30
"""How long running answers may go on after SIGTERM; a second signal ends them at once."""


class AddressInUse(PaddockError):
    """Something else listens where the server should."""

    code = "address_in_use"


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. PaddockError, in one sentence, for whatever prevents a start."""
    configure_logs(is_debug=config.is_debug, form=config.log_format, request_id=current_request_id)
    check_platform(platform.system(), platform.machine())
    library = Library(config.models)
    with _listen(config) as listener, served_alone(config.models, config.address.url):
        install_demo_into_new_store(library)
        asyncio.run(_serve(config, library, listener))


def _listen(config: Config) -> socket.socket:
    """The listening socket, held from here until the end: nothing can take the port in between."""
    host, port = config.address.host, config.address.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"{host}:{port} is in use: another server listens there; stop it or set PADDOCK_HOST."
            ) from None
        raise AddressInUse(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from None


class _Server(uvicorn.Server):
    """uvicorn's server, which ends without raising its signal again: the runners are stopped after it.

    Pulls are not waited for: what has come of them is gone on with later.
    """

    def __init__(self, config: uvicorn.Config, pulls: Pulls) -> None:
        super().__init__(config)
        self._pulls = pulls

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain."""
        await self._pulls.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


async def _serve(config: Config, library: Library, listener: socket.socket) -> None:
    # What has been imported stays: left out of the count, full collections come by what requests and runners leave.
    gc.freeze()
    environment = {**os.environ, "PADDOCK_BLAS": "on" if config.fast_blas else "off"}
    host = this_host(environment, log_folder=config.home / "logs")
    stable = Stable(host, config.home / "run", _limits(config))
    accelerator = next((device.name for device in devices() if device.is_accelerator), "")
    scheduler = Scheduler(
        config=config,
        make_server=stable.make_server,
        prepare=library.view,
        hold=library.hold,
        supply=lambda: current_supply(config.gpu_overhead_bytes),
        observed=Observed(config.home / "observed", accelerator),
        refused=stable.refused,
        is_dense_quicker=config.fast_blas and computes_faster_dense(platform.system()),
    )
    await stable.open()
    await asyncio.to_thread(sweep_conversions, library.root)
    await scheduler.start()
    tidying = asyncio.create_task(keep_tidy(library), name="tidying")
    make_room_for(config.max_connections)
    log.info("Paddock %s listens on %s, models in %s", __version__, config.address.url, config.models)
    if is_key_required(config) and KeyRing(KeyFile(config.home)).is_empty:
        log.warning(HOW_TO)
    services = Services(config, library, scheduler, stable=stable.view)
    server = _Server(
        server_config(build_api(services), config.max_connections, timeout_graceful_shutdown=DRAIN_SECONDS),
        services.pulls,
    )
    try:
        await server.serve(sockets=[listener])
    finally:
        tidying.cancel()
        await scheduler.close()
        await stable.close()
        log.info("Paddock has stopped")


def _limits(config: Config) -> StableLimits:
    return StableLimits(
        deadlines=Deadlines(load_seconds=config.load_timeout_seconds),
        breaker=BreakerLimits(
            crashes=config.breaker_crashes,
            window_seconds=config.breaker_window_seconds,
            pause_seconds=config.breaker_pause_seconds,
        ),
        spare=SpareLimits(is_wanted=config.warm_spare),
        memory_bytes=config.memory_limit_bytes,
    )
