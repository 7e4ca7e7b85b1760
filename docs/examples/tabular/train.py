"""Train a classifier of flowers, and write `model.joblib` beside this file, before serving."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def main() -> None:
    flowers = load_iris(as_frame=True)
    model = RandomForestClassifier(n_estimators=20, random_state=0)
    model.fit(flowers.data.set_axis(COLUMNS, axis=1), flowers.target_names[flowers.target])
    joblib.dump(model, Path(__file__).parent / "model.joblib")


if __name__ == "__main__":
    main()
