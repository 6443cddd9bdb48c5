"""What is brought in comes from the fake Hub here, as registries share all of it."""

from tests.store.hub.conftest import hub, library, puller

__all__ = ["hub", "library", "puller"]
