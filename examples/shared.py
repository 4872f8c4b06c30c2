"""Functions of the benchmark suite that the examples use."""

import arguments  # noqa: F401, where the suite is put on the path
from suite import known
from suite.files import replacing
from suite.images import load_images
from suite.mixture import mixture_mi
from suite.nets import MLP, PatchConv
from suite.progress import bars
from suite.readers import spread

__all__ = [
    "MLP",
    "PatchConv",
    "bars",
    "known",
    "load_images",
    "mixture_mi",
    "replacing",
    "spread",
]
