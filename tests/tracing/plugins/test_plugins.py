"""Which tracers are found, which are loaded, and what is said where one cannot be."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from spanserve.config.load import load
from spanserve.config.model import TracingConfig
from spanserve.errors import ConfigError
from spanserve.tracing.plugins.registry import (
    LoadedTracer,
    Registry,
    installed_tracers,
    load_tracers,
)
from support.distributions import install, registry_of
from support.fake_tracers import sound

SOUND = "support.fake_tracers.sound"
BROKEN = "support.fake_tracers.broken"


def tracing(*types: str, **sections: Mapping[str, object]) -> TracingConfig:
    return TracingConfig(type=types, sections=sections)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_of(
        install(
            tmp_path,
            "fakes",
            "1.0",
            {
                "filelog": f"{SOUND}:file_log",
                "remote": f"{SOUND}:Remote",
                "module": "support.fake_tracers.as_module",
                "untouched": "support.fake_tracers.must_not_be_imported",
                "absent": "support.fake_tracers.needs_absent:plugin",
                "nothing": f"{SOUND}:no_such_name",
            },
        )
    )


def message(registry: Registry, config: TracingConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        load_tracers(config, registry=registry)
    return str(caught.value)


def broken(tmp_path: Path, attribute: str) -> str:
    distribution = install(tmp_path, "acme", "2.1", {"acme": f"{BROKEN}:{attribute}"})
    return message(registry_of(distribution), tracing("acme"))


def the_only(tracers: tuple[LoadedTracer, ...]) -> LoadedTracer:
    (tracer,) = tracers
    return tracer


def test_no_type_loads_nothing() -> None:
    assert load_tracers(TracingConfig()) == ()


def test_an_instance_is_registered_as_it_is(registry: Registry) -> None:
    tracer = the_only(load_tracers(tracing("filelog"), registry=registry))
    assert (tracer.name, tracer.distribution, tracer.version) == ("filelog", "fakes", "1.0")
    assert tracer.manager.get_plugins() == {sound.file_log}
    assert tracer.hooks == {"span_ended"}
    assert (tracer.target, tracer.propagators, tracer.warnings) == ("filelog", (), ())
    assert tracer.settings.model_dump() == {}


def test_a_class_is_instantiated_and_its_section_validated(registry: Registry) -> None:
    section = {"url": "http://me:secret@host/spans", "timeout_s": 0.5}
    tracer = the_only(load_tracers(tracing("remote", remote=section), registry=registry))
    assert tracer.settings == sound.RemoteSettings(
        url="http://me:secret@host/spans", timeout_s=0.5, api_token=SecretStr("hush")
    )
    assert tracer.target == "http://***@host/spans"
    assert tracer.propagators == ("b3", "jaeger")
    assert tracer.warnings == ("timeout_s is very short",)
    assert tracer.hooks == {
        "export_spans",
        "tracer_propagators",
        "tracer_settings",
        "tracer_target",
        "tracer_warnings",
    }


def test_a_module_is_a_tracer_too(registry: Registry) -> None:
    assert the_only(load_tracers(tracing("module"), registry=registry)).hooks == {"span_ended"}


def test_several_tracers_come_in_the_order_of_the_config_with_a_manager_each(
    registry: Registry,
) -> None:
    loaded = load_tracers(tracing("module", "filelog"), registry=registry)
    assert [tracer.name for tracer in loaded] == ["module", "filelog"]
    assert len({id(tracer.manager) for tracer in loaded}) == 2


def test_only_the_selected_tracers_are_imported(registry: Registry) -> None:
    load_tracers(tracing("filelog", untouched={"anything": 1}), registry=registry)
    assert "support.fake_tracers.must_not_be_imported" not in sys.modules


def test_an_unknown_tracer_names_the_installed_and_the_nearest(registry: Registry) -> None:
    assert message(registry, tracing("fielog")) == (
        "unknown tracer 'fielog' (installed: absent, filelog, module, nothing, remote, untouched); "
        "did you mean 'filelog'?"
    )


def test_the_nearest_tracer_may_be_a_known_one_that_is_not_installed(registry: Registry) -> None:
    assert message(registry, tracing("jeager")).endswith("; did you mean 'jaeger'?")


@pytest.mark.parametrize("name", ["zipkin", "jaeger"])
def test_a_known_tracer_that_is_not_installed_says_how_to_install_it(
    registry: Registry, name: str
) -> None:
    assert message(registry, tracing(name)) == (
        f"tracer '{name}' is not installed; try: pip install spanserve-{name}"
    )


def test_a_failed_import_keeps_its_own_error(registry: Registry) -> None:
    assert message(registry, tracing("absent")) == (
        "tracer 'absent' (from fakes 1.0) failed to import: "
        "No module named 'no_such_module_of_a_backend'"
    )
    assert message(registry, tracing("untouched")) == (
        "tracer 'untouched' (from fakes 1.0) failed to import: "
        "RuntimeError: imported although not selected"
    )
    assert "has no attribute 'no_such_name'" in message(registry, tracing("nothing"))


def test_two_distributions_with_one_name_stop_the_start(tmp_path: Path) -> None:
    one = install(tmp_path, "one", "1.0", {"twin": f"{SOUND}:file_log"})
    two = install(tmp_path, "two", "2.0", {"twin": f"{SOUND}:Remote"})
    assert message(registry_of(one, two), tracing("twin")) == (
        "two distributions have a tracer 'twin': one 1.0 and two 2.0; uninstall one"
    )


def test_a_distribution_that_is_found_twice_is_one(tmp_path: Path) -> None:
    one = install(tmp_path, "one-dist", "1.0", {"twin": f"{SOUND}:file_log"})
    assert len(load_tracers(tracing("twin"), registry=registry_of(one, one))) == 1


CORRUPT = {
    "nameless-1.dist-info/METADATA": b"Metadata-Version: 2.1\nVersion: 1\n",
    "cut-1.dist-info/METADATA": b"Name: cut\xff\nVersion: 1\n",
    "odd-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: odd\nVersion: 1\n",
    "odd-1.dist-info/entry_points.txt": b"[spanserve.tracers]\nodd = \xff:plugin\n",
    "fakes-0.9.dist-info/RECORD": b"",  # the remains of an older version
    "older.egg-info/PKG-INFO": b"nonsense",
}


def test_broken_metadata_of_other_packages_is_passed_over_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        monkeypatch.syspath_prepend(str(tmp_path / place))
    install(tmp_path / "a", "fakes", "1.0", {"sound": f"{SOUND}:file_log"})
    for name, content in CORRUPT.items():
        (tmp_path / "b" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "b" / name).write_bytes(content)
    [tracer] = load_tracers(tracing("sound"))
    assert (tracer.name, tracer.version) == ("sound", "1.0")
    assert "sound" in [row.name for row in installed_tracers()]
    said = {name.partition("/")[0] for name in CORRUPT}
    assert {Path(each.split(" is passed over: ")[0]).name for each in caplog.messages} == said
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize("name", ["queue", "none", "sample_rate"])
def test_a_tracer_cannot_take_a_name_of_the_config_itself(tmp_path: Path, name: str) -> None:
    taken = registry_of(install(tmp_path, "bad", "1.0", {name: f"{SOUND}:file_log"}))
    row = installed_tracers(taken)[0]
    assert row.plugin is None
    assert row.error == (
        f"tracer '{name}' (from bad 1.0) has a name that spanserve's own configuration uses; "
        "its author must choose another"
    )


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        (
            "NoHook",
            (
                "implements no hook; there are export_spans, extend_app, find_trace, span_ended, "
                "span_started, trace_url, tracer_isolation, tracer_propagators, "
                "tracer_settings, tracer_started, tracer_stopping, tracer_target, "
                "tracer_warnings"
            ),
        ),
        ("Unmarked", "implements no hook; mark span_ended with @hookimpl"),
        (
            "Misspelt",
            "implements a hook that does not exist: 'span_startd'; did you mean 'span_started'?",
        ),
        ("Async", "implements span_ended as async; a hook is a plain function"),
        ("Uncreatable", "cannot be created: OSError: no such device"),
        (
            "LooseSettings",
            (
                "has settings that can be changed or misspelt: Loose needs "
                'ConfigDict(frozen=True, extra="forbid")'
            ),
        ),
        ("SettingsAreNoModel", "returned no pydantic model from tracer_settings"),
        ("RaisingSettings", "failed in tracer_settings: LookupError: no settings today"),
        (
            "UnknownPropagator",
            "asks for an unknown propagator 'b3mutli'; did you mean 'b3multi'?",
        ),
        ("TextForAList", "returned str from tracer_propagators, not a list of texts"),
        ("TargetIsNoText", "returned int from tracer_target, not text"),
        ("Cloudy", "returned 'cloud' from tracer_isolation, not 'thread' or 'process'"),
    ],
)
def test_a_tracer_that_breaks_its_contract_stops_the_start(
    tmp_path: Path, attribute: str, words: str
) -> None:
    assert broken(tmp_path, attribute) == f"tracer 'acme' (from acme 2.1) {words}"


def test_a_hook_with_an_argument_that_does_not_exist_stops_the_start(tmp_path: Path) -> None:
    said = broken(tmp_path, "WrongArgument")
    assert said.startswith("tracer 'acme' (from acme 2.1) cannot be used: ")
    assert "the_span" in said
    assert "\n" not in said


def test_a_forgotten_mark_is_a_warning_where_another_hook_has_its_mark(tmp_path: Path) -> None:
    distribution = install(tmp_path, "acme", "2.1", {"acme": f"{BROKEN}:HalfMarked"})
    loaded = load_tracers(tracing("acme"), registry=registry_of(distribution))
    assert the_only(loaded).warnings == (
        "tracer 'acme' has a method span_ended without @hookimpl: it is never called",
    )


def test_a_missing_section_names_the_missing_value(registry: Registry) -> None:
    assert message(registry, tracing("remote")) == (
        "tracing.remote.url is missing; give it in the file, or as SPANSERVE__TRACING__REMOTE__URL"
    )


def test_settings_that_are_wrong_name_key_and_source(tmp_path: Path, registry: Registry) -> None:
    file = tmp_path / "c.yml"
    file.write_text(
        "tracing:\n  type: remote\n  remote:\n    url: short\n    tiemout_s: 3\n    api_token: 7\n"
    )
    loaded = load(file, {"SPANSERVE__TRACING__REMOTE__TIMEOUT_S": "-1"}, {})
    with pytest.raises(ConfigError) as caught:
        load_tracers(loaded.config.tracing, sources=loaded.sources, registry=registry)
    assert str(caught.value).splitlines() == [
        "the configuration has 4 problems:",
        (
            "  - tracing.remote.url: wanted a text of at least 8 characters, "
            f"got 'short' ({file} line 4)"
        ),
        (
            "  - tracing.remote.api_token: wanted a text, got a value that is not shown "
            f"({file} line 6)"
        ),
        (
            "  - tracing.remote.timeout_s: wanted more than 0, got the number -1 "
            "(environment SPANSERVE__TRACING__REMOTE__TIMEOUT_S)"
        ),
        f"  - unknown key tracing.remote.tiemout_s ({file} line 5); did you mean 'timeout_s'?",
    ]


def test_the_section_of_a_tracer_without_settings_must_be_empty(registry: Registry) -> None:
    assert load_tracers(tracing("filelog", filelog={}), registry=registry)
    assert message(registry, tracing("filelog", filelog={"path": "x"})) == (
        "tracing.filelog must be empty: tracer 'filelog' has no settings"
    )


def test_a_section_of_a_known_tracer_that_is_not_selected_is_left_unread(
    registry: Registry,
) -> None:
    assert load_tracers(tracing("filelog", zipkin={"ulr": 1}, remote={}), registry=registry)


def test_a_section_of_no_tracer_is_an_error_even_when_tracing_is_off(registry: Registry) -> None:
    assert message(registry, tracing(zipkn={})) == (
        "unknown key tracing.zipkn: neither an installed tracer nor a key of spanserve's own; "
        "did you mean 'zipkin'?"
    )


def test_the_listing_imports_all_and_shows_a_failing_one_as_a_row(registry: Registry) -> None:
    rows = installed_tracers(registry)
    assert [(row.name, row.error is None) for row in rows] == [
        ("absent", False),
        ("filelog", True),
        ("module", True),
        ("nothing", False),
        ("remote", True),
        ("untouched", False),
    ]


def test_the_built_in_console_tracer_is_found_like_any_other() -> None:
    tracer = the_only(load_tracers(tracing("console")))
    assert (tracer.name, tracer.distribution) == ("console", "spanserve")
    assert "export_spans" in tracer.hooks
