"""Text that comes with every Python: the help topics of `pydoc`."""

from pydoc_data.topics import topics

import numpy as np

VOCABULARY = 96  # printable ASCII and the newline


def read_text() -> np.ndarray:
    """All topics as tokens in [0, VOCABULARY), one byte each; others read as '?'."""
    text = "\n".join(topics[name] for name in sorted(topics))
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    printable = (codes >= 32) & (codes < 127)
    tokens = np.where(printable, codes - 32, ord("?") - 32)
    return np.where(codes == ord("\n"), VOCABULARY - 1, tokens).astype(np.uint8)
