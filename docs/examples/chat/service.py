"""A chat in OpenAI's shape: a generator that yields a token at a time, streamed or not."""

from collections.abc import Iterator
from typing import Any

from fastapi import HTTPException

from spanserve import api, service, span

ANSWERS = {"hello": "Hello! What can I do for you?", "bye": "Good bye."}


@service(name="chat")
class Chat:
    def warm_up(self) -> None:
        self.answers = dict(ANSWERS)  # where a model would be loaded, and run once

    @api(openai="chat")
    def complete(
        self, messages: list[dict[str, Any]], max_tokens: int | None = None
    ) -> Iterator[str]:
        """Answer the last message; runs on the model's thread, a token at a time."""
        last = str(messages[-1].get("content", "")).lower().strip(" .!")
        if not last:
            raise HTTPException(400, "the last message is empty")
        tokens = self.answers.get(last, f"You said: {last}.").split(" ")
        for number, token in enumerate(tokens[:max_tokens]):
            with span("token", number=number):
                text = token if number == 0 else f" {token}"
            yield text
