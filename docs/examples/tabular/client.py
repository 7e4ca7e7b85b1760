"""Ask for one flower, then for several in one request: `python client.py URL`."""

import sys

import httpx

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
VIRGINICA = {"sepal_length": 6.7, "sepal_width": 3.0, "petal_length": 5.2, "petal_width": 2.3}
BROKEN = {"sepal_length": -1, "sepal_width": 3.0, "petal_length": 5.2, "petal_width": 2.3}


def main(url: str) -> None:
    one = httpx.post(f"{url}/classify", json=SETOSA).raise_for_status().json()
    print(one["kind"], one["sure"])
    many = httpx.post(
        f"{url}/classify",
        json=[SETOSA, VIRGINICA, BROKEN],
        headers={"Content-Type": "application/x-items+json"},
    ).json()
    for each in many:
        print(each["error"]["message"] if "error" in each else each["kind"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
