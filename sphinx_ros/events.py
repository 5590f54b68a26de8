"""What a stream of answers tells, as frozen values: text, finished items, results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sphinx_ros.types import Answer, Detection, Keypoint, Pose, Results


@dataclass(frozen=True)
class Piece:
    """More text of an answer, as it is written; whole characters only.

    Attributes:
        number: which of the queries is answered, from 0; so for all events.
    """

    text: str
    number: int = 0


@dataclass(frozen=True)
class Found:
    """A box or a point whose bracket has closed, or a person whose joints have been written.

    The item is as the model wrote it. What is judged at the end, in the result, may add to it
    (:attr:`Detection.presence`, a calibrated score), or deny it (:attr:`Results.denied`).
    """

    item: Detection | Keypoint | Pose
    number: int = 0


@dataclass(frozen=True)
class Finished:
    """The result of a query, its last event.

    Attributes:
        result: what :meth:`sphinx_ros.seen.Seen.answer` gives, an error only with return_errors.
    """

    result: Results | Answer | Exception
    number: int = 0


Event = Piece | Found | Finished
"""What a stream of answers consists of."""


def ends(results: Sequence[Any], return_errors: bool) -> Iterator[Finished]:
    """The last events of queries. Without return_errors the first error is raised behind them."""
    for number, result in enumerate(results):
        if return_errors or not isinstance(result, BaseException):
            yield Finished(result, number)
    for result in results:
        if isinstance(result, BaseException) and not return_errors:
            raise result
