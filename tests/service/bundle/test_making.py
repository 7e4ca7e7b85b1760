"""`spanserve bundle`: which files a bundle gets, which requirements, and what is refused."""

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from spanserve.errors import BundleError
from spanserve.service.bundle.load import load
from spanserve.service.bundle.making.imports import reached
from spanserve.service.bundle.making.requirements import (
    Named,
    distributions_of,
    pinned,
    read_requirements,
)
from support.bundles import bundle, bytes_of, made, written

SERVICE = """
import beside
from spanserve import api, bundle_path, service


@service
class Greeter:
    @api
    def greet(self) -> str:
        return f"{beside.WORD} {bundle_path('words.txt').read_text()}"
"""

IMAGE = {"Dockerfile", "entrypoint.sh", "healthcheck.py", "requirements.txt", "bundle.yml"}
OWN = f"spanserve=={version('spanserve')}"


@pytest.fixture(autouse=True)
def imports_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test loads leaves nothing behind; the tests run in a folder of their own."""
    path = list(sys.path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def greeter(folder: Path, **more: str) -> Path:
    """A service in a file, with a module and a text beside it."""
    files = {"service.py": SERVICE, "beside.py": "WORD = 'hello'", "words.txt": "to all"}
    return written(folder, {**files, **more})


def names(folder: Path) -> set[str]:
    """The files of a bundle that are not of every bundle."""
    return set(bytes_of(folder)) - IMAGE


def manifest(folder: Path) -> object:
    return yaml.safe_load((folder / "bundle.yml").read_text())


def requirements(folder: Path) -> list[str]:
    lines = (folder / "requirements.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def greeting(folder: Path) -> str:
    """Serve's view of a bundle, in a process that has nothing of its source."""
    code = (
        "import sys; from spanserve.service.bundle.load import load; "
        "print(load(sys.argv[1]).instantiate().greet())"
    )
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout


def test_a_file_takes_its_folder_along_without_what_is_hidden_or_made(tmp_path: Path) -> None:
    ignored = {
        ".env": "SECRET=1",
        ".git/HEAD": "",
        "__pycache__/service.pyc": "",
        "env/pyvenv.cfg": "",
        "env/lib/thing.py": "",
        "data/.cache/one": "",
        "old.egg-info/PKG-INFO": "",
    }
    source = greeter(tmp_path / "source", **{"data/deep/one.bin": "1"}, **ignored)
    printed = made(source / "service.py", "-o", "made", "--version", "1.10")
    assert names(tmp_path / "made") == {
        "service.py",
        "beside.py",
        "words.txt",
        "data/deep/one.bin",
    }
    assert manifest(tmp_path / "made") == {
        "service": "service:Greeter",
        "name": "Greeter",
        "version": "1.10",
    }
    assert printed.splitlines()[:2] == [
        "bundle    Greeter 1.10 in made: 4 files, 218 bytes",
        f"installs  {OWN}",
    ]
    assert printed.splitlines()[-2:] == [
        "serve     spanserve serve made",
        "image     docker build -t greeter made",
    ]
    shutil.rmtree(source)
    assert greeting(tmp_path / "made") == "hello to all\n"


def test_patterns_take_files_along_or_leave_them_out(tmp_path: Path) -> None:
    more = {".env": "", ".data/a/b.txt": "", "data/a.csv": "", "data/b.txt": "", "checks/t.py": ""}
    source = greeter(tmp_path / "source", **more)
    options = [
        "--include",
        ".data",
        "--include",
        ".e*",
        "--exclude",
        "*.csv",
        "--exclude",
        "checks",
    ]
    made(source / "service.py", "-o", "made", *options)
    assert names(tmp_path / "made") == {
        *("service.py", "beside.py", "words.txt", "data/b.txt", ".data/a/b.txt", ".env")
    }


def test_a_bundle_inside_its_own_source_does_not_hold_itself(tmp_path: Path) -> None:
    source = greeter(tmp_path / "source")
    for _ in range(2):
        made(source / "service.py", "-o", source / "dist" / "made", "--force")
        assert names(source / "dist" / "made") == {"service.py", "beside.py", "words.txt"}


