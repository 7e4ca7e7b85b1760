"""The OpenAPI document is kept: schemathesis finds no failure and no answer that it leaves out."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel

from spanserve import Array, api, service
from support.serving import serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


class Point(BaseModel):
    x: float
    y: int = 0


@service
class Everything:
    """An endpoint of each kind."""

    @api(batch=True)
    def double(self, rows: Annotated[np.ndarray, Array("float32", (2,))]) -> np.ndarray:
        with np.errstate(over="ignore"):
            return rows * 2

    @api(batch=True)
    def heights(self, points: list[Point]) -> list[int]:
        return [point.y for point in points]

    @api
    def add(self, a: int, b: int = 1) -> int:
        return a + b

    @api
    async def words(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield word

    @api
    def nothing(self) -> None:
        """Take nothing, give nothing."""


TOKEN = "thirty-two-characters-at-random-"


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "schemathesis"
    with serving(Everything, {"tracing": {"control": {"token": TOKEN}}}) as server:
        found = subprocess.run(
            [
                *(str(command), "run", f"{server.url}/openapi.json"),
                *("--checks", ",".join(CHECKS), "--max-examples", "30", "--seed", "1"),
                *("--header", f"Authorization: Bearer {TOKEN}"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-1000:]
