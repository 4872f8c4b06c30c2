"""What the examples take from the suite of benchmarks."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from suite.files import replacing
from suite.images import INSTALLED, load_images, missing_files
from suite.nets import PatchConv

__all__ = ["INSTALLED", "PatchConv", "load_images", "missing_files", "replacing"]
