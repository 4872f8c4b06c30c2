"""Choosing learning rates before training: the range test, and `auto`."""

from optax_mi.range_test._auto import auto as auto
from optax_mi.range_test._found import AutoResult as AutoResult
from optax_mi.range_test._found import AutoRun as AutoRun
from optax_mi.range_test._result import LRRangeResult as LRRangeResult
from optax_mi.range_test._search import lr_range_test as lr_range_test
