"""What the configuration accepts, where each value comes from, and what is said of a bad one."""

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, ValidationError

from spanserve.config.load import Loaded, load
from spanserve.config.model import Config, TracingConfig
from spanserve.config.section import Section
from spanserve.config.values.document import inline, parse, scalar_value
from spanserve.config.values.interpolate import substitute
from spanserve.config.values.redact import HIDDEN, redacted, without_credentials
from spanserve.config.values.source import DEFAULT
from spanserve.config.values.tree import value_of
from spanserve.config.values.untyped import shaped
from spanserve.errors import ConfigError

JAEGER = """\
tracing:
  type: jaeger
  zipkin:
    url: http://localhost:9411/api/v2/spans
  jaeger:
    address: localhost
    port: 6831
"""
ZIPKIN = """\
tracing:
   type: zipkin
   zipkin:
     url: http://localhost:9411/api/v2/spans
"""
ZIPKIN_SECTION = {"url": "http://localhost:9411/api/v2/spans"}
JAEGER_SECTION = {"address": "localhost", "port": 6831}

NOTHING: Mapping[str, str] = {}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(text: str, environ: Mapping[str, str] = NOTHING, **overrides: object) -> Loaded:
    file = Path("c.yml")
    file.write_text(dedent(text))
    return load(file, environ, {key.replace("__", "."): value for key, value in overrides.items()})


def given_values(one: Loaded) -> dict[str, object]:
    """Return what differs from the defaults."""
    return one.config.model_dump(exclude_defaults=True)


def given_sources(one: Loaded) -> dict[str, str]:
    return {key: str(source) for key, source in one.sources.items() if source != DEFAULT}


def error(text: str, environ: Mapping[str, str] = NOTHING, **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text, environ, **overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", ["my_config_file.yml", "my_config_file.yaml", "conf"])
@pytest.mark.parametrize(
    ("text", "tracing"),
    [
        (
            JAEGER,
            {
                "type": ("jaeger",),
                "sections": {"zipkin": ZIPKIN_SECTION, "jaeger": JAEGER_SECTION},
            },
        ),
        (ZIPKIN, {"type": ("zipkin",), "sections": {"zipkin": ZIPKIN_SECTION}}),
    ],
)
def test_the_files_of_bentomls_guide_work_verbatim_by_option_and_by_variable(
    name: str, text: str, tracing: dict[str, object]
) -> None:
    Path(name).write_text(text)
    by_option = load(Path(name), {}, {})
    by_variable = load(None, {"SPANSERVE_CONFIG": name}, {})
    assert given_values(by_option) == {"tracing": tracing}
    assert by_option == by_variable
    assert by_option.file == Path(name)


def test_the_option_wins_over_the_variable() -> None:
    Path("other.yml").write_text("server: {port: 1}")
    assert loaded("server: {port: 2}", {"SPANSERVE_CONFIG": "other.yml"}).config.server.port == 2


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "tracing:\nserver:\n", "{}"])
def test_a_file_that_says_nothing_gives_the_defaults(text: str) -> None:
    assert loaded(text).config == Config()


@pytest.mark.parametrize("word", ["null", "~", "none", "None", "off", "OFF", "'off'", "no", "[]"])
def test_each_word_for_off_is_off(word: str) -> None:
    assert loaded(f"tracing: {{type: {word}}}").config.tracing.type == ()


@pytest.mark.parametrize("text", ["[Zipkin, jaeger]", "zipkin, JAEGER", "'zipkin,jaeger'"])
def test_several_tracers_are_named_in_any_case(text: str) -> None:
    assert loaded(f"tracing:\n  type: {text}").config.tracing.type == ("zipkin", "jaeger")


def test_the_strongest_source_wins_and_is_the_one_that_is_named() -> None:
    one = loaded(
        """
        server:
          host: file
          port: 1
          workers: 1
        """,
        {"SPANSERVE__SERVER__PORT": "2", "SPANSERVE__server__Workers": "2"},
        server__workers=3,
        server__root_path=None,
    )
    assert given_values(one) == {"server": {"host": "file", "port": 2, "workers": 3}}
    assert given_sources(one) == {
        "server": "c.yml line 2",
        "server.host": "c.yml line 3",
        "server.port": "environment SPANSERVE__SERVER__PORT",
        "server.workers": "command line --workers",
    }
    assert str(one.sources["server.drain_timeout_s"]) == "default"


