"""Images by upload: bytes of many clients are one batch, and a form has a part an argument."""

from io import BytesIO

import numpy as np
from fastapi import HTTPException, UploadFile
from PIL import Image, UnidentifiedImageError

from spanserve import api, service, span

NAMES = ["red", "green", "blue"]
SIDE = 16


def pixels(data: bytes) -> np.ndarray:
    """Decode an image to `(SIDE, SIDE, 3)` numbers from 0 to 1; what is none is answered 422."""
    try:
        image = Image.open(BytesIO(data)).convert("RGB").resize((SIDE, SIDE))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise HTTPException(422, f"no image: {type(error).__name__}") from None
    return np.asarray(image, "float32") / 255


@service(name="images")
class Images:
    def __init__(self) -> None:
        self.weights = np.eye(3, dtype="float32")  # a model that is made here

    @api(batch=True, accepts=("image/png", "image/jpeg"))
    def colour(self, images: list[bytes]) -> list[str | HTTPException]:
        """Say which colour an image has most of; one that is no image fails alone."""
        found: list[np.ndarray | HTTPException] = []
        with span("decode images", images=len(images)):
            for data in images:
                try:
                    found.append(pixels(data))
                except HTTPException as error:
                    found.append(error)
        with span("model"):
            return [
                each
                if isinstance(each, HTTPException)
                else NAMES[int((each.mean(axis=(0, 1)) @ self.weights).argmax())]
                for each in found
            ]

    @api(media_type="image/png")
    def thumbnail(self, image: UploadFile, size: int = 32, *, grey: bool = False) -> bytes:
        """Make an image small: a form with a file and two fields."""
        small = Image.open(image.file).convert("L" if grey else "RGB").resize((size, size))
        out = BytesIO()
        small.save(out, "PNG")
        return out.getvalue()
