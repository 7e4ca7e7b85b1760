"""The house of spanserve: what each module may import, and how large rooms and modules may be.

Each rule is one test, which lists what breaks it. Where today's code does, a list names it; such
a list only gets shorter: what no longer breaks the rule has to leave it.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CORE = REPOSITORY / "core" / "src" / "spanserve"
TESTS = REPOSITORY / "tests"
PLUGINS = sorted(
    folder for folder in (REPOSITORY / "plugins").glob("*/src/spanserve_*") if folder.is_dir()
)
PLUGIN_NAMES = {folder.name for folder in PLUGINS}

FLOORS = ("errors", "service", "config", "tracing", "running", "batching", "server", "cli")
NOT_YET: set[str] = set()
# `commands` is the cli's own folder. The built-in tracers stand beside the house, as plugins do:
# they see what tracing sees and each other; only the cli, which shows what they draw, sees them.
SAME_FLOOR = {"commands": "cli", "tracers": "tracing"}
# `testing` is for those who test services and plugins: it sees everything, and nothing sees it.
BESIDE_THE_FLOORS = {"testing", "__init__", "__main__"}
# The rooms of tracing, from the lowest; those of one line may import each other.
TRACING_ROOMS = (
    ("model", "hookspecs"),
    ("plugins",),
    ("propagation",),
    ("recording", "admission", "scope"),
    ("expansion",),
    ("export", "live", "otel"),
    ("tracing",),
)
IMPORTS_UPWARDS = {
    "tracing/propagation/passing.py imports tracing.recording",
}
# Rooms of one floor that import each other: where one ends is not clear there.
ENTANGLED = {
    ("server.access", "server.http"),
    ("server.formats", "server.http"),
    ("server.direct", "server.process"),
    ("service.codecs", "service.results"),
    ("tracing.admission", "tracing.recording"),
    ("tracing.propagation", "tracing.recording"),
}

MOST_MODULES_OF_A_ROOM = 12  # a room's shop window, `__init__.py`, is not counted
LARGER_ROOMS: set[str] = set()
MOST_LINES_OF_A_MODULE = 300
LONGER_MODULES = {
    "core/src/spanserve/batching/batcher.py",
    "core/src/spanserve/server/connections/connection.py",
    "core/src/spanserve/server/endpoint.py",
    "core/src/spanserve/server/http/answer.py",
    "core/src/spanserve/tracing/tracing.py",
}
MOST_LINES_OF_THOSE = 400

# Some look for OpenTelemetry's own exporters and propagators, in OpenTelemetry's groups.
MAY_READ_ENTRY_POINTS = {
    "tracing/plugins/commands.py",
    "tracing/plugins/registry.py",
    "tracers/otel.py",
    "config/names.py",
    "config/opentelemetry.py",
    "running/discovery.py",
    "tracing/propagation/others.py",
}
MAY_KNOW_PLUGGY = {
    "tracing/hookspecs.py",
    "tracing/plugins/registry.py",
    "tracing/plugins/hooks.py",
    "tracing/plugins/loading.py",
}
# They name FastAPI for the type checker; a tracer that adds routes of its own needs it.
MAY_KNOW_FASTAPI_FOR_TYPES = {"tracing/hookspecs.py", "tracing/plugins/tracer.py"}
PUBLIC_TO_PLUGINS = {"spanserve", "spanserve.tracers.otel"}
DEPENDENCIES = {
    "fastapi",
    "h11",
    "httptools",
    "msgpack",
    "numpy",
    "opentelemetry",
    "packaging",
    "pluggy",
    "prometheus_client",
    "pydantic",
    "pydantic_core",
    "python_multipart",
    "rich",
    "spanserve",
    "starlette",
    "typer",
    "typing_extensions",
    "uvicorn",
    "yaml",
}
DEPENDENCIES_OF_EXTRAS = {
    "commands/demo": {"httpx", "joblib", "sklearn"},
    "commands/reload.py": {"watchfiles"},
    "testing": {"httpx"},
}
# What tests stand for that no module of core has as a name.
FOLDERS_OF_TESTS = {"campaign", "plugins", "project", "servers", "support", "whole"}

CORE_MODULES = sorted(CORE.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, *, run_time_only: bool = False) -> frozenset[str]:
    """Return the full names of what a module imports, in functions too."""
    found = set()
    for node in _nodes(parsed(path), run_time_only=run_time_only):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"{'.' * node.level}{node.module or ''}"
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _nodes(node: ast.AST, *, run_time_only: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and run_time_only and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _nodes(child, run_time_only=run_time_only)


def relative(path: Path) -> str:
    return path.relative_to(CORE).as_posix()


def parts_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(CORE).with_suffix("").parts


def own_imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a module imports of spanserve, as the parts of each name below `spanserve`."""
    for name in sorted(imports(path)):
        if top(name) == "spanserve":
            yield tuple(name.split(".")[1:])


