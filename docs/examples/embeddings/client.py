"""Ask by OpenAI's own client, and rerank what is nearest: `python client.py URL`."""

import sys

import httpx
import numpy as np
from openai import OpenAI

TEXTS = ["the cat sat on the mat", "stocks fell on monday", "a cat and a dog on a mat"]
QUERY = "where is the cat"


def main(url: str) -> None:
    with OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        made = client.embeddings.create(model="hashes", input=[QUERY, *TEXTS])
    query, *rows = [np.array(each.embedding) for each in made.data]
    nearest = max(range(len(TEXTS)), key=lambda index: rows[index] @ query)
    print(len(query), TEXTS[nearest])
    scores = httpx.post(
        f"{url}/rerank",
        json=[{"query": QUERY, "text": text} for text in TEXTS],
        headers={"Content-Type": "application/x-items+json"},
    ).json()
    print(TEXTS[int(np.argmax(scores))])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
