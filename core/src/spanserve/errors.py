"""What can go wrong, for people: every message says what was asked, what is there, what to do."""


class SpanserveError(Exception):
    """The base of all errors that spanserve raises on purpose; its text is for the user."""


class ConfigError(SpanserveError):
    """The configuration, or what it names, cannot be used: the start stops with exit code 2."""


class BundleError(SpanserveError):
    """There is no service where one was named: the start stops with exit code 2."""


class ServiceError(SpanserveError):
    """A service class breaks a rule of `@service` or `@api`: the start stops with exit code 2."""


class StartError(SpanserveError):
    """The service's own code failed as it was made or warmed up: the start stops, exit code 3."""


def forget_frames(error: BaseException) -> None:
    """Cut an error, once it was told, from the frames that it came through.

    They hold a request's data, and would keep it: until the collector runs, where one of them
    holds the error, and for ever, where a service raises the same error again and again.
    """
    errors, seen = [error], set[int]()
    while errors:
        each = errors.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        BaseException.with_traceback(each, None)  # a frozen error refuses to have it set
        errors += [linked for linked in (each.__cause__, each.__context__) if linked is not None]
        if isinstance(each, BaseExceptionGroup):
            errors += each.exceptions