def floor_of(parts: tuple[str, ...]) -> int | None:
    """Return the floor of a module, by its name's parts below `spanserve`; None beside them."""
    name = SAME_FLOOR.get(parts[0], parts[0])
    return FLOORS.index(name) if name in FLOORS else None


def top(name: str) -> str:
    return name.partition(".")[0]


def room_of(parts: tuple[str, ...]) -> str:
    """Return the folder or module of its floor that something is in."""
    return ".".join(parts[:2])


def exported(init: Path) -> list[str]:
    """Return the names of `__all__`, as they stand."""
    for node in parsed(init).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


PUBLIC = set(exported(CORE / "__init__.py"))


def test_every_module_is_on_a_floor_and_every_floor_is_there() -> None:
    names = {parts_of(path)[0] for path in CORE_MODULES}

    assert names - BESIDE_THE_FLOORS - SAME_FLOOR.keys() - NOT_YET == set(FLOORS) - NOT_YET


def test_a_module_imports_from_its_own_floor_and_lower_ones_only() -> None:
    assert [words for path in CORE_MODULES for words in _floor_breaches(path)] == []


def _floor_breaches(path: Path) -> Iterator[str]:
    own, room = floor_of(parts_of(path)), parts_of(path)[0]
    if any(name.startswith(".") for name in imports(path)):
        yield f"{relative(path)} has a relative import"
    if own is None:
        return
    for parts in own_imports(path):
        words = f"{relative(path)} imports {'.'.join(parts)}"
        if len(parts) == 1 and parts[0] in PUBLIC:
            if room not in {"tracers", "commands"}:
                yield f"{words} from the shop window"
            continue
        floor = floor_of(parts)
        if floor is None:
            yield f"{words}, which is on no floor"
        elif floor > own:
            yield f"{words} from a higher floor"
        elif parts[0] == "tracers" and room not in {"tracers", "commands", "cli"}:
            yield f"{words}, a plugin"


def test_the_rooms_of_tracing_import_from_lower_ones_only() -> None:
    height = {room: place for place, rooms in enumerate(TRACING_ROOMS) for room in rooms}
    modules = [path for path in CORE_MODULES if path.parent != CORE and _in(path, "tracing")]
    assert {parts_of(path)[1] for path in modules} - {"__init__"} <= height.keys()

    upwards = {
        f"{relative(path)} imports {room_of(parts)}"
        for path in modules
        for parts in own_imports(path)
        if parts[0] == "tracing" and height[parts[1]] > height.get(parts_of(path)[1], 0)
    }

    assert upwards == IMPORTS_UPWARDS


def _in(path: Path, floor: str) -> bool:
    return path.is_relative_to(CORE / floor)


def test_rooms_do_not_import_each_other() -> None:
    seen: dict[str, set[str]] = {}
    for path in CORE_MODULES:
        if len(parts_of(path)) > 2:
            seen.setdefault(room_of(parts_of(path)), set()).update(
                room_of(parts) for parts in own_imports(path)
            )

    entangled = {
        (one, other)
        for one, other in combinations(sorted(seen), 2)
        if other in seen[one] and one in seen[other]
    }

    assert entangled == ENTANGLED


def test_a_room_has_a_dozen_modules_at_most() -> None:
    rooms = {path.parent for folder in (CORE, *PLUGINS) for path in folder.rglob("*.py")}
    sizes = {
        room.relative_to(REPOSITORY).as_posix(): len(
            [path for path in room.glob("*.py") if path.name != "__init__.py"]
        )
        for room in rooms
    }

    assert {room for room, size in sizes.items() if size > MOST_MODULES_OF_A_ROOM} == LARGER_ROOMS


def test_a_module_has_300_lines_at_most() -> None:
    lengths = {
        path.relative_to(REPOSITORY).as_posix(): len(path.read_text("utf-8").splitlines())
        for folder in (CORE, *PLUGINS)
        for path in folder.rglob("*.py")
    }
    longer = {name for name, length in lengths.items() if length > MOST_LINES_OF_A_MODULE}

    assert longer == LONGER_MODULES
    assert [name for name in longer if lengths[name] > MOST_LINES_OF_THOSE] == []


