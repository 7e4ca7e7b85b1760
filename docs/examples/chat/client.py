"""Chat by OpenAI's own client, whole and streamed: `python client.py URL`."""

import sys
from typing import Any

from openai import BadRequestError, OpenAI


def main(url: str) -> None:
    messages: Any = [{"role": "user", "content": "Hello!"}]
    with OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        whole = client.chat.completions.create(model="parrot", messages=messages)
        print(whole.choices[0].message.content)
        stream = client.chat.completions.create(
            model="parrot", messages=messages, stream=True, max_tokens=3
        )
        print("|".join(chunk.choices[0].delta.content or "" for chunk in stream))
        try:
            client.chat.completions.create(
                model="parrot", messages=[{"role": "user", "content": ""}]
            )
        except BadRequestError as error:
            print(error.status_code, error.code)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
