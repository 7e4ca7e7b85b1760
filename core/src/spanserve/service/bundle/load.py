"""A folder, a file or a module -> a service that can be made."""

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from spanserve.errors import BundleError, SpanserveError
from spanserve.service.bundle.activation import (
    CURRENT_ROOT,
    ROOT_MARK,
    Home,
    activate,
    current_root,
    home_of,
    import_from,
    mark,
    mark_root,
)
from spanserve.service.bundle.manifest import (
    MANIFEST_NAMES,
    TARGET,
    Manifest,
    listing,
    read_manifest,
)
from spanserve.service.bundle.roots import root_of_callers
from spanserve.service.bundle.targets import no_service
from spanserve.service.codecs.problems import nearest
from spanserve.service.failures import advice, last_line, named
from spanserve.service.service import is_service, service_spec
from spanserve.service.spec import ServiceSpec


@dataclass(frozen=True, slots=True, eq=False)
class LoadedService:
    """A service that was found and imported, but not made yet.

    `root` is the absolute folder of its files. `name` is the bundle's, or else the
    service's; `version` and `requirements` are the bundle's. It can be pickled: a process
    that unpickles it loads `target` again.
    """

    spec: ServiceSpec
    name: str
    version: str | None
    requirements: tuple[str, ...]
    root: Path
    target: str
    home: Home
    modules: dict[str, ModuleType]
    settings: BaseModel | None = None

    def with_settings(self, settings: BaseModel | None) -> "LoadedService":
        """Return the same service, to be made with these settings of its own."""
        return replace(self, settings=settings)

    def instantiate(self) -> Any:
        """Make the service: its `__init__` runs here, and what it raises comes through."""
        activate(self.home, self.modules)
        with current_root(self.root):
            instance = self.spec.make(self.settings)
        self.modules.update(mark(self.home))
        return instance

    def __reduce__(self) -> tuple[Callable[[str, bytes], "LoadedService"], tuple[str, bytes]]:
        # The class of the settings can be imported only once the service is.
        return _load_again, (self.target, pickle.dumps(self.settings))


def _load_again(target: str, settings: bytes) -> LoadedService:
    """Load a service whose settings another process of this server has validated."""
    service = load(target)
    return service.with_settings(pickle.loads(settings))  # noqa: S301  # the server's own


def load(target: str) -> LoadedService:
    """Find and import a service.

    `target` is a bundle's folder, a Python file with one service (or `file.py:Class`), or
    `module:Class`, looked up in the current folder and then among what is installed.
    Raises BundleError, and ServiceError where the class breaks a rule.
    """
    return find(target)()


def find(target: str) -> Callable[[], LoadedService]:
    """Find a service, and return what imports it; raises BundleError for what cannot be one."""
    place, separator, attribute = target.rpartition(":")
    if not separator:
        place, attribute = target, ""
    path = Path(target)
    if path.name in MANIFEST_NAMES and path.is_file():
        path = path.parent
    if path.is_dir():
        folder = path.resolve()
        return partial(_load_folder, folder, read_manifest(folder))
    if place.endswith(".py"):
        return partial(_load_file, _file(Path(place).resolve(), place), attribute)
    if TARGET.fullmatch(target):
        return partial(_load_module, Path.cwd(), place, attribute)
    raise BundleError(no_service(target))


def bundle_path(name: str | os.PathLike[str]) -> Path:
    """The absolute path of a file of the bundle, in its code and its service's methods.

    Of a service that is made without a bundle, as in a unit test, files lie beside its own.
    Raises BundleError for a path that is not there or leads out of the bundle.
    """
    caller = sys._getframe(1)  # noqa: SLF001 - the caller says whose file
    root = CURRENT_ROOT.get() or _root_of_module(caller.f_globals) or root_of_callers(caller)
    if root is None:
        raise BundleError(
            f"bundle_path({str(name)!r}) outside of a bundle: call it in code that is in a file"
        )
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise BundleError(f"bundle_path({str(name)!r}) leads out of the bundle {root}")
    if not path.exists():
        folder = path.parent if path.parent.is_dir() else root
        raise BundleError(f"{path} is not there (in {folder}: {listing(folder)})")
    return path