def test_the_environment_reaches_every_level_in_yaml() -> None:
    one = loaded(
        "tracing: {type: zipkin, zipkin: {url: a, headers: {X-Key: old}}}",
        {
            "SPANSERVE__TRACING__TYPE": "[jaeger, zipkin]",
            "SPANSERVE__TRACING__ZIPKIN": "{url: b, timeout_s: 2.5}",
            "SPANSERVE__TRACING__ZIPKIN__URL": "http://c:1/d",
            "SPANSERVE__TRACING__ZIPKIN__HEADERS__X_KEY": "new",
            "SPANSERVE__TRACING__QUEUE__MAX_SPANS": "7",
            "SPANSERVE__TRACING__SAMPLE_RATE": "",
        },
    )
    assert given_values(one) == {
        "tracing": {
            "type": ("jaeger", "zipkin"),
            "queue": {"max_spans": 7},
            "sections": {
                "zipkin": {"url": "http://c:1/d", "timeout_s": 2.5, "headers": {"X-Key": "new"}}
            },
        }
    }


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (
            {"SPANSERVE__SERVER__PROT": "1"},
            "unknown key server.prot (environment SPANSERVE__SERVER__PROT); did you mean 'port'?",
        ),
        (
            {"SPANSERVE__SERVER__PORT": "1", "spanserve__server__port": "2"},
            (
                "SPANSERVE__SERVER__PORT and spanserve__server__port are the same key; "
                "unset one of them"
            ),
        ),
        (
            {"SPANSERVE____PORT": "1"},
            "SPANSERVE____PORT names no key; write SPANSERVE__SECTION__KEY",
        ),
        (
            {"SPANSERVE__SERVER__PORT": "[1"},
            "server.port: wanted a whole number, got '[1' (environment SPANSERVE__SERVER__PORT)",
        ),
        (
            {"SPANSERVE__TRACING": "*s3cret"},
            (
                "tracing: wanted a mapping, got a text that is not shown "
                "(environment SPANSERVE__TRACING)"
            ),
        ),
        (
            {"SPANSERVE__SERVER": "{port: 1"},
            (
                "not YAML: environment SPANSERVE__SERVER column 9: a [ or { is not closed, or a "
                "value in it should stand in quotes"
            ),
        ),
    ],
)
def test_a_bad_variable_is_named(environ: Mapping[str, str], words: str) -> None:
    assert error("", environ) == words


