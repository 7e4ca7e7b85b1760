"""Which codec an endpoint has: by the annotations of its method, and what `@api` says of media."""

from collections.abc import Sequence
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from spanserve.errors import ServiceError
from spanserve.service.aliases import expanded
from spanserve.service.annotations import (
    array_of,
    described,
    list_item,
    result_item,
    without_exceptions,
)
from spanserve.service.arguments import Parameter
from spanserve.service.batches.frames import FrameBatchCodec, frame_of
from spanserve.service.batches.named_arrays import NamedArraysCodec
from spanserve.service.codecs import media
from spanserve.service.codecs.json import (
    ArrayBatchCodec,
    BatchCodec,
    CallCodec,
    ListBatchCodec,
    PlainCodec,
)
from spanserve.service.files.forms import FormCodec
from spanserve.service.files.kinds import FileKind, bare, file_of, is_form, is_raw
from spanserve.service.files.raw import RawBatchCodec, RawCodec
from spanserve.service.options import ApiOptions
from spanserve.service.results.responses import is_response


class Media(NamedTuple):
    """What a method reads and gives that is not JSON; None: nothing."""

    reads: tuple[str, ...] | None
    gives: tuple[str, ...] | None


def media_of(
    where: str, parameters: Sequence[Parameter], returns: Any, options: ApiOptions, *, streams: bool
) -> Media:
    """Return the media of a method's bytes; raises ServiceError for what `@api` says in vain."""
    reads: tuple[str, ...] | None = None
    if _is_raw_batch(parameters) if options.batch else is_raw(parameters):
        reads = tuple(each.lower() for each in options.accepts or (media.ANY,))
    elif options.accepts is not None:
        raise ServiceError(
            f"{where}: accepts is for a body of bytes; declare it as bytes, or drop accepts"
        )
    if gives_bytes(returns, options):
        return Media(reads, (options.media_type or media.OCTETS,))
    if options.media_type is not None and not streams:
        raise ServiceError(
            f"{where}: media_type is for bytes that are returned; declare -> bytes, or drop it"
        )
    return Media(reads, () if gives_responses(returns) and not options.batch else None)


def gives_bytes(returns: Any, options: ApiOptions) -> bool:
    """Whether an answer is bytes, as they are."""
    if not options.batch:
        return bare(returns) is bytes
    item = list_item(returns)
    return item is not None and bare(without_exceptions(item)) is bytes


def gives_responses(returns: Any) -> bool:
    """Whether an answer is a Response of Starlette's, or may be one."""
    returns = expanded(returns)
    is_union = get_origin(returns) in {Union, UnionType}
    return any(map(is_response, get_args(returns) if is_union else (bare(returns),)))


def takes_bytes(parameter: Parameter, options: ApiOptions) -> bool:
    """Whether a parameter is bytes or a file, as a whole or as a part of a form."""
    if options.batch:
        return _is_raw_batch([parameter])
    return file_of(parameter.annotation) is not None


def codec_of(
    where: str,
    parameters: Sequence[Parameter],
    returns: Any,
    *,
    batch: bool,
    bytes_media: Media,
) -> BatchCodec | CallCodec:
    """Return the codec; raises ServiceError where there is none."""
    gives = {} if bytes_media.gives is None else {"gives": bytes_media.gives}
    if batch:
        return _batch_codec(where, parameters, returns, bytes_media.reads, gives)
    plain: dict[str, Any] = {"where": where, **gives}
    response = Any if gives else returns
    if bytes_media.reads is not None:
        reads = bytes_media.reads
        return RawCodec(parameters[0], reads=reads, response=described(response), **plain)
    if is_form(parameters):
        return FormCodec(parameters, response=described(response), **plain)
    return PlainCodec(parameters, returns=response, **plain)


def _batch_codec(
    where: str,
    parameters: Sequence[Parameter],
    returns: Any,
    reads: tuple[str, ...] | None,
    gives: dict[str, Any],
) -> BatchCodec:
    options: dict[str, Any] = {"where": where, **gives}
    if len(parameters) > 1:
        arrays = {each.name: array_of(each.annotation) for each in parameters}
        found = {name: array for name, array in arrays.items() if array is not None}
        return NamedArraysCodec(found, returns=returns, **options)
    [parameter] = parameters
    array, item = array_of(parameter.annotation), list_item(parameter.annotation)
    if reads is not None:
        response = Any if gives else result_item(returns)
        return RawBatchCodec(item, reads=reads, response=response, **options)
    options |= {"parameter": parameter.name, "returns": returns}
    if array is not None:
        return ArrayBatchCodec(array, **options)
    if item is not None:
        return ListBatchCodec(item, **options)
    if (frame := frame_of(parameter.annotation)) is not None:
        return FrameBatchCodec(frame, **options)
    raise ServiceError(
        f"{where}: the batch {parameter.name!r} is {_shown(parameter.annotation)}; "
        "use list[Item] or Annotated[np.ndarray, Array(dtype, item_shape)]"
    )


def _is_raw_batch(parameters: Sequence[Parameter]) -> bool:
    if len(parameters) != 1:
        return False
    item = list_item(parameters[0].annotation)
    return item is not None and file_of(item) == FileKind(bytes, several=False)


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)
