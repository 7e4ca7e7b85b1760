"""How the tests are shared among several processes, with `pytest -n 2`."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

WHOLE = "tests/whole/"


class ByModule(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """The tests of a module run in one process, and so share its servers.

    All of `tests/whole` runs in one, so that each real Zipkin and Jaeger is started once.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # in the order of collection

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(WHOLE):
            return WHOLE
        scope: str = super()._split_scope(nodeid)
        return scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByModule | None:
    """Share the tests by modules, unless `--dist` asks for another way."""
    return ByModule(config, log) if config.option.dist == "load" else None  # what `-n` stands for


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it."""
    items.sort(key=lambda item: not item.nodeid.startswith(WHOLE))
