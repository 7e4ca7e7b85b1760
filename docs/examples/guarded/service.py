"""What production asks for: a key, CORS, a route of one's own, a hook at the start, health."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header, Request
from pydantic import BaseModel, SecretStr

from spanserve import api, service


class Settings(BaseModel):
    """The section `service`; secrets are shown nowhere."""

    greeting: str = "hello"
    database_url: SecretStr = SecretStr("sqlite://")


@asynccontextmanager
async def connected(_app: FastAPI) -> AsyncIterator[dict[str, list[str]]]:
    """Open what routes need, once the model is there, and close it at the end."""
    yield {"seen": []}


@service(name="guarded")
class Guarded:
    def __init__(self, settings: Settings) -> None:
        self.greeting = settings.greeting
        self.is_warm = False

    async def warm_up(self) -> None:
        """Run before the first request; not ready before."""
        self.is_warm = True

    def healthy(self) -> bool:
        """Be asked by `/readyz`."""
        return self.is_warm

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        """Add a route and a lifespan of one's own, as to any app of FastAPI's."""
        app.router.lifespan_context = connected

        @app.get("/about")
        async def about(request: Request) -> dict[str, object]:
            request.state.seen.append("about")
            return {"service": cls.__name__, "asked": len(request.state.seen)}

    @api
    async def greet(
        self, name: str, accept_language: Annotated[str, Header()] = "en"
    ) -> dict[str, str]:
        """Greet somebody; the header comes beside the body."""
        return {"text": f"{self.greeting} {name}", "language": accept_language}
