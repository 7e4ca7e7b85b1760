"""Rows of a table: a scikit-learn model gets a data frame of all that were asked together."""

from typing import Annotated

import joblib
import pandas as pd
from pydantic import BaseModel, Field

from spanserve import api, bundle_path, service, span


class Flower(BaseModel):
    """One row; a request is such an object."""

    sepal_length: float = Field(gt=0)
    sepal_width: float = Field(gt=0)
    petal_length: float = Field(gt=0)
    petal_width: float = Field(gt=0)


class Kind(BaseModel):
    """What is answered; `sure` by the settings."""

    kind: str
    probability: float
    sure: bool


class Settings(BaseModel):
    """The section `service` of the config file."""

    sure_from: float = Field(default=0.9, ge=0, le=1)


@service(name="flowers")
class Flowers:
    def __init__(self, settings: Settings) -> None:
        self.sure_from = settings.sure_from
        self.model = joblib.load(bundle_path("model.joblib"))

    @api(batch=True, max_batch_size=128)
    def classify(self, flowers: Annotated[pd.DataFrame, Flower]) -> list[Kind]:
        """Say which flower each row is."""
        with span("predict_proba", rows=len(flowers)):
            probabilities = self.model.predict_proba(flowers)
        best = probabilities.argmax(axis=1)
        return [
            Kind(
                kind=self.model.classes_[index],
                probability=float(row[index]),
                sure=bool(row[index] >= self.sure_from),
            )
            for row, index in zip(probabilities, best, strict=True)
        ]