class Backend(BaseModel):
    """Settings of a tracer, with a field of every kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str = ""
    port: int = 0
    ratio: float | None = None
    secure: bool = False
    token: SecretStr | None = None
    mode: Literal["on", "off", "2"] = "on"
    headers: dict[str, SecretStr] = {}
    names: tuple[str, ...] | list[str] = ()
    options: dict[str, Any] = {}
    deep: "Deep | None" = None


class Deep(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    words: str = "none"
    numbers: list[int] = []


def backend(one: Loaded) -> dict[str, object]:
    """Return what a tracer gets of its section, secrets in the open."""
    section = shaped(dict(one.config.tracing.sections["zipkin"]), Backend)
    given = Backend.model_validate(section).model_dump(exclude_unset=True)
    opened: dict[str, object] = TypeAdapter(dict[str, Any]).validate_python(given)
    if secret := given.get("token"):
        opened["token"] = secret.get_secret_value()
    if headers := given.get("headers"):
        opened["headers"] = {key: each.get_secret_value() for key, each in headers.items()}
    return opened


def test_variables_are_filled_in_and_typed_by_their_field_where_unquoted() -> None:
    one = loaded(
        """
        tracing:
          type: zipkin
          service_name: ${NUMBER}
          zipkin:
            url: http://${HOST:-localhost}:${PORT:-9411}/spans
            port: ${NUMBER}
            secure: "${TRUE}"
            token: ${TOKEN}
            ratio: ${EMPTY:-}
            headers: {Authorization: "${BRACES}", X-A: "$${HOST} $HOST"}
            names: ["${HOST:-a}", b]
            options: {timeout: "${NUMBER}", text: '${NUMBER}'}
        """,
        {"NUMBER": "12", "EMPTY": "", "BRACES": "{a: b}", "TOKEN": "*007", "TRUE": "true"},
    )
    assert one.config.tracing.service_name == "12"
    assert backend(one) == {
        "url": "http://localhost:9411/spans",
        "port": 12,
        "secure": True,
        "token": "*007",
        "ratio": None,
        "headers": {"Authorization": "{a: b}", "X-A": "${HOST} $HOST"},
        "names": ["a", "b"],
        "options": {"timeout": "12", "text": "12"},
    }
    assert str(one.sources["tracing.zipkin.url"]) == "c.yml line 6 $HOST $PORT"


ODD_TEXTS = (
    *("*secret", "!secret", "&secret", "@secret", "`secret", "%secret", "- secret", "? secret"),
    *("0123", "1e3", "12_000", "0x1F", "12:30:45", "2026-01-01", ".5", "+1", "true", "no", "off"),
    *("a #b", "a: b", "'quoted'", '"quoted"', "{a: b}", "[a, b]", "a, b", "[", "{", "<<", "=", "|"),
    *("a\nb: c", "tab\tand blank ", " led by a blank"),
)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_text_field_takes_the_text_of_its_variable_itself(text: str) -> None:
    prefix = "SPANSERVE__TRACING__ZIPKIN__"
    one = loaded(
        "",
        {
            "SPANSERVE__TRACING__SERVICE_NAME": text,
            f"{prefix}URL": text,
            f"{prefix}TOKEN": text,
            f"{prefix}HEADERS__X_API_KEY": text,
            f"{prefix}DEEP__WORDS": text,
            f"{prefix}OPTIONS__HEADERS__AUTHORIZATION": text,
        },
    )
    assert one.config.tracing.service_name == text
    assert backend(one) == {
        "url": text,
        "token": text,
        "headers": {"x-api-key": text},
        "deep": {"words": text},
        "options": {"headers": {"authorization": text}},
    }


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_but_null_reaches_a_text_field_unchanged(text: str) -> None:
    one = load(None, {"SPANSERVE__TRACING__SERVICE_NAME": text}, {})
    unset = not text.strip() or text in {"null", "Null", "NULL", "~"}
    assert one.config.tracing.service_name == (None if unset else text)


def test_other_fields_take_what_the_text_of_their_variable_says() -> None:
    prefix = "SPANSERVE__TRACING__ZIPKIN__"
    one = loaded(
        "tracing: {zipkin: {headers: {X-Old: a, x-api-key: b}}}",
        {
            "SPANSERVE__TRACING__SAMPLE_RATE": "1e-1",
            "SPANSERVE__SERVER__ACCESS_LOG": "yes",
            "SPANSERVE__TRACING__EXCLUDED_URLS": "[/a, /b]",
            "SPANSERVE__TRACING__PROPAGATORS": "b3,jaeger",
            "SPANSERVE__TRACING__KEEP": "{errors: true}",
            "SPANSERVE__LOGGING__LEVEL": "debug",
            f"{prefix}PORT": "80",
            f"{prefix}RATIO": "null",
            f"{prefix}SECURE": "off",
            f"{prefix}MODE": "off",
            f"{prefix}HEADERS": "{X_Kept: '1'}",
            f"{prefix}HEADERS__X_API_KEY": "2",
            f"{prefix}NAMES": "[a, b]",
            f"{prefix}DEEP": "{numbers: [1, 2]}",
            f"{prefix}OPTIONS__TIMEOUT": "5",
            f"{prefix}OPTIONS__CODES": "[1, a]",
        },
    )
    assert given_values(one) == {
        "server": {"access_log": True},
        "logging": {"level": "debug"},
        "tracing": {
            "sample_rate": 0.1,
            "excluded_urls": ("/a", "/b"),
            "propagators": ("b3", "jaeger"),
            "keep": {"errors": True},
            "sections": one.config.tracing.sections,
        },
    }
    assert backend(one) == {
        "port": 80,
        "ratio": None,
        "secure": False,
        "mode": "off",
        "headers": {"X-Old": "a", "x-api-key": "2", "X_Kept": "1"},
        "names": ["a", "b"],
        "deep": {"numbers": [1, 2]},
        "options": {"timeout": 5, "codes": [1, "a"]},
    }


def test_a_section_that_is_empty_is_as_good_as_none() -> None:
    text = """
    tracing:
      type:
      keep:
      control:
      queue:
      excluded_urls:
      zipkin:
        headers:
        options:
        names:
        deep:
          numbers:
    server:
      auth:
    batching:
    logging:
    """
    one = loaded(text)
    assert given_values(one)["tracing"] == {"sections": one.config.tracing.sections}
    assert one.config == loaded("").config.model_copy(update={"tracing": one.config.tracing})
    assert backend(one) == {"deep": {}}
    assert loaded("tracing:\n  zipkin:\n").config.tracing.sections == {"zipkin": {}}


def test_a_quoted_number_counts_where_a_number_is_wanted() -> None:
    one = loaded(
        """
        tracing:
          sample_rate: "0.1"
          service_name: "0.1"
          keep: {errors: 'true', slower_than_ms: "1e3"}
          zipkin: {port: "8000", secure: 'false', url: '8000', deep: {numbers: ['1']}}
        server: {port: " 8000 ", access_log: "yes"}
        """
    )
    assert given_values(one) == {
        "server": {"access_log": True},
        "tracing": {
            "sample_rate": 0.1,
            "service_name": "0.1",
            "keep": {"errors": True, "slower_than_ms": 1000},
            "sections": one.config.tracing.sections,
        },
    }
    assert one.config.server.port == 8000
    deep = {"numbers": [1]}
    assert backend(one) == {"port": 8000, "secure": False, "url": "8000", "deep": deep}


@pytest.mark.parametrize(
    "text",
    [
        *("a: *s3cret", "a: !s3cret x", "a: @s3cret", "a: `s3cret", "a: b: s3cret"),
        *("a: [s3cret", "a: {s3cret", "a: 's3cret", 'a: "\\s3cret"', "a:\n b: s3cret\n  c: 1"),
        *("s3cret\na: 1", "a: s3cret\n---\nb: 1", "%s3cret", "a: |s3cret", "a: !!int s3cret"),
        *("a: !!float s3cret", "a: !!binary s3cret", "? [s3cret]\n: 1", "a: \x07 s3cret"),
    ],
)
def test_what_is_no_yaml_is_told_in_our_words_and_quotes_nothing(text: str) -> None:
    for said in (error(text), error("", {"SPANSERVE__TRACING": f"{{{text}}}"})):
        assert "s3cret" not in said
        assert not re.search(r"while |expected|token|constructor|flow|stream|tag:", said)


def test_a_variable_that_is_not_set_is_an_error_with_key_and_name() -> None:
    assert error("server:\n  port: ${PORT}\n") == (
        "server.port: the environment variable PORT is not set; set it, or give a default: "
        "${PORT:-...} (c.yml line 2)"
    )


@pytest.mark.parametrize("text", ["${1A}", "${A", "${A:-${B}}", "${}"])
def test_what_looks_like_a_variable_and_is_none_is_an_error(text: str) -> None:
    assert "'${' begins no ${VAR}" in error(f"server: {{host: '{text}'}}")


def test_unset_variables_matter_only_where_they_are_read() -> None:
    text = "tracing: {type: x, x: {url: '${URL}'}, y: {url: '${URL}'}}"
    assert error(text).startswith("tracing.x.url: the environment variable URL is not set")
    one = loaded(text, {"SPANSERVE__TRACING__X__URL": "given"})
    assert one.config.tracing.sections["x"] == {"url": "given"}


def test_opentelemetrys_variables_speak_where_the_file_is_silent() -> None:
    environ = {
        "OTEL_SERVICE_NAME": "digits",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=other, team=ml%20ops,zone=a=b",
        "OTEL_PROPAGATORS": "tracecontext,baggage,B3,datadog",
    }
    one = loaded("server: {port: 1}", environ)
    assert given_values(one) == {
        "server": {"port": 1},
        "tracing": {
            "service_name": "digits",
            "propagators": ("tracecontext", "baggage", "b3"),
            "resource_attributes": {"team": "ml ops", "zone": "a=b"},
        },
    }
    assert str(one.sources["tracing.service_name"]) == "environment OTEL_SERVICE_NAME"
    assert one.warnings == (
        "OTEL_PROPAGATORS names 'datadog', which spanserve does not have: skipped",
    )
    spoken = loaded("tracing: {service_name: mine, propagators: [b3]}", environ).config.tracing
    assert (spoken.service_name, spoken.propagators) == ("mine", ("b3",))


def test_a_service_name_may_come_from_the_resource_attributes() -> None:
    one = loaded("", {"OTEL_RESOURCE_ATTRIBUTES": "service.name=digits"})
    assert given_values(one) == {"tracing": {"service_name": "digits"}}


def test_resource_attributes_that_cannot_be_read_are_a_warning() -> None:
    one = loaded("", {"OTEL_RESOURCE_ATTRIBUTES": "a=b,nonsense", "OTEL_PROPAGATORS": "none"})
    assert given_values(one) == {"tracing": {"propagators": ()}}
    assert one.warnings == (
        "OTEL_RESOURCE_ATTRIBUTES is not read: it is not of the form key=value,key=value",
    )


def test_the_predecessors_variable_is_a_warning_only_where_no_file_is_read() -> None:
    environ = {"BENTOML_CONFIG": "old.yml"}
    assert load(None, environ, {}).warnings == (
        "BENTOML_CONFIG is set but not read: spanserve reads --config or SPANSERVE_CONFIG",
    )
    assert loaded("", environ).warnings == ()


def test_a_file_that_is_not_there_is_named_with_the_one_that_was_meant() -> None:
    Path("there.yaml").write_text("")
    with pytest.raises(ConfigError) as caught:
        load(None, {"SPANSERVE_CONFIG": "there.yml"}, {})
    assert str(caught.value) == (
        "there is no config file there.yml (from SPANSERVE_CONFIG); did you mean there.yaml?"
    )


def test_a_folder_is_no_config_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a directory$"):
        load(tmp_path, {}, {})


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b"a: \x00", b"a: \x80"])
def test_a_file_that_is_no_text_is_an_error(content: bytes) -> None:
    Path("c.yml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.yml"):
        load(Path("c.yml"), {}, {})


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    Path("c.yml").write_bytes(b"\xef\xbb\xbfserver: {port: 1}")
    assert load(Path("c.yml"), {}, {}).config.server.port == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1\n", "c.yml must be a mapping with keys such as tracing and server"),
        ("hello", "c.yml must be a mapping with keys such as tracing and server"),
        ("a: 1\nb: 2\na: 3\n", "c.yml line 3: the key 'a' was given in line 1"),
        ("? [a]\n: 1\n", "c.yml line 1: a key must be plain text"),
        ("a: &x [*x]\n", "c.yml line 1: an alias within its own anchor has no end"),
        ("a: !!set {b}\n", "c.yml line 1: a tag ('!') has no meaning here"),
        (
            "a:\n\tb: 1\n",
            "not YAML: c.yml line 2 column 1: there is a tab where blanks should be",
        ),
        (
            "server: {port: ${PORT}}\n",
            (
                "not YAML: c.yml line 1 column 17: a [ or { is not closed, or a value in it should "
                "stand in quotes; within {} or [], quote a value that holds ${...}"
            ),
        ),
        ("a: " + "[" * 5000, "not YAML: c.yml line 1: nested too deeply"),
        (
            "a: !!python/object:os.system {}\n",
            "c.yml line 1: a tag ('!') has no meaning here",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_where(text: str, words: str) -> None:
    assert error(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("srver: {}", "unknown key srver (c.yml line 1); did you mean 'server'?"),
        ("port: 1", "unknown key port (c.yml line 1); did you mean 'server.port'?"),
        (
            "batching: {size: 1}",
            (
                "unknown key batching.size (c.yml line 1) "
                "(known: max_batch_size, max_latency_ms, max_queue)"
            ),
        ),
        (
            "tracing: {sample_rat: 1}",
            "unknown key tracing.sample_rat (c.yml line 1); did you mean 'sample_rate'?",
        ),
        (
            "tracing: {queue: {max_span: 1}}",
            "unknown key tracing.queue.max_span (c.yml line 1); did you mean 'max_spans'?",
        ),
        (
            "tracing: {type: zipkin, zipkin: http://x}",
            "tracing.zipkin: wanted a mapping with the tracer's own keys (c.yml line 1)",
        ),
        ("tracing: zipkin", "tracing: wanted a mapping, got 'zipkin' (c.yml line 1)"),
        ("server: [1]", "server: wanted a mapping, got a list (c.yml line 1)"),
        ("server: {port: '8o'}", "server.port: wanted a whole number, got '8o' (c.yml line 1)"),
        (
            "server: {port: '1.5'}",
            "server.port: wanted a whole number, got the number 1.5 (c.yml line 1)",
        ),
        ("server: {port: true}", "server.port: wanted a whole number, got true (c.yml line 1)"),
        ("server: {port: null}", "server.port: wanted a whole number, got nothing (c.yml line 1)"),
        (
            "server: {port: 65536}",
            "server.port: wanted at most 65535, got the number 65536 (c.yml line 1)",
        ),
        (
            "server: {access_log: 1}",
            "server.access_log: wanted true or false, got the number 1 (c.yml line 1)",
        ),
        (
            "server: {ssl_keyfile: k.pem}",
            "server: ssl_keyfile is given without ssl_certfile (c.yml line 1)",
        ),
        (
            "server: {ssl_certfile: no.pem}",
            "server.ssl_certfile: there is no file no.pem (c.yml line 1)",
        ),
        (
            "server: {root_path: api}",
            "server.root_path: wanted a path that starts with '/', got 'api' (c.yml line 1)",
        ),
        (
            "tracing: {sample_rate: 1.5}",
            "tracing.sample_rate: wanted at most 1, got the number 1.5 (c.yml line 1)",
        ),
        (
            "tracing: {sample_rate: .nan}",
            "tracing.sample_rate: wanted a finite number, got the number nan (c.yml line 1)",
        ),
        (
            "tracing: {batch_spans: some}",
            "tracing.batch_spans: wanted one of 'full' or 'linked', got 'some' (c.yml line 1)",
        ),
        (
            "tracing: {propagators: [b3, w3c]}",
            (
                "tracing.propagators: there is no propagator 'w3c' (installed: tracecontext, "
                "baggage, b3, b3multi, jaeger, xray, xray-lambda) (c.yml line 1)"
            ),
        ),
        (
            "tracing: {type: yes}",
            "tracing.type: wanted the name of a tracer, or a list of names (c.yml line 1)",
        ),
        (
            "tracing: {type: [zipkin, Zipkin]}",
            (
                "tracing.type: a tracer is named twice; a second one of a kind is named as "
                "'zipkin/new' (c.yml line 1)"
            ),
        ),
        (
            "tracing: {type: a b}",
            "tracing.type: 'a b' cannot be the name of a tracer (c.yml line 1)",
        ),
        (
            "batching: {max_queue: 0}",
            "batching.max_queue: wanted more than 0, got the number 0 (c.yml line 1)",
        ),
        (
            "logging: {level: loud}",
            (
                "logging.level: wanted one of 'critical', 'error', 'warning', 'info' or 'debug', "
                "got 'loud' (c.yml line 1)"
            ),
        ),
    ],
)
def test_a_key_or_value_that_is_wrong_is_named_with_what_is_wanted(text: str, words: str) -> None:
    assert error(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "metrics: {}",
    ],
)
def test_a_key_is_not_accepted_before_it_works(text: str) -> None:
    """`keep` has a mapping: until core knows it, it can only be an unknown tracer's section."""
    if "keep" in text:
        assert loaded(text).config.tracing.sections == {"keep": {"errors": True}}
    else:
        assert error(text).startswith("unknown key ")