def test_core_never_imports_a_plugin() -> None:
    assert [
        relative(path)
        for path in CORE_MODULES
        if PLUGIN_NAMES & {top(name) for name in imports(path)}
    ] == []


def test_few_modules_read_entry_points() -> None:
    unsound = "importlib.metadata.entry_points"  # one broken distribution fails it
    reads = "spanserve.config.entries.sound_entry_points"

    assert [relative(path) for path in CORE_MODULES if unsound in imports(path)] == []
    assert {
        relative(path) for path in CORE_MODULES if reads in imports(path)
    } <= MAY_READ_ENTRY_POINTS


def test_only_hookspecs_loading_and_the_gate_know_pluggy() -> None:
    knows = {
        relative(path) for path in CORE_MODULES if "pluggy" in {top(name) for name in imports(path)}
    }

    assert knows <= MAY_KNOW_PLUGGY


def test_only_the_server_knows_fastapi() -> None:
    assert [words for path in CORE_MODULES for words in _web_breaches(path)] == []


def _web_breaches(path: Path) -> Iterator[str]:
    if _in(path, "server"):
        return
    web = {"fastapi", "starlette", "uvicorn"}
    runs_servers = _in(path, "testing") or floor_of(parts_of(path)) == FLOORS.index("cli")
    allowed = {"uvicorn"} if runs_servers else set()
    at_run_time = {top(name) for name in imports(path, run_time_only=True)} & web
    named = {top(name) for name in imports(path)} & web
    for name in at_run_time - allowed:
        yield f"{relative(path)} imports {name}"
    if relative(path) not in MAY_KNOW_FASTAPI_FOR_TYPES:
        for name in named - at_run_time:
            yield f"{relative(path)} names {name} in its types"


def test_a_plugin_imports_public_names_only_and_no_other_plugin() -> None:
    assert [
        words
        for folder in PLUGINS
        for path in sorted(folder.rglob("*.py"))
        for words in _plugin_breaches(path, folder.name)
    ] == []


def _plugin_breaches(path: Path, own: str) -> Iterator[str]:
    for name in sorted(imports(path)):
        module, _, attribute = name.rpartition(".")
        public = module in PUBLIC_TO_PLUGINS and (module != "spanserve" or attribute in PUBLIC)
        if (top(name) == "spanserve" and not public) or top(name) in PLUGIN_NAMES - {own}:
            yield f"{own}/{path.name} imports {name}"


def test_init_modules_only_export_again_what_they_sort() -> None:
    inits = [path for path in CORE_MODULES if path.name == "__init__.py"]
    shop_window = CORE / "__init__.py"

    assert [
        relative(path)
        for path in inits
        if not {type(node) for node in parsed(path).body} <= {ast.Expr, ast.ImportFrom, ast.Assign}
    ] == []
    assert len(exported(shop_window)) == len(PUBLIC)
    assert {name.rpartition(".")[2] for name in imports(shop_window)} == PUBLIC


def test_one_typed_object_calls_all_hooks() -> None:
    gate = CORE / "tracing" / "plugins" / "hooks.py"

    assert [
        f"{relative(path)}:{node.lineno}"
        for path in CORE_MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr == "hook" and path != gate
    ] == []


def test_core_uses_only_what_it_depends_on() -> None:
    allowed = DEPENDENCIES | set(sys.stdlib_module_names)

    assert [
        f"{relative(path)} imports {name}"
        for path in CORE_MODULES
        for name in {top(name) for name in imports(path)} - allowed
        if not any(_in(path, room) and name in of for room, of in DEPENDENCIES_OF_EXTRAS.items())
    ] == []


def test_tests_are_in_folders_named_as_what_they_test() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    plugins = {path.parents[1].name for path in PLUGINS}

    assert [
        folder.as_posix()
        for folder in folders
        if not (CORE / folder).is_dir()
        and folder.parts[0] not in FOLDERS_OF_TESTS
        and not (folder.parts[0] == "plugins" and folder.name in plugins)
    ] == []


def test_tests_send_signals_only_to_what_they_started() -> None:
    """`support.serving.signal_to` looks whether they did: 0 is the tests' own group, -1 is all."""
    # The others end themselves.
    own = {
        "support/serving.py",
        "support/fake_tracers/solo.py",
        "support/services/replicated.py",
    }
    by_hand = {"build_image.py", "campaign/scenarios.py"}

    assert {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.kill", "os.killpg"}
    } == own | by_hand
