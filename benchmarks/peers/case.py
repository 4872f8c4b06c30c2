"""One row of the estimators' benchmark."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Case(NamedTuple):
    """Ours, and the peers that compute the same thing; each call blocks until done."""

    name: str
    ours: Callable[[], Any]
    peers: dict[str, Callable[[], Any]]
    agree: float | None  # largest difference in nats, None where they differ by design
