"""Many pictures, questions about each, greedily, as one batch: for measuring, not for a robot.

The same engine answers as for a robot. Nobody else finds these pictures again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sphinx_ros.answer.judge import Judge
from sphinx_ros.answer.presence import YesNo
from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.answer.subject import Subject
from sphinx_ros.answer.together import answer_together
from sphinx_ros.engine.engine import Engine, Question
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.watch import Deadline, Watch
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.model.network import Network
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.tasks import Language, Task
from sphinx_ros.types import Detection, Points, Results


class BatchAsker:
    """Greedy answers for a batch of pictures.

    network: in evaluation mode. tokenizer, calibration: of the same checkpoint.
    """

    def __init__(
        self, network: Network, tokenizer: Tokenizer, calibration: Calibration | None = None
    ):
        self.engine = Engine(network, tokenizer, budget=0)
        self.judge = Judge(YesNo.of(self.engine.habits.pieces), calibration)
        self._frames: list[Frame] = []

    def look(self, pictures: torch.Tensor) -> None:
        """Encode [B, 3, S, S] and prefill the common prefix; questions are about these now."""
        self._frames = self.engine.look_all(pictures)

    def ask(
        self, questions: Sequence[tuple[int, str, Language]], max_new_tokens: int = 300
    ) -> list[str]:
        """Questions (number of the picture, Human text, language of the answer), all at once.

        Returns:
            The answers without the end signal. An error of one is raised.
        """
        watch = Watch(self.engine.ending, Deadline(None))
        asked = [
            (self._frames[number], Question(text, max_new_tokens, watch, language=language))
            for number, text, language in questions
        ]
        rows = self.engine.answer(asked)
        return [self.engine.ending.text(row.answer().ids).strip() for row in rows]

    def ground(
        self, expressions: Sequence[tuple[int, Letterbox, str]]
    ) -> list[Results[Detection]]:
        """Expressions (number of the picture, where it lies in its square, words), all at once."""
        return self._answer(Task.GROUND, expressions)

    def point(self, expressions: Sequence[tuple[int, Letterbox, str]]) -> list[Points]:
        """A point for each expression, all at once."""
        return self._answer(Task.POINT, expressions)

    def _answer(self, task: Task, expressions: Sequence[tuple[int, Letterbox, str]]) -> list:
        decimals = self.engine.network.config.coordinate_decimals
        pairs = [
            (
                Subject(self.engine, self._frames[number], place, decimals, self.judge),
                Query(task, words),
            )
            for number, place, words in expressions
        ]
        results = answer_together(pairs) if pairs else []
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results
