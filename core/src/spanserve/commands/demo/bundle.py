"""The demo's bundle: trained, and written to a folder."""

import filecmp
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import joblib
import numpy as np

from spanserve.commands.demo.digits.train import halves, train
from spanserve.errors import BundleError

FILES: Final = ("bundle.yml", "service.py", "train.py")
MODEL: Final = "model.joblib"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, and what to ask of it.

    `images` are the held-out rows of 64 values with their true `labels`; `expected` is what
    the model itself says of each.
    """

    folder: Path
    model: str
    trained_on: int
    trained_s: float
    images: np.ndarray
    labels: np.ndarray
    expected: np.ndarray


def make_folder(folder: Path) -> None:
    """Make the bundle's folder, if it is not there yet; BundleError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"the bundle cannot be written to {folder}: {error}") from error


def write_bundle(folder: Path) -> Bundle:
    """Train the model and write the bundle; BundleError if the folder cannot hold it."""
    data = halves()
    started_s = time.perf_counter()
    model = train(data)
    trained_s = time.perf_counter() - started_s
    _copy_files(folder)
    joblib.dump(model, folder / MODEL)
    return Bundle(
        folder,
        type(model).__name__,
        len(data.images),
        trained_s,
        data.held_out_images,
        data.held_out_labels,
        np.asarray(model.predict(data.held_out_images.astype(np.float32) / 16)),
    )


def _copy_files(folder: Path) -> None:
    """Write what people read; whatever else has one of these names stays as it is."""
    make_folder(folder)
    try:
        with as_file(files("spanserve.commands.demo").joinpath("digits")) as source:
            for name in FILES:
                _check_free(folder / name, source / name)
            for name in FILES:
                (folder / name).write_bytes((source / name).read_bytes())
    except OSError as error:
        raise BundleError(f"the bundle cannot be written to {folder}: {error}") from error


def _check_free(target: Path, source: Path) -> None:
    if target.exists() and not filecmp.cmp(target, source, shallow=False):
        raise BundleError(
            f"{target} is there already and is not the demo's; name another folder with --output"
        )
