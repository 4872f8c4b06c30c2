"""What the examples take from the suite of benchmarks."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from suite.files import replacing
from suite.images import load_images, missing_files

__all__ = ["load_images", "missing_files", "replacing"]
