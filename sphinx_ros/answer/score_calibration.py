"""What a checkpoint's scores are worth: a few numbers that make them probabilities of being right.

They lie beside the checkpoint in ``calibration.json``, measured on questions with known answers
(``sphinx-ros calibrate``). Without the file the raw scores are given, and their source says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sphinx_ros.checkpoint.intact import read_json, there
from sphinx_ros.checkpoint.layout import CALIBRATION
from sphinx_ros.errors import CheckpointError, quoted
from sphinx_ros.runtime.files import write_text

REMEDY = "make it again with sphinx-ros calibrate, or remove it"

LEAST = 1e-4
"""Probabilities are kept this far from 0 and 1 before their logarithms are taken, and what
deviations are multiplied with this far from 0."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one box before it is calibrated.

    Attributes:
        score: geometric mean of the probabilities of its coordinates' first two decimals.
        presence: probability that there is such a thing; NaN where it was not asked.
        error: standard deviation of the sides, as a share of the box's own size.
        size: the box's longer side as a share of the padded square.
    """

    score: float
    presence: float
    error: float
    size: float

    def features(self) -> list[float]:
        """What the calibration weighs; 1 comes first."""
        presence = 0.5 if math.isnan(self.presence) else self.presence
        return [1.0, _log(self.score), _logit(presence), _log(self.error), _log(self.size)]


@dataclass(frozen=True)
class Calibration:
    """A checkpoint's numbers.

    Attributes:
        weights: of :meth:`Evidence.features`; the logistic function of the sum is the probability
            that a box has an IoU of 0.5 or more with the true one.
        present: presence from which on a thing counts as there; below, the answer is NOT_FOUND.
        sigma: what standard deviations are multiplied with.
        expected: whether boxes by expected coordinates are the better ones, and the usual ones.
        questions: how many questions it was measured on. source: which.
    """

    weights: tuple[float, ...]
    present: float
    sigma: float
    expected: bool = False
    questions: int = 0
    source: str = ""

    def score(self, evidence: Evidence) -> float:
        """Probability that the box is right, 0..1; NaN where its evidence is."""
        features = evidence.features()
        if any(math.isnan(value) for value in features):
            return math.nan
        total = sum(w * f for w, f in zip(self.weights, features, strict=True))
        return 1 / (1 + math.exp(-max(min(total, 30.0), -30.0)))

    def write(self, folder: str | Path) -> Path:
        """Put it beside a checkpoint; the file."""
        path = Path(folder) / CALIBRATION
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def first(cls, folders: Iterable[str | Path]) -> Calibration | None:
        """The one of the first folder that holds one. Raises CheckpointError as :meth:`read`."""
        return next((made for one in folders if (made := cls.read(one)) is not None), None)

    @staticmethod
    def read(folder: str | Path) -> Calibration | None:
        """That of a checkpoint's folder; None where it has none.

        Raises:
            CheckpointError: the file can't be read.
        """
        path = Path(folder) / CALIBRATION
        if not there(path):
            return None
        found = read_json(path, REMEDY)
        try:
            made = Calibration(
                tuple(_number("weights", weight) for weight in found["weights"]),
                _number("present", found["present"]),
                _number("sigma", found["sigma"]),
                _flag("expected", found.get("expected", False)),
                int(_number("questions", found.get("questions", 0))),
                str(found.get("source", "")),
            )
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise CheckpointError(
                f"{path} can't be read as a calibration ({type(error).__name__}: {error}); "
                f"{REMEDY}"
            ) from error
        if wrong := made._wrong():
            raise CheckpointError(f"{path}: {wrong}; {REMEDY}")
        return made

    def _wrong(self) -> str:
        """Which of its numbers can't be, and why; "" for none."""
        wanted = len(Evidence(0.5, 0.5, 0.1, 0.1).features())
        if len(self.weights) != wanted or not all(map(math.isfinite, self.weights)):
            return f"weights are {quoted(list(self.weights))}, expected {wanted} finite numbers"
        if not math.isfinite(self.present):
            return f"present is {self.present}, expected a finite number"
        if not 0 < self.sigma < math.inf:
            return f"sigma is {self.sigma:g}, expected a finite number above 0"
        if self.questions < 0:
            return f"questions is {self.questions}, expected how many were asked"
        return ""


def _number(key: str, value: object) -> float:
    """A JSON number. Raises TypeError: it is something else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is {quoted(value)}, not a number")
    return float(value)


def _flag(key: str, value: object) -> bool:
    """A JSON boolean. Raises TypeError: it is something else."""
    if not isinstance(value, bool):
        raise TypeError(f"{key} is {quoted(value)}, not true or false")
    return value


def fit_weights(evidence: Sequence[Evidence], right: Sequence[bool]) -> tuple[float, ...]:
    """Weights that make scores probabilities: logistic regression, by Newton's method.

    A small pull towards 0 keeps the weights finite where all answers are right.
    """
    x = np.array([one.features() for one in evidence])
    y = np.array(right, float)
    pull = np.diag([1e-6] + [0.5] * (x.shape[1] - 1))
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (y - p) - pull @ weights
        curvature = (x * (p * (1 - p))[:, None]).T @ x + pull
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    return tuple(float(weight) for weight in weights)


def fit_threshold(presence: Sequence[float], there: Sequence[bool], kept: float = 0.995) -> float:
    """Presence from which on things count as there.

    Of the thresholds that keep this share of the things that are there, or the largest share that
    any keeps, the one in the middle between the last that is kept and the next below it.
    """
    known = sorted(p for p, t in zip(presence, there, strict=True) if t and not math.isnan(p))
    if not known:
        return 0.5
    absent = sorted(p for p, t in zip(presence, there, strict=True) if not t)
    lowest = known[math.floor((1 - kept) * len(known))]
    below = [p for p in absent if p < lowest]
    middle = (lowest + (below[-1] if below else 0.0)) / 2
    # with a wide gap the even chance is the natural place
    return 0.5 if (below[-1] if below else 0.0) < 0.5 < lowest else middle


def fit_sigma(errors: Sequence[float], deviations: Sequence[float], share: float = 0.9) -> float:
    """What deviations are multiplied with, so that a normal 90 % interval holds 90 % of errors."""
    ratio = np.abs(np.asarray(errors)) / np.maximum(np.asarray(deviations), 1e-9)
    if not len(ratio):
        return 1.0
    return max(float(np.quantile(ratio, share) / 1.6449), LEAST)  # 0 where all boxes are exact


def _log(value: float) -> float:
    return math.log(max(value, LEAST)) if not math.isnan(value) else math.nan


def _logit(value: float) -> float:
    value = min(max(value, LEAST), 1 - LEAST)
    return math.log(value / (1 - value))
