"""A model of this process for when no server can be reached: loaded when it is first wanted.

A thread loads it, so that who waits may give up. Knows no torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sphinx_ros.errors import Cancelled, Unreachable
from sphinx_ros.remote.patience import Patience
from sphinx_ros.runtime.failures import logged


class Spare:
    """The model that a function makes. load: makes it; None: there is none.

    Attributes:
        model: None as long as it is not loaded. trouble: why it can't be loaded; it is not tried
            again.
    """

    def __init__(self, load: Callable[[], Any] | None):
        self.model: Any = None
        self.trouble = ""
        self._load, self._settled, self._closed = load, threading.Event(), False
        self._lock = threading.Lock()
        self._begun = False

    @property
    def there(self) -> bool:
        """Whether there is one to fall back on, loaded or not."""
        return self._load is not None and not self.trouble

    def get(self, patience: Patience) -> Any:
        """The model, loaded now unless it is there.

        Raises:
            Unreachable: it can't be loaded. Cancelled: it was closed. What ends the patience: who
            comes later finds it further on.
        """
        with self._lock:
            begin, self._begun = not self._begun and not self._closed, True
        if begin:
            threading.Thread(target=self._run, name="sphinx_ros fallback", daemon=True).start()
        patience.wait(self._settled)
        with self._lock:
            if self._closed:
                raise Cancelled("the connection was closed: connect again")
            if self.trouble:
                raise Unreachable(self.trouble)
            return self.model

    def _run(self) -> None:
        assert self._load is not None
        model, trouble = None, ""
        try:
            model = self._load()
        except Exception as error:
            why = logged(error, "this program's", "loading the fallback")
            trouble = f"the fallback can't be loaded: {why}"
        with self._lock:
            late = self._closed
            if not late:
                self.model, self.trouble = model, trouble
        self._settled.set()
        if late and model is not None:
            model.close()

    def close(self) -> None:
        """Let it go; one that is being loaded goes as soon as it is there."""
        with self._lock:
            self._closed = True
            model, self.model = self.model, None
        self._settled.set()
        if model is not None:
            model.close()
