"""Many pictures, questions about each, greedily, as one batch: for measuring, not for a robot.

The same engine answers as for a robot. Nobody else finds these pictures again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sphinx_ros.engine.engine import Engine, Question
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.watch import Deadline, Watch
from sphinx_ros.model.network import Network
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.tasks import Language


class BatchAsker:
    """Greedy answers for a batch of pictures.

    network: in evaluation mode. tokenizer: of the same checkpoint.
    """

    def __init__(self, network: Network, tokenizer: Tokenizer):
        self.engine = Engine(network, tokenizer, budget=0)
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
