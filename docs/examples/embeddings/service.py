"""Embeddings in OpenAI's shape, and a reranker: one model of texts, batched for everybody."""

import re
from zlib import crc32

import numpy as np
from pydantic import BaseModel, Field

from spanserve import api, service

DIMENSIONS = 256


def embedded(texts: list[str]) -> np.ndarray:
    """Hash words into rows of length 1: a stand-in for a model of yours."""
    rows = np.zeros((len(texts), DIMENSIONS), "float32")
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            row[crc32(word.encode()) % DIMENSIONS] += 1
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-9)


class Pair(BaseModel):
    """What the reranker scores."""

    query: str = Field(max_length=10_000)
    text: str = Field(max_length=100_000)


@service(name="embeddings")
class Embeddings:
    @api(batch=True, openai="embeddings", max_batch_size=64)
    def embed(self, texts: list[str]) -> np.ndarray:
        """Embed texts: `POST /v1/embeddings`."""
        return embedded(texts)

    @api(batch=True, max_batch_size=64)
    def rerank(self, pairs: list[Pair]) -> np.ndarray:
        """Score how well a text answers a query, from 0 to 1."""
        queries = embedded([pair.query for pair in pairs])
        texts = embedded([pair.text for pair in pairs])
        return (queries * texts).sum(axis=1)
