"""What a spawned process runs."""

from spanserve.service.bundle.load import LoadedService


def made_and_called(loaded: LoadedService, method: str) -> object:
    """Make the service and call one of its methods without arguments."""
    return getattr(loaded.instantiate(), method)()
