"""A service's own settings: from the section `service` and the environment to its `__init__`."""

import pickle
from pathlib import Path
from typing import Final

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from typer.testing import CliRunner

from spanserve import api, service
from spanserve.cli import app
from spanserve.config.load import load as load_config
from spanserve.config.service_settings import settings_of
from spanserve.errors import ConfigError, ServiceError
from spanserve.service.bundle.load import load
from spanserve.service.service import service_spec
from support.serving import serving, subprocess_server

SERVICE: Final = """
import os
from pydantic import BaseModel, Field, SecretStr
from spanserve import api, service

class Cache(BaseModel):
    size: int = 10

class Settings(BaseModel):
    threshold: float = Field(default=0.5, ge=0, le=1)
    token: SecretStr
    labels: list[str] = ["a"]
    cache: Cache = Cache()

@service
class Shop:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @api
    def told(self) -> dict[str, object]:
        settings = self.settings
        return {
            **settings.model_dump(exclude={"token"}),
            "token": settings.token.get_secret_value(),
        }
"""
CONFIG: Final = """
service:
  threshold: 0.7
  token: ${SHOP_TOKEN:-from the file}
  cache: {size: 3}
"""
SECRET: Final = "*a #token: 7"
ENVIRONMENT: Final = {
    "SPANSERVE__SERVICE__TOKEN": SECRET,
    "SPANSERVE__SERVICE__LABELS": "b,c",
    "SPANSERVE__SERVICE__CACHE__SIZE": "4",
}
TOLD: Final = {"threshold": 0.7, "labels": ["b", "c"], "cache": {"size": 4}, "token": SECRET}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "c.yml").write_text(CONFIG)
    (tmp_path / "shop.py").write_text(SERVICE)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_served_process_has_the_file_s_and_the_environment_s_settings(
    shop: Path, workers: int
) -> None:
    options = ("--config", str(shop / "c.yml"), "--workers", str(workers))
    with subprocess_server(str(shop / "shop.py"), *options, env=ENVIRONMENT) as server:
        answers = [httpx.post(f"{server.url}/told") for _ in range(4)]

    assert [each.json() for each in answers] == [TOLD] * 4
    assert SECRET not in server.text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_setting_that_cannot_be_stops_the_start_with_its_source(shop: Path, workers: int) -> None:
    wrong = {**ENVIRONMENT, "SPANSERVE__SERVICE__THRESHOLD": "7", "SPANSERVE__SERVICE__TOKNE": "x"}
    options = ("--config", str(shop / "c.yml"), "--workers", str(workers))
    with subprocess_server(str(shop / "shop.py"), *options, env=wrong, wait=False) as server:
        code = server.process.wait(30)

    assert code == 2
    assert "unknown key service.tokne (environment SPANSERVE__SERVICE__TOKNE); did you mean" in (
        server.text()
    )
    where = "(environment SPANSERVE__SERVICE__THRESHOLD)"
    assert f"service.threshold: wanted at most 1, got the number 7 {where}" in server.text()


def test_check_shows_each_setting_with_its_source_and_hides_secrets(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(shop)

    told = CliRunner().invoke(app, ["check", "c.yml", "--service", "shop.py"]).stdout

    lines = [line.split() for line in told.partition("\nservice:")[2].splitlines() if line]
    variable = "SPANSERVE__SERVICE__"
    assert lines == [
        ["threshold:", "0.7", "#", "c.yml", "line", "3"],
        ["token:", "'***'", "#", "environment", f"{variable}TOKEN"],
        ["labels:", "[b,", "c]", "#", "environment", f"{variable}LABELS"],
        ["cache:"],
        ["size:", "4", "#", "environment", f"{variable}CACHE__SIZE"],
    ]


def test_a_bundle_is_checked_with_the_settings_and_served_with_others(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    order = ["bundle", "shop.py", "--output", "made", "--check"]

    without = CliRunner().invoke(app, order)
    checked = CliRunner().invoke(app, [*order, "--config", "c.yml", "--force"])

    missing = "error: service.token is missing; give it in the file, or as "
    assert (without.exit_code, without.stderr) == (2, f"{missing}SPANSERVE__SERVICE__TOKEN\n")
    assert checked.exit_code == 0, checked.output
    with subprocess_server(str(shop / "made"), "--config", "c.yml", env=ENVIRONMENT) as server:
        assert httpx.post(f"{server.url}/told").json() == TOLD


def test_a_loaded_service_takes_its_settings_to_another_process(shop: Path) -> None:
    loaded = load(str(shop / "shop.py"))
    config = load_config(shop / "c.yml", ENVIRONMENT, {})
    settings = settings_of(
        loaded.spec.settings_model, config.config.service, config.sources, service="Shop"
    )

    there = pickle.loads(pickle.dumps(loaded.with_settings(settings)))

    assert there.instantiate().told() == TOLD


def test_a_section_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        settings_of(None, {"threshold": 1}, {}, service="Shop")

    assert str(refused.value) == (
        "service.threshold: Shop declares no settings; "
        "let its __init__ take a pydantic model, or drop the section"
    )


def test_secrets_are_never_quoted() -> None:
    class Settings(BaseModel):
        model_config = ConfigDict(strict=True)
        key: SecretStr = Field(min_length=40)
        password: int

    with pytest.raises(ConfigError) as refused:
        settings_of(Settings, {"key": "open sesame", "password": "hunter2"}, {}, service="Shop")

    assert "sesame" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_settings_with_defaults_need_no_section_and_a_default_of_the_service_s_own_stays() -> None:
    class Settings(BaseModel):
        size: int = 1

    @service
    class Plain:
        def __init__(self, settings: Settings | None = None) -> None:
            self.size = None if settings is None else settings.size

        @api
        def told(self) -> int | None:
            return self.size

    with serving(Plain) as server:
        assert httpx.post(f"{server.url}/told").json() == 1
    with serving(Plain, {"service": {"size": 2}}) as server:
        assert httpx.post(f"{server.url}/told").json() == 2
    assert Plain().told() is None


def test_two_models_are_refused() -> None:
    class One(BaseModel):
        size: int = 1

    class Two:
        def __init__(self, one: One, other: One) -> None: ...

        @api
        def told(self) -> None: ...

    with pytest.raises(ServiceError, match=r"takes one and other, which are both pydantic models"):
        service(Two)


def test_names_of_a_function_are_found_in_a_service_s_init() -> None:
    class Local(BaseModel):
        size: int = 3

    @service
    class Inner:
        def __init__(self, settings: "Local") -> None:
            self.size = settings.size

        @api
        def told(self) -> int:
            return self.size

    assert service_spec(Inner).settings_model is Local
