"""Ask with the key and without it, and as a page of another origin: `python client.py URL`."""

import os
import sys

import httpx


def main(url: str) -> None:
    key = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
    print(httpx.post(f"{url}/greet", json="Ada", headers=key).json()["text"])
    print(httpx.post(f"{url}/greet", json="Ada").json()["code"])
    page = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked = httpx.options(f"{url}/greet", headers=page)
    print(asked.headers["access-control-allow-origin"])
    print(httpx.get(f"{url}/about").json())
    print(httpx.get(f"{url}/readyz").text.strip())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
