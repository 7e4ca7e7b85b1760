"""Where the files of a service lie that nothing has loaded: made in a unit test, or by a script."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from spanserve.service.bundle.manifest import MANIFEST_NAMES, read_manifest
from spanserve.service.service import is_service


def root_of_callers(frame: FrameType) -> Path | None:
    """The root of the service whose code is called, or else of the calling module's own file.

    It is the folder of that file; where the module's top package lies beside a `bundle.yml`, that
    says it. None for code without a file.
    """
    modules = list(_modules_of(frame))
    of_service = next(filter(_has_service, modules), modules[0])
    return _root_beside(of_service)


def _modules_of(frame: FrameType | None) -> Iterator[Mapping[str, Any]]:
    while frame is not None:
        yield frame.f_globals
        frame = frame.f_back


def _has_service(module: Mapping[str, Any]) -> bool:
    name = module.get("__name__")
    return any(is_service(each) and each.__module__ == name for each in list(module.values()))


def _root_beside(module: Mapping[str, Any]) -> Path | None:
    if not isinstance(module.get("__file__"), str):
        return None
    file = Path(module["__file__"]).resolve()
    depth = str(module.get("__name__")).count(".") + (file.name == "__init__.py")
    folder = file.parents[depth]
    if any((folder / name).is_file() for name in MANIFEST_NAMES):
        return (folder / read_manifest(folder).root).resolve()
    return file.parent
