"""What can be wrong with a request's body or a method's result, in words for people.

Messages and details are bounded, whatever the client sent.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import isinf
from typing import Any, TypedDict

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from spanserve.errors import SpanserveError

MAX_DETAILS = 10
MAX_MESSAGE_CHARS = 500
MAX_TEXT_CHARS = 200
MAX_KEY_CHARS = 50
MAX_ERRORS_READ = 10_000

_AS_ZEROS = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_EXPONENT = b"e000"
_MANY_DIGITS = b"0" * 200
"""1.8e308 has an exponent of three digits, unless two hundred digits stand before it."""

_JSON_NAMES: dict[type, str] = {
    bool: "a boolean",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "an array",
    str: "a string",
    type(None): "null",
}


class Detail(TypedDict):
    """One thing that is wrong with an item: `loc` is the path to it inside the item."""

    loc: list[str | int]
    message: str


class InvalidBody(SpanserveError):  # noqa: N818 - it names what is wrong, as the response's code does
    """The body is not JSON (HTTP 400)."""


class InvalidItem(SpanserveError):  # noqa: N818 - as InvalidBody
    """The body is JSON of the wrong shape or type (HTTP 422); `details` has at most 10 entries."""

    def __init__(self, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(_shortened(message, MAX_MESSAGE_CHARS))
        self.details = list(details)


class InvalidResult(SpanserveError):  # noqa: N818 - as InvalidBody
    """What the method returned cannot be answered with: the user's code is at fault (HTTP 500)."""


class WrongResultCount(InvalidResult):
    """A batch method did not return one entry per item."""

    def __init__(self, where: str, results: int, items: int) -> None:
        super().__init__(
            f"{where} returned {_counted(results, 'result')} for {_counted(items, 'item')}; "
            "return one entry per item, in order"
        )
        self.results = results
        self.items = items


def nearest(asked: str, there: Sequence[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no name is near."""
    close = get_close_matches(asked, there, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def refuse_constants(body: bytes) -> None:
    """Raise InvalidBody where `body` has NaN or Infinity as a value: they are not JSON."""
    if b"NaN" not in body and b"Infinity" not in body:
        return
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise no_constants(f"the body is not JSON: {error}") from None


def no_constants(refusal: object) -> InvalidBody:
    """Return why a body with NaN or Infinity is not JSON."""
    return InvalidBody(f"{refusal} (NaN and Infinity are no JSON numbers; send null)")


def refuse_overflow(body: bytes, value: Any) -> None:
    """Raise InvalidBody where a number in `body` is too large, and infinite in the decoded value.

    Only a number with a long exponent or very many digits can be, so that other bodies cost no
    more than a search.
    """
    digits = body.translate(_AS_ZEROS, b"+")
    if _LONG_EXPONENT not in digits and _MANY_DIGITS not in digits:
        return
    if _has_infinite(value):
        raise InvalidBody(
            "the body has a number that is too large (the largest is about 1.8e308); send null"
        )


def _has_infinite(value: Any) -> bool:
    if isinstance(value, float):
        return isinf(value)
    if isinstance(value, Mapping):
        return any(map(_has_infinite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_infinite, value))
    held = getattr(value, "__dict__", None)  # a model's, a dataclass's
    return isinstance(held, dict) and _has_infinite(held)


def explained(
    error: ValidationError, body: bytes, *, root: str, expected: str = ""
) -> InvalidBody | InvalidItem:
    """The error to answer with; `root` names the value that was validated.

    `expected` is added to the message: what the value should have been.
    """
    if error.error_count() > MAX_ERRORS_READ:
        return InvalidItem(f"{root}: {error.error_count()} values are not as declared{expected}")
    errors = error.errors(include_url=False)
    if errors[0]["type"] == "json_invalid" and not errors[0]["loc"]:
        return _not_json(errors[0], body)
    try:
        refuse_constants(body)
    except InvalidBody as constants:
        return constants
    return invalid_item(errors, root=root, expected=expected)


def invalid_item(errors: Sequence[ErrorDetails], *, root: str, expected: str = "") -> InvalidItem:
    """An InvalidItem whose message names the first place and the number of the others."""
    details: list[Detail] = [
        {"loc": [_short_key(part) for part in error["loc"]], "message": _sentence(error)}
        for error in errors[:MAX_DETAILS]
    ]
    first = details[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    place = _shortened(path(root, first["loc"]), MAX_TEXT_CHARS)
    return InvalidItem(f"{place}: {first['message']}{more}{expected}", details)


def path(root: str, loc: Sequence[str | int]) -> str:
    """`item[3].name` for ("item", (3, "name"))."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return (root + "".join(parts)).removeprefix(".")


def _not_json(error: ErrorDetails, body: bytes) -> InvalidBody:
    if not body.strip():
        return InvalidBody("the body is empty; send JSON")
    return not_json(error["ctx"]["error"])


def not_json(refusal: str) -> InvalidBody:
    """Return the error of a body that a parser refused, in its words."""
    return InvalidBody(_shortened(f"the body is not JSON: {refusal}", MAX_TEXT_CHARS))


def _sentence(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in {"too_short", "too_long"} and context.get("field_type") == "List":
        bound = "at least" if kind == "too_short" else "at most"
        limit = context["min_length" if kind == "too_short" else "max_length"]
        return f"has {context['actual_length']} entries, {bound} {limit} expected"
    if kind.endswith("_type"):
        return _shortened(f"{error['msg']}, not {_json_name(error['input'])}", MAX_TEXT_CHARS)
    return _shortened(error["msg"], MAX_TEXT_CHARS)


def _json_name(value: Any) -> str:
    return _JSON_NAMES.get(type(value), type(value).__name__)


def _short_key(part: str | int) -> str | int:
    return _shortened(part, MAX_KEY_CHARS) if isinstance(part, str) else part


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
