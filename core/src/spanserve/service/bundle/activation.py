"""Which bundle's code `import` finds.

A bundle's folder goes first on `sys.path`, as a script's does, and stays there: its code may
import later, and its pickles name its modules. Another bundle that is loaded or instantiated
takes its place, and the modules of the first leave `sys.modules`, so that two bundles with a
`service.py` each do not get each other's. (What a method of the first imports only after that
comes from the second, until the first is instantiated again.) Each module of a bundle carries
a mark, so this module keeps no state.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HOME_MARK = "__spanserve_home__"
ROOT_MARK = "__spanserve_root__"
CURRENT_ROOT: ContextVar[Path | None] = ContextVar("spanserve_bundle_root", default=None)


@dataclass(frozen=True, slots=True)
class Home:
    """`folder`: where imports are looked up. `root`: where the bundle's files are.

    `earlier` are the modules of that folder that had been imported by others before.
    """

    folder: Path
    root: Path
    earlier: frozenset[str]


def home_of(folder: Path, root: Path) -> Home:
    """The home of code that is not imported yet."""
    return Home(folder, root, frozenset(_modules_in(folder, without_marks=True)))


def import_from(home: Home, module: str) -> ModuleType:
    """Import a module of the bundle; whatever its code raises comes through.

    After a failure nothing of the bundle stays imported.
    """
    activate(home, {})
    aside = _set_aside(home)
    try:
        with current_root(home.root):
            loaded = importlib.import_module(module)
    except BaseException:
        _leave(home)
        sys.modules.update(aside)
        raise
    for name, each in aside.items():
        sys.modules.setdefault(name, each)
    mark(home)
    return loaded


def activate(home: Home, modules: Mapping[str, ModuleType]) -> None:
    """Have imports find this bundle, with those of its modules that it has imported before."""
    active = _active_homes()
    for other in active:
        if other.folder != home.folder:
            _leave(other)
    folder = str(home.folder)
    if folder not in sys.path or home.folder not in {each.folder for each in active}:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    for name, module in modules.items():
        sys.modules[name] = module


def mark(home: Home) -> dict[str, ModuleType]:
    """Mark the bundle's modules as its own; returns them."""
    modules = _modules_in(home.folder)
    for module in modules.values():
        mark_root(module, home.root)
    own = {name: module for name, module in modules.items() if name not in home.earlier}
    for module in own.values():
        vars(module).setdefault(HOME_MARK, home)
    return own


def mark_root(module: ModuleType, root: Path) -> None:
    """`bundle_path`, called in this module, answers for this folder from now on."""
    vars(module)[ROOT_MARK] = root


@contextmanager
def current_root(root: Path) -> Iterator[None]:
    """`bundle_path` answers for this folder inside the `with`."""
    token = CURRENT_ROOT.set(root)
    try:
        yield
    finally:
        CURRENT_ROOT.reset(token)


def _active_homes() -> set[Home]:
    marks = (vars(module).get(HOME_MARK) for module in _modules().values())
    return {home for home in marks if isinstance(home, Home)}


def _leave(home: Home) -> None:
    for name in mark(home):
        del sys.modules[name]
    if str(home.folder) in sys.path:
        sys.path.remove(str(home.folder))


def _set_aside(home: Home) -> dict[str, ModuleType]:
    """Modules from elsewhere with the name of one of the bundle's, out of its way.

    The standard library stays: half of it is in use already.
    """
    own = {each.stem for each in home.folder.glob("*.py")}
    own |= {each.parent.name for each in home.folder.glob("*/__init__.py")}
    own -= set(sys.stdlib_module_names)
    inside = _modules_in(home.folder)
    foreign = {
        name: module
        for name, module in _modules().items()
        if name.partition(".")[0] in own and name not in inside
    }
    for name in foreign:
        del sys.modules[name]
    return foreign


def _modules_in(folder: Path, *, without_marks: bool = False) -> dict[str, ModuleType]:
    """The imported modules whose top package or module lies directly in the folder."""
    modules = _modules()
    tops = {name for name, module in modules.items() if _is_top_of(folder, name, module)}
    return {
        name: module
        for name, module in modules.items()
        if name.partition(".")[0] in tops and not (without_marks and HOME_MARK in vars(module))
    }


def _is_top_of(folder: Path, name: str, module: ModuleType) -> bool:
    if "." in name or name == "__main__":
        return False
    file = vars(module).get("__file__")
    if isinstance(file, str):
        place = Path(file)
        return place.parent == folder or place.parent == folder / name
    return any(Path(each) == folder / name for each in vars(module).get("__path__") or ())


def _modules() -> dict[str, ModuleType]:
    # Some libraries put other objects into sys.modules.
    modules: dict[str, object] = dict(sys.modules)
    return {name: each for name, each in modules.items() if isinstance(each, ModuleType)}