def _root_of_module(names: dict[str, Any]) -> Path | None:
    root = names.get(ROOT_MARK)
    return root if isinstance(root, Path) else None


def _load_folder(folder: Path, manifest: Manifest) -> LoadedService:
    module_name, _, attribute = manifest.service.partition(":")
    home = home_of(folder, (folder / manifest.root).resolve())
    module = _imported(home, module_name, str(folder))
    return _loaded(home, module, attribute, str(folder), manifest)


def _file(file: Path, asked: str) -> Path:
    if not file.is_file():
        raise BundleError(
            f"there is no file {asked!r} (in {file.parent}: {listing(file.parent, '*.py')})"
            f"{nearest(file.name, [each.name for each in file.parent.glob('*.py')])}"
        )
    if not file.stem.isidentifier():
        raise BundleError(f"{file.name} cannot be imported: rename it to letters, digits and '_'")
    return file


def _load_file(file: Path, attribute: str) -> LoadedService:
    home = home_of(file.parent, file.parent)
    module = _imported(home, file.stem, str(file))
    if Path(module.__file__ or "").resolve() != file:
        raise BundleError(f"{file.name} has the name of the module {module.__name__}; rename it")
    attribute = attribute or _only_service(module, file)
    return _loaded(home, module, attribute, f"{file}:{attribute}")


def _load_module(folder: Path, module_name: str, attribute: str) -> LoadedService:
    target = f"{module_name}:{attribute}"
    home = home_of(folder, _module_root(folder, module_name))
    module = _imported(home, module_name, target)
    # It may be installed, and so lie elsewhere than in the current folder.
    root = Path(module.__file__).resolve().parent if module.__file__ else home.root
    mark_root(module, root)
    return _loaded(replace(home, root=root), module, attribute, target)


def _module_root(folder: Path, module_name: str) -> Path:
    """Where the files of a module of this folder lie; the folder if it is not found there."""
    place = folder.joinpath(*module_name.split("."))
    if (place / "__init__.py").is_file():
        return place
    return place.parent if place.with_suffix(".py").is_file() else folder


def _imported(home: Home, module_name: str, asked: str) -> ModuleType:
    try:
        return import_from(home, module_name)
    except SpanserveError:
        raise
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise BundleError(
                f"{asked}: there is no module {module_name!r} "
                f"(in {home.folder}: {listing(home.folder, '*.py')})"
            ) from error
        raise BundleError(
            f"{asked}: importing {module_name} failed: {named(error)}"
            f"{last_line(error, home.folder)}{advice(error, '; ')}"
        ) from error


def _only_service(module: ModuleType, file: Path) -> str:
    found = {
        name: thing
        for name, thing in vars(module).items()
        if is_service(thing) and name == thing.__name__
    }
    own = [name for name, thing in found.items() if thing.__module__ == module.__name__]
    names = own or list(found)
    if not names:
        raise BundleError(f"{file} has no service; write @service above a class")
    if len(names) > 1:
        targets = ", ".join(f"{file.name}:{name}" for name in names)
        raise BundleError(f"{file} has {len(names)} services; choose one of {targets}")
    return names[0]


def _loaded(
    home: Home, module: ModuleType, attribute: str, target: str, manifest: Manifest | None = None
) -> LoadedService:
    spec = service_spec(_class_of(module, attribute, target))
    return LoadedService(
        spec=spec,
        name=(manifest and manifest.name) or spec.name,
        version=manifest.version if manifest else None,
        requirements=manifest.requirements if manifest else (),
        root=home.root,
        target=target,
        home=home,
        modules=mark(home),
    )


def _class_of(module: ModuleType, attribute: str, asked: str) -> type[Any]:
    thing = getattr(module, attribute, None)
    if is_service(thing):
        return thing
    services = [name for name, each in vars(module).items() if is_service(each)]
    there = ", ".join(services) or "none"
    what = f"has no {attribute!r}" if thing is None else f"has {attribute!r}, which is no service"
    raise BundleError(
        f"{asked}: the module {module.__name__} {what} (services there: {there})"
        f"{nearest(attribute, services) or '; write @service above the class'}"
    )