def test_links_become_files_that_any_user_can_read(tmp_path: Path) -> None:
    source = greeter(tmp_path / "source")
    model = written(source / "data" / "v2", {"model.bin": "1", "run.sh": "2"})
    (model / "model.bin").chmod(0o600)
    (model / "run.sh").chmod(0o700)
    (source / "models").symlink_to(model)
    (model / "loop").symlink_to(source)
    made(source / "service.py", "-o", "made")
    found = {path.name: path for path in (tmp_path / "made" / "models").iterdir()}
    assert set(found) == {"model.bin", "run.sh"}
    assert [oct(found[name].lstat().st_mode) for name in sorted(found)] == ["0o100644", "0o100755"]
    assert {oct(p.stat().st_mode) for p in (tmp_path / "made").rglob("*") if p.is_dir()} == {
        "0o40755"
    }


PRIVATE = {
    ".env": "a key or password",
    ".env.local": "a key or password",
    "aws_credentials.json": "a key or password",
    "deploy": "a key or password",  # by what is in it
    "deep/tls.pem": "a key or password",
    "id_rsa": "a key or password",
    "id_rsa.pub": "a key or password",
    "server.KEY": "a key or password",
    "old.log.1": "a log",
    "run.log": "a log",
    "c.yml": "a configuration",
    "deep/prod.yaml": "a configuration",
}
PUBLIC = {
    "credentials.py": "# code is imported, whatever its name",
    "keys.txt": "",
    "model.pem.md": "",
    "settings.yml": "logging: {}\nmodel: the service's own",
    "list.yml": "- tracing",
    "broken.yml": "tracing: {",
}
TEXTS = {
    "deploy": "\n-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA",
    "c.yml": "server: {port: 1}",
    "deep/prod.yaml": "tracing: {type: zipkin}\nof_the_predecessor: 1",
}


def left_out(printed: str) -> list[str]:
    return [line[10:] for line in printed.splitlines() if line.startswith("left out  ")]


def test_keys_logs_and_configurations_stay_at_home_and_are_named(tmp_path: Path) -> None:
    source = greeter(
        tmp_path / "source", **dict.fromkeys(PRIVATE, "") | PUBLIC | TEXTS, **{".cache/id_rsa": ""}
    )
    printed = made(source / "service.py", "-o", "made", "--exclude", "*.pub")
    assert names(tmp_path / "made") == {"service.py", "beside.py", "words.txt", *PUBLIC}
    named = sorted(f"{name} ({why})" for name, why in PRIVATE.items() if name != "id_rsa.pub")
    named[-1] += "; --include NAME takes it along"
    assert left_out(printed) == named


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (["id_rsa", "deep/*.pem"], {"id_rsa", "deep/tls.pem"}),
        (["deep"], {"deep/more.txt"}),
        (["*", "**", "deep/*", "**/*"], {"deep/more.txt"}),
        (["c.yml", "*.log", ".env*"], {"c.yml", "run.log", ".env", ".env.local"}),
    ],
)
def test_what_stays_at_home_is_taken_where_a_pattern_means_it(
    tmp_path: Path, patterns: list[str], taken: set[str]
) -> None:
    texts = {**dict.fromkeys(PRIVATE, ""), **TEXTS, "deep/more.txt": ""}
    source = greeter(tmp_path / "source", **texts)
    options = [word for pattern in patterns for word in ("--include", pattern)]
    printed = made(source / "service.py", "-o", "made", "--exclude", "deep", *options)
    own = {name for name in names(tmp_path / "made") if "__pycache__" not in name}
    assert own == {"service.py", "beside.py", "words.txt", *taken}
    said = {line.partition(" (")[0] for line in left_out(printed)}
    assert not said & taken
    assert {name for name in PRIVATE if "deep" not in name} <= said | taken


