"""Figures of training, its layers and a range test (matplotlib, an extra)."""

try:
    import matplotlib  # noqa: F401
except ImportError as _error:
    raise ImportError(
        "optax_mi.plotting draws with matplotlib: pip install 'optax-mi[plot]'."
    ) from _error

from optax_mi.plotting._auto import plot_auto
from optax_mi.plotting._information_plane import plot_information_plane
from optax_mi.plotting._layers import plot_layers
from optax_mi.plotting._range_test import plot_range_test
from optax_mi.plotting._training import plot_training

__all__ = [
    "plot_auto",
    "plot_information_plane",
    "plot_layers",
    "plot_range_test",
    "plot_training",
]
