"""What OpenAI's API takes and gives, as far as it is served here.

Source: https://platform.openai.com/docs/api-reference. Keys that are not here are left alone: the
method gets those whose names it has as parameters.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_INPUTS = 2048


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class EmbeddingsRequest(_Open):
    """`POST /v1/embeddings`."""

    model: str = ""
    input: Any = Field(description="A text, tokens, or a list of either: at most 2048 items")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: None = Field(default=None, description="Not served: embeddings are as they are")


class StreamOptions(_Open):
    """What a stream is to have besides."""

    include_usage: bool = False


class ChatRequest(_Open):
    """`POST /v1/chat/completions`."""

    model: str = ""
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = 1


class Usage(BaseModel):
    """Tokens are not counted here."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Embedding(BaseModel):
    """The embedding of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float | None] | str


class EmbeddingsResponse(BaseModel):
    """The answer of `/v1/embeddings`."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class ChatResponse(BaseModel):
    """The answer of `/v1/chat/completions`, as a whole."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: Usage


class OpenAIError(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str


class OpenAIErrorBody(BaseModel):
    """The body of an error, beside our own keys."""

    error: OpenAIError
    request_id: str
    trace_id: str | None = None