def test_a_link_that_leads_out_of_the_folder_is_named_and_not_followed(tmp_path: Path) -> None:
    source = greeter(tmp_path / "source", **{"deep/more.txt": ""})
    model = written(tmp_path / "models", {"model.bin": "1", ".hidden": "", "id_rsa": ""})
    secret = written(tmp_path / "secret", {"shadow": "root:*:"})
    for link, target in {
        "models": model,
        "etc": secret,
        "deep/etc": secret,
        "shadow.txt": secret / "shadow",
        "gone": tmp_path / "nowhere",
        "self": source,
    }.items():
        (source / link).symlink_to(target)
    (model / "up").symlink_to(secret)
    wide = ["--include", "**/*", "--include", "e*/*", "--include", "deep"]
    for options in ([], wide):
        printed = made(source / "service.py", "-o", "made", "--force", *options)
        found = {name for name in names(tmp_path / "made") if "__pycache__" not in name}
        assert found == {"service.py", "beside.py", "words.txt", "deep/more.txt"}
        assert left_out(printed) == [
            f"deep/etc (a link to {secret})",
            f"etc (a link to {secret})",
            "gone (a link to nothing)",
            f"models (a link to {model})",
            f"shadow.txt (a link to {secret / 'shadow'}); --include NAME takes it along",
        ]
    meant = ["--include", "models", "--include", "shadow.txt", "--include", "deep/etc/*"]
    printed = made(source / "service.py", "-o", "made", "--force", *meant)
    assert names(tmp_path / "made") == {
        *("service.py", "beside.py", "words.txt", "deep/more.txt"),
        *("models/model.bin", "models/.hidden", "shadow.txt", "deep/etc/shadow"),
    }
    assert [line.partition(" (")[0] for line in left_out(printed)] == [
        *("etc", "gone", "models/id_rsa", "models/up")
    ]


@pytest.mark.parametrize("name", ["m.pkl", "deep/m.joblib", "m.pt", "m.bin"])
def test_a_pickle_is_warned_of_as_nobody_looks_into_it(tmp_path: Path, name: str) -> None:
    source = greeter(tmp_path / "source")
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(pickle.dumps({}))
    assert f"warning   what {name} needs is not seen, as pickles are not looked into: name" in (
        made(source / "service.py", "-o", "made")
    )


def test_a_package_comes_with_what_it_imports_beside_it_and_keeps_its_root(tmp_path: Path) -> None:
    written(
        tmp_path,
        {
            "app/__init__.py": "",
            "app/web/__init__.py": "",
            "app/web/service.py": SERVICE.replace("import beside", "from app.words import beside"),
            "app/words/__init__.py": "from ..words import beside",
            "app/words/beside.py": "import common\nWORD = common.WORD",
            "app/web/words.txt": "to all",
            "common.py": "WORD = 'hello'",
            "README.md": "not of the service",
            "notebooks/big.ipynb": "{}",
        },
    )
    made("app.web.service:Greeter", "-o", "made", "--include", "README.md")
    assert names(tmp_path / "made") == {
        "README.md",
        "app/__init__.py",
        "app/web/__init__.py",
        "app/web/service.py",
        "app/web/words.txt",
        "app/words/__init__.py",
        "app/words/beside.py",
        "common.py",
    }
    assert manifest(tmp_path / "made") == {
        "service": "app.web.service:Greeter",
        "name": "Greeter",
        "root": "app/web",
    }
    shutil.rmtree(tmp_path / "app")
    assert greeting(tmp_path / "made") == "hello to all\n"


def test_a_package_from_elsewhere_comes_alone(tmp_path: Path) -> None:
    site = written(
        tmp_path / "site",
        {
            "greeting/__init__.py": SERVICE.replace("import beside", "from greeting import beside"),
            "greeting/beside.py": "import other\nWORD = 'hello'",
            "greeting/words.txt": "to all",
            "other.py": "",
        },
    )
    sys.path.append(str(site))
    made("greeting:Greeter", "-o", "made")
    assert names(tmp_path / "made") == {
        "greeting/__init__.py",
        "greeting/beside.py",
        "greeting/words.txt",
    }


def test_a_bundle_s_service_may_be_installed_and_is_pinned_then(tmp_path: Path) -> None:
    written(tmp_path / "source", {"bundle.yml": "service: spanserve_made:Greeter", "a.txt": ""})
    written(
        tmp_path / "site",
        {
            "spanserve_made.py": SERVICE.replace("import beside", "import httpx"),
            "made-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: made\nVersion: 2.0\n",
            "made-2.0.dist-info/RECORD": "spanserve_made.py,,\n",
        },
    )
    sys.path.append(str(tmp_path / "site"))
    made("source", "-o", "bundled")
    assert names(tmp_path / "bundled") == {"a.txt"}
    assert requirements(tmp_path / "bundled") == ["made==2.0", OWN]


