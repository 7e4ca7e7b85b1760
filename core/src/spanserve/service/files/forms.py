"""Parts of a form -> the keyword arguments of a method."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from sys import modules
from typing import Any, Final, NamedTuple, get_origin

from pydantic import TypeAdapter, ValidationError

from spanserve.service.annotations import adapter_of, readable
from spanserve.service.arguments import Parameter
from spanserve.service.codecs.json import CallCodec
from spanserve.service.codecs.media import FORM
from spanserve.service.codecs.problems import InvalidItem, invalid_item, nearest
from spanserve.service.codecs.steps import finished
from spanserve.service.files.kinds import FileKind, bare, file_of
from spanserve.service.files.multipart import Part, parts_of


class Upload(NamedTuple):
    """A file that was sent, as data: what an `UploadFile` is made of where the method runs."""

    data: bytes
    filename: str
    content_type: str


class FormCodec(CallCodec):
    """The body is a form; each parameter is its part of that name, or several, as a list.

    A field's text is the value of a parameter that is text; of another one it is JSON, or else what
    pydantic reads in text (numbers, dates, members of an enum).
    """

    reads = (FORM,)

    def __init__(self, parameters: Sequence[Parameter], *, where: str, **options: Any) -> None:
        super().__init__(parameters=parameters, where=where, **options)
        self._parameters = {each.name: each for each in parameters}
        self._files = {
            each.name: kind for each in parameters if (kind := file_of(each.annotation)) is not None
        }
        self._fields = {
            each.name: _Field(each, where) for each in parameters if each.name not in self._files
        }
        self._bytes = {
            name: TypeAdapter(self._parameters[name].annotation)
            for name, (kind, _) in self._files.items()
            if kind is bytes
        }

    def decode(self, body: bytes) -> dict[str, Any]:
        """The arguments of a form with its content type ahead, as `with_type` gives it."""
        content_type, _, form = body.partition(b"\n")
        return self.of_parts(finished(parts_of(form, str(content_type, "latin-1"))))

    def with_type(self, body: bytes, content_type: str) -> bytes:
        """Return a form with its content type ahead, without which nobody can read it."""
        return content_type.encode("latin-1") + b"\n" + body

    def of_parts(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Return the arguments of a form's parts, uploads as data; raises InvalidItem."""
        found: dict[str, list[Part]] = {}
        for part in parts:
            if part.name not in self._parameters:
                there = ", ".join(self._parameters)
                hint = nearest(part.name, list(self._parameters))
                raise InvalidItem(f"form: unknown part {part.name[:100]!r} (there: {there}){hint}")
            if part.filename != "" or part.data:  # else a field in which no file was chosen
                found.setdefault(part.name, []).append(part)
        missing = [n for n, each in self._parameters.items() if each.required and n not in found]
        if missing:
            raise InvalidItem(f"form: part {missing[0]!r} is missing")
        return {name: self._value(name, parts) for name, parts in found.items()}

    def arguments(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the method is called with: uploads become files, where it runs."""
        revived = dict(values)
        for name, (kind, several) in self._files.items():
            value = revived.get(name)
            if kind is bytes or value is None:
                continue
            revived[name] = [_file(kind, each) for each in value] if several else _file(kind, value)
        return revived

    def _value(self, name: str, parts: Sequence[Part]) -> Any:
        file = self._files.get(name)
        if file is None:
            return self._fields[name].value(parts)
        if len(parts) > 1 and not file.several:
            raise InvalidItem(f"form: {len(parts)} parts are named {name!r}, one is taken")
        values = [_plain(file, part) for part in parts]
        value = values if file.several else values[0]
        if file.kind is not bytes:
            return value
        try:
            return self._bytes[name].validate_python(value)
        except ValidationError as error:
            raise invalid_item(error.errors(include_url=False), root=name) from None


class _Field:
    """A parameter that is no file."""

    def __init__(self, parameter: Parameter, where: str) -> None:
        self._name = parameter.name
        self._adapter = adapter_of(
            readable(parameter.annotation), where=f"{where}: parameter {parameter.name!r}"
        )
        base = bare(parameter.annotation)
        self._is_text = base is str
        self._is_list = (get_origin(base) or base) in _LISTS

    def value(self, parts: Sequence[Part]) -> Any:
        try:
            texts = [str(part.data, "utf-8") for part in parts]
        except UnicodeDecodeError:
            raise InvalidItem(f"{self._name}: the part is not UTF-8 text") from None
        if len(texts) > 1 and not self._is_list:
            raise InvalidItem(f"form: {len(texts)} parts are named {self._name!r}, one is taken")
        try:
            return self._read(texts)
        except ValidationError as error:
            raise invalid_item(error.errors(include_url=False), root=self._name) from None

    def _read(self, texts: Sequence[str]) -> Any:
        if self._is_text:
            return self._adapter.validate_python(texts[0])
        if len(texts) > 1:
            return self._adapter.validate_python(list(texts))
        try:
            return self._adapter.validate_json(texts[0])
        except ValidationError as error:
            told = error
        try:
            text: Any = list(texts) if self._is_list else texts[0]
            return self._adapter.validate_python(text)
        except ValidationError as error:
            # Of what is no JSON at all, the text is what there is to say something of.
            is_json = told.errors()[0]["type"] != "json_invalid"
            raise told if is_json else error from None


_LISTS: Final = frozenset({list, tuple, set, frozenset})


def _plain(file: FileKind, part: Part) -> bytes | Upload:
    if file.kind is bytes:
        return part.data
    return Upload(part.data, part.filename or "", part.content_type)


class _InMemory(BytesIO):
    """A file that Starlette's `UploadFile` reads without a thread."""

    _rolled = False


def _file(kind: Any, sent: Sequence[Any]) -> Any:
    """Return an upload as a class of Starlette's, which is there, as the method names it."""
    upload = Upload(*sent)  # a list, where it came from another process
    base = next(each for each in kind.__mro__ if each.__module__ == "starlette.datastructures")
    headers = modules[base.__module__].Headers({"content-type": upload.content_type})
    data = upload.data
    return kind(_InMemory(data), size=len(data), filename=upload.filename, headers=headers)
