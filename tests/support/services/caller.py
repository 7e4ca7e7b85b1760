"""A service that asks another one, within the same trace."""

import httpx

from spanserve import api, outgoing_headers, service, span


@service
class Caller:
    @api
    async def ask(self, url: str, number: float) -> float:
        """Post the number to the other service and return its answer."""
        with span("ask the other"):
            async with httpx.AsyncClient() as client:
                answer = await client.post(url, json=number, headers=outgoing_headers())
        return float(answer.json())