@pytest.mark.parametrize("key", ["sections", "resource_attributes"])
def test_fields_that_are_no_keys_cannot_be_set(key: str) -> None:
    assert loaded(f"tracing: {{{key}: {{a: {{}}}}}}").config.tracing.sections == {key: {"a": {}}}


def test_all_problems_are_told_at_once() -> None:
    text = """
    tracing:
      sample_rate: ${RATE}
    server:
      port: x
      prot: 1
    """
    assert error(text, {}, batching__max_queue=-1).splitlines() == [
        "the configuration has 4 problems:",
        "  - server.port: wanted a whole number, got 'x' (c.yml line 5)",
        "  - unknown key server.prot (c.yml line 6); did you mean 'port'?",
        "  - batching.max_queue: wanted more than 0, got the number -1 (command line --max-queue)",
        (
            "  - tracing.sample_rate: the environment variable RATE is not set; set it, or give a "
            "default: ${RATE:-...} (c.yml line 3)"
        ),
    ]


def test_merge_keys_and_anchors_work_and_own_keys_win() -> None:
    one = loaded(
        """
        tracing:
          type: a
          a: &base {url: x, timeout_s: 1}
          b:
            <<: *base
            url: y
        """
    )
    assert one.config.tracing.sections["b"] == {"url": "y", "timeout_s": 1}