def test_named_and_imported_distributions_are_pinned(tmp_path: Path) -> None:
    source = greeter(tmp_path / "source", **{"lazy.py": "import httpx", "unused.py": "import rich"})
    (source / "beside.py").write_text(
        "WORD = 1\ndef later():\n    import lazy, numpy.linalg, json, no_such_thing"
    )
    written(
        source,
        {
            "bundle.yml": "service: service:Greeter\nname: Greet all!\nversion: 1.10\n"
            "requirements: [scikit-learn>=1.5]",
            "requirements.txt": "--extra-index-url https://example.org/simple\nJoblib # models\n",
        },
    )
    printed = made(source, "-o", "made", "--with", "spanserve-jaeger[otlp]", "--with", "numpy>=1")
    assert requirements(tmp_path / "made") == [
        "--extra-index-url https://example.org/simple",
        f"httpx=={version('httpx')}",
        f"Joblib=={version('joblib')}",
        f"numpy=={version('numpy')}",
        f"scikit-learn=={version('scikit-learn')}",
        f"spanserve-jaeger[otlp]=={version('spanserve-jaeger')}",
        OWN,
    ]
    assert manifest(tmp_path / "made") == {
        "service": "service:Greeter",
        "name": "Greet all!",
        "version": "1.10",
        "requirements": ["scikit-learn>=1.5", "Joblib", "spanserve-jaeger[otlp]", "numpy>=1"],
    }
    assert "image     docker build -t greet-all made" in printed


def test_wheels_are_found_before_any_index_and_nothing_is_said_of_them(tmp_path: Path) -> None:
    source = greeter(tmp_path / "source")
    wheel = f"spanserve-{version('spanserve')}-py3-none-any.whl"
    written(tmp_path / "dist", {wheel: "a wheel", "spanserve.tar.gz": ""})
    made(source / "service.py", "-o", "made", "--wheels", "dist", "--with", "spanserve-zipkin")
    assert names(tmp_path / "made") == {*names(source), f"wheels/{wheel}"}
    assert requirements(tmp_path / "made") == [
        "--find-links wheels",
        f"spanserve-zipkin=={version('spanserve-zipkin')}",
        OWN,
    ]
    again = made("made", "-o", "again")
    assert "warning   spanserve was" not in again
    assert "warning   spanserve-zipkin was installed here from file://" in again
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "made")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("numpy", f"numpy=={version('numpy')}"),
        ("NumPy >= 1.20, != 1.21", f"NumPy=={version('numpy')}"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        (
            "numpy==1.26.4; sys_platform == 'plan9'",
            'numpy==1.26.4; sys_platform == "plan9"',
        ),
        ("absent==1.0", "absent==1.0"),
        ("absent; sys_platform == 'plan9'", 'absent; sys_platform == "plan9"'),
        ("absent @ https://example.org/a.zip", "absent@ https://example.org/a.zip"),
        (
            "httpx; sys_platform != 'plan9'",
            f'httpx=={version("httpx")}; sys_platform != "plan9"',
        ),
        ("httpx[http2,cli]", f"httpx[cli,http2]=={version('httpx')}"),
    ],
)
def test_a_requirement_gets_the_version_that_is_here(text: str, line: str) -> None:
    lines = pinned([Named(text, "r.txt line 1")], ["numpy.linalg"]).lines
    # packaging writes an address with and without the first space, by its version.
    assert line in [each.replace(" @ ", "@ ") for each in lines]
    names = [each.partition("=")[0].lower() for each in lines]
    assert names.count("numpy") == 1


def test_a_namespace_s_import_is_of_the_distribution_that_has_it() -> None:
    assert distributions_of(["opentelemetry.sdk.trace.TracerProvider"]) == {"opentelemetry-sdk"}
    assert distributions_of(["opentelemetry.trace.Span"]) == {"opentelemetry-api"}
    assert distributions_of(["sklearn.svm.SVC", "yaml"]) == {"scikit-learn", "PyYAML"}
    assert distributions_of(["opentelemetry", "no_such_thing"]) == set()


