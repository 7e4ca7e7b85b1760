"""Train the model of this bundle: `python train.py` writes model.joblib beside this file."""

from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC


class Halves(NamedTuple):
    """The data in two halves; images are rows of 64 grey values, 0 to 16."""

    images: np.ndarray
    labels: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray


def halves() -> Halves:
    """Split the data that scikit-learn ships, always in the same way."""
    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.5, random_state=0, stratify=labels
    )
    return Halves(train, train_labels, test, test_labels)


def train(data: Halves) -> Any:
    """Return a classifier of images whose values were divided by 16."""
    return SVC(gamma=0.25).fit(data.images / 16, data.labels)


if __name__ == "__main__":
    joblib.dump(train(halves()), Path(__file__).with_name("model.joblib"))