def test_numbers_with_an_exponent_are_numbers_and_dates_are_text() -> None:
    one = loaded("tracing: {service_name: 2024-01-01, sample_rate: 1e-3}")
    assert given_values(one) == {"tracing": {"service_name": "2024-01-01", "sample_rate": 0.001}}


def test_urls_to_exclude_may_be_a_text_with_commas() -> None:
    one = loaded("tracing: {excluded_urls: '/a, /b,'}")
    assert one.config.tracing.excluded_urls == ("/a", "/b")


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().server.port = 1


def models(model: type[Section]) -> list[type[Section]]:
    inner = [field.annotation for field in model.model_fields.values()]
    return [
        model,
        *(
            deeper
            for each in inner
            if isinstance(each, type) and issubclass(each, Section)
            for deeper in models(each)
        ),
    ]


def test_every_key_has_a_description() -> None:
    fields = {
        f"{model.__name__}.{name}": field.description
        for model in models(Config)
        for name, field in model.model_fields.items()
    }
    assert TracingConfig in models(Config)
    assert [key for key, description in fields.items() if not description] == []


SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"))
FLOATS = st.floats(allow_nan=False)
PLAIN = st.recursive(
    SCALARS | FLOATS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abXY-_1 é"), inner),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_inline_is_read_back_the_same(value: object) -> None:
    assert value_of(parse(inline(value), lambda _: DEFAULT)) == value


@given(st.text())
def test_any_text_can_be_written_with_escapes(text: str) -> None:
    assert substitute(text.replace("${", "$${"), {}) == (text, ())


@given(st.text())
def test_any_variables_text_is_a_scalar(text: str) -> None:
    assert not isinstance(scalar_value(text), list | dict)


@given(st.text("abc:{}$-_ AB"))
def test_every_text_is_a_value_or_an_error_that_names_its_key(text: str) -> None:
    file = Path("c.yml")
    file.write_text(f"tracing:\n  service_name: {inline(text)}\n")
    said = "tracing.service_name"
    try:
        load(file, {"A": "x"}, {})
    except ConfigError as failure:
        said = str(failure)
    assert said.startswith("tracing.service_name")


def test_secrets_are_hidden_by_key_by_url_and_all_below_a_telling_key() -> None:
    assert redacted(
        {
            "url": "https://user:pa@host:1/a?x=1&access_token=abc#f",
            "headers": {"X-Scope": "tenant", "n": 5, "none": None},
            "options": [{"apiKey": "k"}, {"client-secret": "s"}],
            "keyfile": "k.pem",
            "timeout_s": 3,
        }
    ) == {
        "url": "https://***@host:1/a?x=1&access_token=***#f",
        "headers": {"X-Scope": HIDDEN, "n": HIDDEN, "none": None},
        "options": [{"apiKey": HIDDEN}, {"client-secret": HIDDEN}],
        "keyfile": "k.pem",
        "timeout_s": 3,
    }


@given(
    st.from_regex(r"[^/?#\s@:]{1,9}:[^/?#\s@]{4,9}", fullmatch=True), st.sampled_from(["h", "h/p"])
)
def test_no_credentials_of_a_url_are_left(userinfo: str, rest: str) -> None:
    assert without_credentials(f"see http://{userinfo}@{rest} now") == f"see http://***@{rest} now"


def test_an_error_does_not_show_the_credentials_of_what_it_refuses() -> None:
    said = error("server: {port: 'http://u:pw@host', workers: {}}")
    assert "http://***@host" in said
    assert "pw" not in said
