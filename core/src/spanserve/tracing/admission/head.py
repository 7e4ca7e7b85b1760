"""What a request says before its body, and who sent it: all of it that tracing asks for."""

from collections.abc import Mapping

from spanserve.tracing.admission.client import Client, post_origin
from spanserve.tracing.admission.http_attributes import Origin


class Head:
    """The head of a POST to the route `path`; one for all that say the same on a connection.

    Its URL has `root_path` before the route. `key_name` is that of the key it carries, if any.

    `fields` are its headers by name; it `is_bare` where none of them can say who called, or give
    the request an id. `known_origin` is its `origin`, once that was asked for.
    """

    __slots__ = ("client", "fields", "is_bare", "key_name", "known_origin", "path", "root_path")

    def __init__(  # noqa: PLR0917  # made for nearly every request: keywords would cost
        self,
        path: str,
        client: Client,
        fields: Mapping[bytes, bytes],
        is_bare: bool,  # noqa: FBT001  # as above
        root_path: str = "",
        key_name: str = "",
    ) -> None:
        self.path = path
        self.root_path = root_path
        self.key_name = key_name
        self.client = client
        self.fields = fields
        self.is_bare = is_bare
        self.known_origin: Origin | None = None

    @property
    def origin(self) -> Origin:
        """What it has in common with others: the same object for all that are alike."""
        if self.known_origin is None:
            host, user_agent = self.fields.get(b"host"), self.fields.get(b"user-agent")
            path = self.root_path + self.path
            self.known_origin = post_origin(
                path, self.client.source, host, user_agent, self.key_name
            )
        return self.known_origin
