"""Writes the data files of the examples from the packages that carry them.

In: scikit-learn and statsmodels (``pip install scikit-learn statsmodels``). Out: ``diabetes.csv``, ``digits.csv``,
``wine.csv`` and ``sunspots.csv`` beside this script, each with a header row and one observation a line. Run it as ``python examples/data/make.py``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from sklearn.datasets import load_diabetes, load_digits, load_wine
from statsmodels.datasets import sunspots

HERE = Path(__file__).parent


def write(name: str, header: Sequence[str], rows: Iterable[Sequence[float]]) -> None:
    """Writes a table; whole numbers without a decimal point."""
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow([int(v) if float(v).is_integer() else repr(float(v)) for v in row])


def main() -> None:
    """Makes the files."""
    diabetes = load_diabetes(scaled=False)
    features = [*diabetes.feature_names, "target"]
    write("diabetes.csv", features, ([*x, y] for x, y in zip(diabetes.data, diabetes.target, strict=True)))
    digits = load_digits()
    features = [*digits.feature_names, "label"]
    write("digits.csv", features, ([*x, y] for x, y in zip(digits.data, digits.target, strict=True)))
    wine = load_wine()
    features = [n.replace("/", "_") for n in wine.feature_names]
    write("wine.csv", [*features, "class"], ([*x, y] for x, y in zip(wine.data, wine.target, strict=True)))
    spots = sunspots.load_pandas().data
    write("sunspots.csv", ["year", "sunspots"], zip(spots["YEAR"], spots["SUNACTIVITY"], strict=True))


if __name__ == "__main__":
    main()
