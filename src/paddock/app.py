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
from paddock.api.routes import build_api
from paddock.api.services import Services
from paddock.config import Config
from paddock.errors import PaddockError
from paddock.memory.devices import devices
from paddock.memory.observed import Observed
from paddock.memory.supply import current_supply
from paddock.scheduler.service import Scheduler
from paddock.store.library import Library
from paddock.store.packaged import install_demo_into_new_store
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
    _configure_logging(config.is_debug)
    check_platform(platform.system(), platform.machine())
    library = Library(config.models)
    with _listen(config) as listener:
        install_demo_into_new_store(library)
        asyncio.run(_serve(config, library, listener))


def _configure_logging(is_debug: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if is_debug else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s  %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


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
    """uvicorn's server, which ends without raising its signal again: the runners are stopped after it."""

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
        supply=lambda: current_supply(config.gpu_overhead_bytes),
        observed=Observed(config.home / "observed", accelerator),
        refused=stable.refused,
        is_dense_quicker=config.fast_blas and computes_faster_dense(platform.system()),
    )
    await stable.open()
    await scheduler.start()
    log.info("Paddock %s listens on %s, models in %s", __version__, config.address.url, config.models)
    server = _Server(
        uvicorn.Config(
            build_api(Services(config, library, scheduler)),
            http="h11",  # bounds the headers of a request, which the faster parser does not
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    try:
        await server.serve(sockets=[listener])
    finally:
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
