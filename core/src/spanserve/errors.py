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
