"""The house of spanserve: what each module may import."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CORE = REPOSITORY / "core" / "src" / "spanserve"
PLUGINS = sorted((REPOSITORY / "plugins").glob("*/src/*"))
PLUGIN_NAMES = {folder.name for folder in PLUGINS if folder.is_dir()}

FLOORS = ("errors", "service", "config", "tracing", "batching", "server", "cli")
# `commands` is the cli's own folder. The built-in tracers stand beside the house, as plugins do:
# they see what tracing sees and each other; only the cli, which shows what they draw, sees them.
SAME_FLOOR = {"commands": "cli", "tracers": "tracing"}
# Two of them look for OpenTelemetry's own exporters and propagators, in OpenTelemetry's groups.
MAY_READ_ENTRY_POINTS = {
    "tracing/plugins/registry.py",
    "tracers/otel.py",
    "config/opentelemetry.py",
}
MAY_KNOW_PLUGGY = {
    "tracing/hookspecs.py",
    "tracing/plugins/registry.py",
    "tracing/plugins/loading.py",
    "tracing/tracing.py",
}
# hookspecs names FastAPI for the type checker; a tracer that adds routes of its own needs it.
MAY_KNOW_FASTAPI_FOR_TYPES = {"tracing/hookspecs.py"}
PUBLIC_TO_PLUGINS = {"spanserve", "spanserve.tracers.otel"}

CORE_MODULES = sorted(CORE.rglob("*.py"))


def imports(path: Path, *, run_time_only: bool = False) -> Iterator[str]:
    """Yield the full names of what a module imports, in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _nodes(tree, run_time_only=run_time_only):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _nodes(node: ast.AST, *, run_time_only: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and run_time_only and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _nodes(child, run_time_only=run_time_only)


def relative(path: Path) -> str:
    return path.relative_to(CORE).as_posix()


def floor_of(parts: tuple[str, ...]) -> int | None:
    """Return the floor of a module, by its name's parts below `spanserve`; None beside them."""
    name = parts[0].removesuffix(".py")
    name = SAME_FLOOR.get(name, name)
    return FLOORS.index(name) if name in FLOORS else None


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("path", CORE_MODULES, ids=relative)
def test_a_module_imports_from_its_own_floor_and_lower_ones_only(path: Path) -> None:
    own = floor_of(path.relative_to(CORE).parts)
    if own is None:
        return
    public = {f"spanserve.{name}" for name in _exported(CORE / "__init__.py")}
    for name in imports(path):
        if top(name) != "spanserve":
            continue
        parts = tuple(name.split(".")[1:])
        assert parts, f"{path} imports the package itself"
        if name in public:
            assert path.relative_to(CORE).parts[0] in {"tracers", "commands"}, (
                f"{relative(path)} imports {name} from the shop window"
            )
            continue
        floor = floor_of(parts)
        assert floor is not None, f"{relative(path)} imports {name}, which is on no floor"
        assert floor <= own, f"{relative(path)} imports {name} from a higher floor"
        sees_tracers = path.relative_to(CORE).parts[0] in {"tracers", "commands", "cli.py"}
        assert parts[0] != "tracers" or sees_tracers, f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", CORE_MODULES, ids=relative)
def test_core_never_imports_a_plugin(path: Path) -> None:
    assert not {top(name) for name in imports(path)} & PLUGIN_NAMES


@pytest.mark.parametrize("path", CORE_MODULES, ids=relative)
def test_only_one_module_reads_entry_points(path: Path) -> None:
    names = set(imports(path))
    assert "importlib.metadata.entry_points" not in names, "one broken distribution fails it"
    reads = "spanserve.config.entries.sound_entry_points" in names
    assert not reads or relative(path) in MAY_READ_ENTRY_POINTS


@pytest.mark.parametrize("path", CORE_MODULES, ids=relative)
def test_only_hookspecs_loading_and_the_gate_know_pluggy(path: Path) -> None:
    knows = "pluggy" in {top(name) for name in imports(path)}
    assert not knows or relative(path) in MAY_KNOW_PLUGGY


@pytest.mark.parametrize("path", CORE_MODULES, ids=relative)
def test_only_the_server_knows_fastapi(path: Path) -> None:
    web = {"fastapi", "starlette", "uvicorn"}
    if path.is_relative_to(CORE / "server"):
        return
    allowed_to_run = floor_of(path.relative_to(CORE).parts) == FLOORS.index("cli")
    at_run_time = {top(name) for name in imports(path, run_time_only=True)} & web
    named = {top(name) for name in imports(path)} & web
    assert not at_run_time - ({"uvicorn"} if allowed_to_run else set())
    assert named == at_run_time or relative(path) in MAY_KNOW_FASTAPI_FOR_TYPES


@pytest.mark.parametrize(
    "path",
    [path for folder in PLUGINS for path in sorted(folder.rglob("*.py"))],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_a_plugin_imports_public_names_only_and_no_other_plugin(path: Path) -> None:
    own = next(folder.name for folder in PLUGINS if path.is_relative_to(folder))
    public = _exported(CORE / "__init__.py")
    for name in imports(path):
        if top(name) == "spanserve":
            module, _, attribute = name.rpartition(".")
            assert module in PUBLIC_TO_PLUGINS, f"{path.name} imports {name}"
            assert module != "spanserve" or attribute in public, f"{name} is not public"
        assert top(name) not in PLUGIN_NAMES - {own}, f"{path.name} imports {name}"


def _exported(init: Path) -> set[str]:
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def test_init_modules_only_export_again_what_they_sort() -> None:
    for path in CORE.rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        kinds = {type(node) for node in body}
        assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}, relative(path)
    exported = list(ast.literal_eval(_all_node(CORE / "__init__.py")))
    assert len(exported) == len(set(exported))
    imported = {name.rpartition(".")[2] for name in imports(CORE / "__init__.py")}
    assert set(exported) == imported


def _all_node(init: Path) -> ast.expr:
    body = ast.parse(init.read_text(encoding="utf-8")).body
    return next(node.value for node in body if isinstance(node, ast.Assign))


def test_core_uses_only_what_it_depends_on() -> None:
    allowed = {
        "fastapi",
        "h11",
        "httptools",
        "numpy",
        "opentelemetry",
        "packaging",
        "pluggy",
        "prometheus_client",
        "pydantic",
        "pydantic_core",
        "rich",
        "spanserve",
        "starlette",
        "typer",
        "uvicorn",
        "yaml",
    }
    demo = CORE / "commands" / "demo"
    of_demo = {"httpx", "joblib", "sklearn"}  # the extra `spanserve[demo]`
    for path in CORE_MODULES:
        found = {top(name) for name in imports(path)} - set(sys.stdlib_module_names)
        assert found <= (allowed | of_demo if path.is_relative_to(demo) else allowed), path


def test_the_floors_are_all_there() -> None:
    assert {path.name.removesuffix(".py") for path in CORE.iterdir()} >= set(FLOORS)
