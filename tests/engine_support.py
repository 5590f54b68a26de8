"""Raw token ids through the engine's passes, for networks without a tokenizer."""

import threading

from sphinx_ros.engine.choosing import ANY
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.inflight import InFlight
from sphinx_ros.engine.row import Row
from sphinx_ros.engine.style import State
from sphinx_ros.runtime.forks import OwnLock


class After:
    """Ends an answer at a sequence of ids, or never."""

    def __init__(self, *ids):
        self.ids = list(ids)

    def length(self, ids):
        size = len(self.ids)
        return len(ids) - size if self.ids and ids[-size:] == self.ids else None


class Free:
    """Allows everything and expects nothing."""

    digits = ()

    def after(self, state, token):
        return State()

    def wish(self, state):
        return ANY

    def forced(self, state):
        return ()

    guess = forced


class Heard:
    """A watch that keeps what it is told, and stops when it is told to."""

    def __init__(self, stop=lambda: False):
        self.tokens, self.should_stop = [], stop

    def token(self, choice):
        self.tokens.append(choice.token)


class Passes:
    """A network's passes behind one prefix. image: image tokens [1, W, dim]."""

    def __init__(self, network, prefix, image, room=4):
        self.network, self.room = network, room
        self.frame = Frame(b"", prefix, image)
        self.in_flight = InFlight(network, OwnLock(), self.make_room, lambda: False)

    def make_room(self, frame, number):
        import torch

        if frame.cache is None:
            cache = self.network.new_cache(1, frame.start + self.room)
            if frame.start:
                ids = torch.tensor([frame.ids])
                image = frame.image if frame.image.shape[1] else None
                self.network.hidden(self.network.embed(ids, image), cache=cache)
            frame.fill(cache)
        while frame.lacks(number):
            longer = self.network.new_cache(1, frame.cache.length + self.room, frame.cache)
            frame.fill(longer)

    def row(self, prompt, ending=None, limit=12, watch=None, **more):
        shared = len(self.frame.ids)
        more = {"guide": Free(), "ending": ending or After(), **more}
        return Row(self.frame, prompt, shared, limit=limit, watch=watch or Heard(), **more)

    def run(self, *rows):
        """The answers of rows that start together."""
        self.in_flight.run(rows)
        return [row.answer() for row in rows]

    def run_apart(self, *rows):
        """The answers of rows that different threads bring."""
        threads = [threading.Thread(target=self.in_flight.run, args=([row],)) for row in rows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [row.answer() for row in rows]
