"""The learning rates between which a network learns, found before training."""

from optax_mi.range_test._result import LRRangeResult as LRRangeResult
from optax_mi.range_test._search import lr_range_test as lr_range_test
