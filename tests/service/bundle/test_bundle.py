"""Folders, files and modules become services; their code and files stay their own."""

import importlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from spanserve.errors import BundleError, ServiceError
from spanserve.service.bundle.load import load
from support.bundles import written
from support.calling import made_and_called

SERVICE = """
from helpers import GREETING
from spanserve.service.bundle.load import bundle_path
from spanserve.service.service import api, service

AT_IMPORT = bundle_path("words.txt").read_text()


@service
class Greeter:
    def __init__(self):
        self.words = bundle_path("words.txt").read_text()

    @api
    def greet(self) -> str:
        import lazy

        return f"{GREETING} {AT_IMPORT} {self.words} {lazy.WORD} {bundle_path('words.txt').name}"

    def path_of(self, name):
        return bundle_path(name)
"""

FINDS = """
{import_}
from spanserve import api, bundle_path, service


@service
class Churn:
    def __init__(self):
        self.words = read()

    @api
    def answer(self) -> str:
        return self.words

    def find(self, name):
        return bundle_path(name)
"""

READS = """
from spanserve import bundle_path


def read():
    return bundle_path("words.txt").read_text()
"""

ONE_API = """
from spanserve.service.service import api, service


@service
class {name}:
    @api
    def answer(self) -> int:
        return {value}
"""


@pytest.fixture(autouse=True)
def imports_undone(tmp_path: Path) -> Iterator[None]:
    """What a test loads does not stay imported."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def greeter(folder: Path, greeting: str, manifest: str = "service: service:Greeter") -> Path:
    """A bundle of four files that greets with its own words."""
    folder.mkdir(parents=True)
    (folder / "bundle.yml").write_text(manifest)
    (folder / "service.py").write_text(SERVICE)
    (folder / "helpers.py").write_text(f"GREETING = {greeting!r}")
    (folder / "lazy.py").write_text(f"WORD = {greeting + ' later'!r}")
    (folder / "words.txt").write_text(f"to {folder.name}")
    return folder


def single(file: Path, **values: int) -> Path:
    """A file with one service for each name, which answers with its value."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(ONE_API.format(name=name, value=values[name]) for name in values))
    return file


def refusal(target: object) -> str:
    """The message with which a target is refused."""
    with pytest.raises(BundleError) as caught:
        load(str(target))
    return str(caught.value)


def test_a_folder_is_loaded_with_its_siblings_and_files(tmp_path: Path) -> None:
    folder = greeter(
        tmp_path / "one",
        "hello",
        "service: service:Greeter\nname: greet\nversion: 1.10\nrequirements: [numpy>=2]",
    )
    loaded = load(str(folder))
    assert (loaded.name, loaded.version, loaded.requirements, loaded.root, loaded.spec.name) == (
        "greet",
        "1.10",
        ("numpy>=2",),
        folder,
        "Greeter",
    )
    assert loaded.instantiate().greet() == "hello to one to one hello later words.txt"


def test_a_folder_is_loaded_from_anywhere_by_its_manifest_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = greeter(tmp_path / "one", "hello")
    (folder / "bundle.yml").rename(folder / "bundle.yaml")
    monkeypatch.chdir(tmp_path)
    assert load("one").root == load("one/bundle.yaml").root == folder
    monkeypatch.chdir("/")
    assert load(os.path.relpath(folder)).instantiate().greet().startswith("hello")


def test_two_bundles_with_the_same_module_names_are_not_mixed(tmp_path: Path) -> None:
    first = load(str(greeter(tmp_path / "one", "hello")))
    second = load(str(greeter(tmp_path / "two", "good day")))
    assert first.spec.cls is not second.spec.cls
    for _ in range(2):
        assert first.instantiate().greet() == "hello to one to one hello later words.txt"
        assert second.instantiate().greet() == "good day to two to two good day later words.txt"
    assert [path for path in sys.path if path.startswith(str(tmp_path))] == [str(second.root)]


def test_a_foreign_module_of_the_same_name_is_not_taken(tmp_path: Path) -> None:
    single(tmp_path / "elsewhere" / "helpers.py", Other=1)
    sys.path.insert(0, str(tmp_path / "elsewhere"))
    __import__("helpers")
    loaded = load(str(greeter(tmp_path / "one", "hello")))
    assert loaded.instantiate().greet().startswith("hello")


def test_a_folder_is_loaded_twice_with_one_class(tmp_path: Path) -> None:
    folder = str(greeter(tmp_path / "one", "hello"))
    before = list(sys.path)
    assert load(folder).spec is load(folder).spec
    assert sys.path == [folder, *before]


def test_a_read_only_folder_is_loaded(tmp_path: Path) -> None:
    folder = greeter(tmp_path / "one", "hello")
    for each in (*folder.iterdir(), folder):
        each.chmod(0o555 if each.is_dir() else 0o444)
    try:
        assert load(str(folder)).instantiate().greet().startswith("hello")
    finally:
        folder.chmod(0o755)