def test_imports_are_followed_in_the_folder_and_named_outside(tmp_path: Path) -> None:
    written(
        tmp_path,
        {
            "one.py": "import os.path, a.b\nfrom two import x\nfrom . import nothing",
            "two.py": "import one\nif 1:\n    from outside.part import thing",
            "a/__init__.py": "import deep.er as d",
            "a/b.py": "from . import c\nfrom .c import e\nfrom .. import f",
            "a/c/__init__.py": "",
            "a/unreached.py": "import unreached",
        },
    )
    found = reached(tmp_path, "one")
    assert set(found.inside) == {"one", "two", "a", "a.b", "a.c"}
    assert found.outside == {"outside.part.thing", "deep.er", "nothing", "f"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["absent.py", "-o", "new"], "there is no file 'absent.py'"),
        (["source/beside.py", "-o", "new"], "beside.py has no service; write @service above"),
        (["source/service.py", "-o", "."], "has the service itself; name another folder"),
        (["source/service.py", "-o", "source"], "has the service itself; name another folder"),
        (["source/service.py", "-o", "taken"], "taken is there, and is no bundle that was made"),
        (["source/service.py", "-o", "taken", "--force"], "taken is there, and is no bundle"),
        (["source/service.py", "-o", "source/words.txt"], "words.txt is there, and is no bundle"),
        (["source/service.py", "-o", "source/words.txt/new"], "cannot be written: "),
        (["source/service.py", "-o", "made"], "made is there already; --force replaces it"),
        (["source/service.py", "-o", "new", "--include", "x*"], "--include 'x*' matches no file"),
        (["source/service.py", "-o", "new", "--include", "../*"], "--include '../*' leads out of"),
        (["source/service.py", "-o", "new", "--include", "/etc"], "--include '/etc' leads out of"),
        (["source/service.py", "-o", "new", "--wheels", "taken"], "there is no wheel (*.whl) in"),
        (["source/service.py", "-o", "new", "--wheels", "odd"], "one.whl is no wheel: "),
        (["source/service.py", "-o", "new", "-r", "no.txt"], "the requirements no.txt cannot be"),
        (["source/service.py", "-o", "new", "--with", "a b"], "--with: 'a b' is no requirement: "),
        (
            ["source/service.py", "-o", "new", "--with", "absent-thing"],
            "so its version is not known; install it, or pin it: absent-thing==VERSION",
        ),
        (["source/service.py", "-o", "new", "--with", "numpy<1"], "numpy<1 is wanted, but numpy "),
        (["source/service.py", "-o", "new", "--with", "numpy==1.*"], "numpy==1.* is wanted, but "),
        (["source/service.py", "-o", "new", "-r", "dev.txt"], "dev.txt line 2: '-e .' cannot go"),
    ],
)
def test_what_cannot_be_is_one_message_and_writes_nothing(
    tmp_path: Path, args: list[str], words: str
) -> None:
    greeter(tmp_path / "source")
    written(
        tmp_path,
        {"taken/thesis.txt": "years of work", "dev.txt": "numpy\n-e .\n", "odd/one.whl": ""},
    )
    made("source/service.py", "-o", "made")
    shutil.rmtree(tmp_path / "source" / "__pycache__", ignore_errors=True)
    before = bytes_of(tmp_path)
    result = bundle(*args)
    after = {name: text for name, text in bytes_of(tmp_path).items() if "__pycache__" not in name}
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert after == {name: text for name, text in before.items() if "__pycache__" not in name}


def test_a_root_outside_of_the_bundle_is_refused(tmp_path: Path) -> None:
    for root in ("..", "absent", "words.txt"):
        folder = greeter(tmp_path / "one")
        (folder / "bundle.yml").write_text(f"service: service:Greeter\nroot: {root}")
        with pytest.raises(BundleError, match=r"root is .*, which is no folder in"):
            load(str(folder))


def test_lines_go_on_and_comments_and_empty_lines_are_no_requirements(tmp_path: Path) -> None:
    written(tmp_path, {"r.txt": "\ufeff# all\n\nnumpy \\\n  >=1 # why\n--pre\na @ b#sha=1\n"})
    found = [each.text for each in read_requirements(tmp_path / "r.txt")]
    assert found == ["numpy    >=1", "--pre", "a @ b#sha=1"]
