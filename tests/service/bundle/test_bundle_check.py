"""`spanserve bundle --check`: the service is made of the bundle alone, and what lacks is named."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import joblib
import pytest
from sklearn.dummy import DummyClassifier

from spanserve.service.bundle.needs import brought_by
from support.bundles import bundle, bytes_of, written

SERVICE = """
from spanserve import api, bundle_path, service
{imports}

@service
class Model:
    def __init__(self):
        {init}

    def warm_up(self):
        {warm_up}

    @api
    def predict(self, number: float) -> float:
        return number
"""
MADE = "its service was made of it alone"
LACKS = "{0} is loaded and not required; give --with {0}, or name it in bundle.yml"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The commands run beside the folder of the service; what they import is undone."""
    path = list(sys.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def service(imports: str = "", init: str = "pass", warm_up: str = "pass", **more: str) -> None:
    text = SERVICE.format(imports=imports, init=init, warm_up=warm_up)
    written(Path("source"), {"service.py": text, **more})


def checked(*options: str) -> tuple[int, list[str]]:
    """The exit code, and what is said of the check."""
    result = bundle("source/service.py", "-o", "made", "--force", "--check", *options)
    assert result.stderr == ""
    said = result.stdout.partition("\nserve ")[0]
    return result.exit_code, [each.rstrip("\n") for each in said.split("check     ")[1:]]


def test_what_only_a_pickle_needs_is_named_and_nothing_that_can_be_done_without() -> None:
    service("import joblib", "joblib.load(bundle_path('m.joblib'))")
    joblib.dump(DummyClassifier().fit([[0], [1]], [0, 1]), "source/m.joblib")
    assert checked() == (1, [LACKS.format("scikit-learn")])
    assert checked("--with", "scikit-learn") == (0, [MADE])


def test_nothing_but_the_bundle_and_its_requirements_counts(folder: Path) -> None:
    written(folder / "elsewhere", {"stray.py": ""})
    service(
        "import importlib, sys",
        f"sys.path.append({str(folder / 'elsewhere')!r}); import stray",
        "importlib.import_module('httpx')",
    )
    before = bytes_of(folder / "source")
    code, said = checked()
    assert code == 1
    place = folder / "elsewhere" / "stray.py"
    assert said == [
        LACKS.format("httpx"),
        f"the module stray is of no distribution, but {place}; put it beside the service",
    ]
    assert bytes_of(folder / "source") == before
    assert not [name for name in bytes_of(folder / "made") if "__pycache__" in name]


def test_what_is_used_only_where_it_is_there_may_lack() -> None:
    service(
        "import importlib\ntry: importlib.import_module('httpx')\nexcept ImportError: pass",
    )
    assert checked() == (0, [MADE])


def test_a_service_that_cannot_be_made_of_its_bundle_says_where() -> None:
    service(init="bundle_path('words.txt').read_text()", **{"words.txt": ""})
    assert checked() == (0, [MADE])
    code, [said] = checked("--exclude", "words.txt")
    assert code == 1
    first, second = said.split("\n  ")
    assert first.startswith("making the service failed: ")
    assert "words.txt is not there (in " in first
    assert second.startswith("service.py, line ")
    assert second.endswith("in __init__: bundle_path('words.txt').read_text()")


def test_modules_of_the_current_folder_are_not_found(folder: Path) -> None:
    written(folder, {"beside.py": ""})
    service("import importlib", "importlib.import_module('beside')")
    code, [said] = checked()
    assert code == 1
    assert said.startswith("making the service failed: ModuleNotFoundError: No module named 'besi")


def test_a_service_that_ends_the_process_is_told(folder: Path) -> None:
    service("import os", "print('no GPU', flush=True) or os._exit(7)")
    assert checked() == (1, ["making the service ended the process (exit code 7): no GPU"])
    assert "bundle.yml" in bytes_of(folder / "made")


def test_without_the_check_a_pickle_is_a_warning_and_with_it_is_none(folder: Path) -> None:
    service()
    (folder / "source" / "m.pkl").write_bytes(pickle.dumps(httpx.Timeout(5)))
    assert "let --check find it" in bundle("source/service.py", "-o", "made").stdout
    result = bundle("source/service.py", "-o", "made", "--force", "--check")
    assert "let --check find it" not in result.stdout


def test_requirements_bring_what_they_need_in_turn_and_their_extras() -> None:
    assert {"scikit-learn", "numpy", "scipy", "joblib"} <= brought_by(["scikit-learn==1"])
    assert "grpcio" not in brought_by(["spanserve-jaeger"])
    assert "grpcio" in brought_by(["--pre", "spanserve-jaeger[otlp]"])
    assert brought_by(["not-installed==1"]) == {"not-installed"}