def test_a_spawned_process_loads_it_again(tmp_path: Path) -> None:
    loaded = load(str(greeter(tmp_path / "one", "hello")))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.apply(made_and_called, (loaded, "greet"))
        pool.close()
        pool.join()
    assert answer == "hello to one to one hello later words.txt"
    assert pickle.loads(pickle.dumps(loaded)).spec.cls is loaded.spec.cls


def test_a_folders_objects_are_pickled_by_its_modules_names(tmp_path: Path) -> None:
    folder = greeter(tmp_path / "one", "hello")
    instance = load(str(folder)).instantiate()
    copy = pickle.loads(pickle.dumps(instance))
    assert (type(copy), copy.words) == (type(instance), "to one")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            "service: service:Greeter\nnam: x",
            "(known: service, name, version, requirements, root); did you mean 'name'?",
        ),
        ("name: x", "bundle.yml: the key 'service' is missing; write: service: 'module:Class'"),
        (
            "service: service",
            "is in the folder (there: helpers.py, lazy.py, service.py)",
        ),
        ("service: [a]", "bundle.yml: service: Input should be a valid string"),
        ("service: service:Greeter\nrequirements: a", "bundle.yml: requirements: Input should be"),
        ("service: service:Greeter\nname:", "bundle.yml: name: String should have at least 1"),
        ("- service", "bundle.yml has no keys; write at least: service: 'module:Class'"),
        ("", "bundle.yml has no keys"),
        ("service: {", "bundle.yml is no YAML: a [ or { is not closed, or a value in it should"),
        ("service: servic:Greeter", ": there is no module 'servic' (in "),
        (
            "service: service:Greter",
            "has no 'Greter' (services there: Greeter); did you mean 'Greeter'?",
        ),
        ("service: service:GREETING", "the module service has 'GREETING', which is no service"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, manifest: str, message: str) -> None:
    assert message in refusal(greeter(tmp_path / "one", "hello", manifest))


def test_a_folder_without_a_manifest_or_with_two_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    assert refusal(tmp_path) == (
        f"{tmp_path} is no bundle: it has no bundle.yml (there: model.bin); "
        "write one with: service: 'module:Class'"
    )
    (tmp_path / "bundle.yml").touch()
    (tmp_path / "bundle.yaml").touch()
    assert "has both bundle.yml and bundle.yaml; remove one" in refusal(tmp_path)


def test_a_file_is_loaded_by_its_single_service_or_by_name(tmp_path: Path) -> None:
    one = load(str(single(tmp_path / "one.py", One=1)))
    assert (one.name, one.root, one.instantiate().answer()) == ("One", tmp_path, 1)
    both = single(tmp_path / "both.py", Left=2, Right=3)
    assert load(f"{both}:Right").instantiate().answer() == 3
    assert refusal(both) == f"{both} has 2 services; choose one of both.py:Left, both.py:Right"
    assert "the module both has no 'Lef' (services there: Left, Right); did you" in refusal(
        f"{both}:Lef"
    )


