"""Send images as they are, and in a form: `python client.py URL`."""

import sys
from io import BytesIO

import httpx
from PIL import Image


def png(colour: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (200, 100), colour).save(out, "PNG")
    return out.getvalue()


def main(url: str) -> None:
    for colour in ("crimson", "navy"):
        answer = httpx.post(
            f"{url}/colour", content=png(colour), headers={"Content-Type": "image/png"}
        )
        print(colour, answer.raise_for_status().json())
    refused = httpx.post(f"{url}/colour", content=b"?", headers={"Content-Type": "image/png"})
    print(refused.status_code, refused.json()["message"])
    small = httpx.post(
        f"{url}/thumbnail",
        files={"image": ("large.png", png("teal"), "image/png")},
        data={"size": "8", "grey": "true"},
    )
    made = Image.open(BytesIO(small.raise_for_status().content))
    print(small.headers["content-type"], made.size, made.mode)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
