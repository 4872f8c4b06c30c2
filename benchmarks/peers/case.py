"""One row of the estimators' benchmark."""

from collections.abc import Callable
from typing import Any, NamedTuple

try:
    import infomeasure  # pyright: ignore[reportMissingImports]
except ImportError:
    # Of another licence, and the only peer that may be missing.
    infomeasure = None


class Case(NamedTuple):
    """Ours, and the peers that compute the same thing; each call blocks until done."""

    name: str
    ours: Callable[[], Any]
    peers: dict[str, Callable[[], Any]]
    agree: float | None  # largest difference in nats, None where they differ by design
