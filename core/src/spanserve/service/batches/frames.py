"""A data frame as a batch: a row for each item, the columns by the item's model."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from math import nan
from types import NoneType
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from spanserve.errors import ServiceError
from spanserve.service.aliases import expanded
from spanserve.service.codecs.json import ListBatchCodec
from spanserve.service.files.kinds import bare

_LIBRARIES: Final = frozenset({"pandas", "polars"})
_NUMBERS: Final = frozenset({int, float})


class Frame(NamedTuple):
    """A class of data frames, and the model of a row."""

    kind: type
    item: Any


def frame_of(annotation: Any) -> Frame | None:
    """Return `Frame(pd.DataFrame, Item)` for `Annotated[pd.DataFrame, Item]`; None: no frame."""
    annotation = expanded(annotation)
    if get_origin(annotation) is not Annotated:
        return Frame(annotation, None) if _is_frame(annotation) else None
    kind, *notes = get_args(annotation)
    if not _is_frame(kind):
        return None
    return Frame(kind, next((each for each in notes if _columns_of(each)), None))


def _is_frame(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and kind.__name__ == "DataFrame"
        and kind.__module__.partition(".")[0] in _LIBRARIES
    )


class FrameBatchCodec(ListBatchCodec):
    """Items of a model, as the rows of a frame."""

    def __init__(self, frame: Frame, *, parameter: str, where: str, **options: Any) -> None:
        if frame.item is None:
            raise ServiceError(
                f"{where}: the batch {parameter!r} is a data frame whose columns nobody says; "
                "write Annotated[DataFrame, Item] with a pydantic model or dataclass Item"
            )
        super().__init__(frame.item, parameter=parameter, where=where, **options)
        self._make: Callable[..., Any] = frame.kind
        self._columns = _columns_of(frame.item)
        self._get = _key if _is_typed_dict(frame.item) else getattr
        # To pandas a column of None alone is one of objects, and any other one of floats.
        pandas = frame.kind.__module__.startswith("pandas")
        self._with_nan = {name for name, kind in self._columns.items() if _may_lack(kind)}
        self._with_nan = self._with_nan if pandas else set()

    def collate(self, items: Sequence[Any]) -> Any:
        get = self._get
        columns = {name: [get(item, name) for item in items] for name in self._columns}
        for name in self._with_nan:
            columns[name] = [nan if value is None else value for value in columns[name]]
        return self._make(columns)


def _key(item: Any, name: str) -> Any:
    return item.get(name)


def _columns_of(item: Any) -> dict[str, Any]:
    """Return the names of a model's fields with their types; nothing for what is no model."""
    if isinstance(item, type) and issubclass(item, BaseModel):
        return {name: field.annotation for name, field in item.model_fields.items()}
    if isinstance(item, type) and is_dataclass(item):
        return {each.name: each.type for each in fields(item)}
    return dict(item.__annotations__) if _is_typed_dict(item) else {}


def _is_typed_dict(item: Any) -> bool:
    return isinstance(item, type) and hasattr(item, "__total__")


def _may_lack(annotation: Any) -> bool:
    return NoneType in get_args(annotation) and bare(annotation) in _NUMBERS