def test_a_file_may_import_another_service_beside_its_own(tmp_path: Path) -> None:
    single(tmp_path / "one.py", One=1)
    own = single(tmp_path / "own.py", Own=2)
    own.write_text("from one import One\n" + own.read_text())
    assert load(str(own)).name == "Own"
    (tmp_path / "alias.py").write_text("from one import One\n")
    assert load(str(tmp_path / "alias.py")).name == "One"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing.py", None, "there is no file '{path}' (in {folder}: nothing)"),
        ("empty.py", "", "{path} has no service; write @service above a class"),
        ("my-file.py", "", "my-file.py cannot be imported: rename it"),
        ("random.py", "", "random.py has the name of the module random; rename it"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    assert message.format(path=file, folder=tmp_path) in refusal(file)


def test_a_module_is_loaded_from_the_current_folder_or_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single(tmp_path / "work" / "answers.py", One=1)
    single(tmp_path / "work" / "pkg" / "deep.py", Two=2)
    (tmp_path / "work" / "pkg" / "__init__.py").touch()
    single(tmp_path / "site" / "installed.py", Three=3)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(tmp_path / "site")
    targets = ("answers:One", "pkg.deep:Two", "installed:Three")
    loaded = [load(target) for target in targets]
    assert [each.instantiate().answer() for each in loaded] == [1, 2, 3]
    assert [each.root.relative_to(tmp_path).as_posix() for each in loaded] == [
        "work",
        "work/pkg",
        "site",
    ]
    assert "nowhere:One: there is no module 'nowhere' (in " in refusal("nowhere:One")
    assert "there is no module 'pkg.nowhere'" in refusal("pkg.nowhere:One")


@pytest.mark.parametrize("target", ["nothing-here", "a:b:c", "no/folder", ":X", "x:"])
def test_what_is_no_target_is_refused(target: str) -> None:
    assert refusal(target).startswith(f"there is no bundle {target!r} (in ")


def test_the_users_own_import_error_keeps_its_name_and_place(tmp_path: Path) -> None:
    folder = greeter(tmp_path / "one", "hello")
    (folder / "helpers.py").write_text("import surely_not_installed")
    with pytest.raises(BundleError) as caught:
        load(str(folder))
    assert str(caught.value) == (
        f"{folder}: importing service failed: ModuleNotFoundError: "
        "No module named 'surely_not_installed' (helpers.py, line 1); "
        "install what has the module 'surely_not_installed'"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    (folder / "helpers.py").write_text("1 / 0")
    assert refusal(folder).endswith("ZeroDivisionError: division by zero (helpers.py, line 1)")
    (folder / "helpers.py").write_text("def")
    assert "SyntaxError: invalid syntax (helpers.py, line 1)" in refusal(folder)


def test_after_a_failure_nothing_of_the_bundle_stays_imported(tmp_path: Path) -> None:
    folder = greeter(tmp_path / "one", "hello", "service: service:Greeter")
    (folder / "words.txt").unlink()
    path, modules = list(sys.path), set(sys.modules)
    assert "words.txt is not there (in " in refusal(folder)
    assert (sys.path, set(sys.modules) - modules) == (path, set())


def test_a_broken_rule_of_the_service_keeps_its_own_error(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(
        dedent("""
            from spanserve.service.service import api, service

            @service
            class Broken:
                @api(batch=True)
                def predict(self, xs: "list[Nowhere]"): ...
        """)
    )
    with pytest.raises(ServiceError, match=r"Broken\.predict: an annotation names 'Nowhere'"):
        load(str(file))


def test_what_init_raises_comes_through(tmp_path: Path) -> None:
    file = single(tmp_path / "broken.py", Broken=1)
    file.write_text(
        file.read_text() + "\n    def __init__(self):\n        raise KeyError('model')\n"
    )
    with pytest.raises(KeyError, match="model"):
        load(str(file)).instantiate()


def test_bundle_path_stays_in_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    folder = greeter(tmp_path / "one", "hello")
    (folder / "link").symlink_to(tmp_path / "secret")
    instance = load(str(folder)).instantiate()
    for name in ("../secret", "link", str(tmp_path / "secret")):
        with pytest.raises(BundleError) as caught:
            instance.path_of(name)
        assert str(caught.value) == f"bundle_path({name!r}) leads out of the bundle {folder}"
    with pytest.raises(BundleError) as caught:
        instance.path_of("modle.joblib")
    assert str(caught.value) == (
        f"{folder / 'modle.joblib'} is not there (in {folder}: "
        "bundle.yml, helpers.py, lazy.py, link, service.py, words.txt)"
    )
    assert instance.path_of("words.txt") == folder / "words.txt"


def test_a_service_made_in_a_unit_test_finds_its_files_beside_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(
        tmp_path,
        {
            "plain/churn.py": FINDS.format(import_="from helping.reader import read"),
            "plain/helping/__init__.py": "",
            "plain/helping/reader.py": READS,
            "plain/words.txt": "beside the file",
            "packed/bundle.yml": "service: shop.churn:Churn\nroot: data",
            "packed/shop/__init__.py": "",
            "packed/shop/churn.py": FINDS.format(import_="from shop.reader import read"),
            "packed/shop/reader.py": READS,
            "packed/data/words.txt": "where bundle.yml says",
        },
    )
    for folder, module in (("plain", "churn"), ("packed", "shop.churn")):
        monkeypatch.syspath_prepend(tmp_path / folder)
        made = importlib.import_module(module).Churn()
        served = load(str(tmp_path / folder / ("" if folder == "packed" else "churn.py")))
        assert made.words == served.instantiate().words != ""
        with pytest.raises(BundleError, match=r"leads out of the bundle"):
            made.find("../secret")


def test_a_script_finds_its_files_beside_itself_and_code_without_a_file_none(
    tmp_path: Path,
) -> None:
    text = FINDS.format(import_="from reader import read") + "\nprint(Churn().words)"
    written(tmp_path, {"churn.py": text, "reader.py": READS, "words.txt": "beside the script"})
    done = subprocess.run(
        [sys.executable, str(tmp_path / "churn.py")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "beside the script\n"
    code = "from spanserve import bundle_path; bundle_path('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "bundle_path('x') outside of a bundle: call it in code that is in a file"
    )


def test_importing_the_service_floor_does_nothing() -> None:
    code = """if True:
        import sys, threading
        path = list(sys.path)
        import spanserve.service.bundle.load
        print(threading.active_count(), sys.path == path)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 True\n"
