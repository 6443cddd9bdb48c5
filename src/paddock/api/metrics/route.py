"""GET /metrics: every figure, in Prometheus' text format or in OpenMetrics, as the client asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.door.bodies import Bodies
from paddock.api.metrics.seen import bodies_family, families
from paddock.api.services import Services, services_of

_OPENMETRICS = "application/openmetrics-text"
_WHEN_MADE = "_created"
"""Ends the names of what the library adds to each counter: when it was made, which nobody asked for."""


class _Everything(Collector):
    """What was counted and what is seen now."""

    def __init__(self, services: Services, bodies: Bodies) -> None:
        self._services = services
        self._bodies = bodies

    def collect(self) -> Iterable[Metric]:
        """All families, each once."""
        yield from families(self._services)
        yield bodies_family(self._bodies.held_bytes)
        yield from _without_times(self._services.counted.registry.collect())


async def metrics(request: Request) -> Response:
    """GET /metrics. It waits half a second at the most for runners to say what they hold."""
    services = services_of(request)
    await services.scheduler.look()
    everything = _Everything(services, request.app.state.bodies)
    if _OPENMETRICS in request.headers.get("accept", ""):
        content_type = openmetrics.CONTENT_TYPE_LATEST
        text = openmetrics.generate_latest(everything)  # type: ignore[no-untyped-call]
    else:
        content_type = CONTENT_TYPE_PLAIN_0_0_4
        text = generate_latest(everything)
    return Response(text, headers={"Content-Type": content_type})


def _without_times(found: Iterable[Metric]) -> Iterator[Metric]:
    for family in found:
        family.samples = [sample for sample in family.samples if not sample.name.endswith(_WHEN_MADE)]
        yield family
