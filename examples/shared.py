"""Functions of the benchmark suite that the examples use."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from suite import known
from suite.files import replacing
from suite.images import INSTALLED, load_images, missing_files
from suite.mixture import mixture_mi
from suite.nets import MLP, PatchConv
from suite.readers import spread

__all__ = [
    "INSTALLED",
    "MLP",
    "PatchConv",
    "known",
    "load_images",
    "missing_files",
    "mixture_mi",
    "replacing",
    "spread",
]
