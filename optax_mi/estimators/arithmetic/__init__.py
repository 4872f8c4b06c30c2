"""Arithmetic that several estimators share."""

from optax_mi.estimators.arithmetic._blocks import BLOCK as BLOCK
from optax_mi.estimators.arithmetic._blocks import block_of_rows as block_of_rows
from optax_mi.estimators.arithmetic._blocks import over_blocks as over_blocks
from optax_mi.estimators.arithmetic._digamma import digamma as digamma
from optax_mi.estimators.arithmetic._digamma import (
    digamma_difference as digamma_difference,
)
from optax_mi.estimators.arithmetic._logs import log_or_zero as log_or_zero
from optax_mi.estimators.arithmetic._scatter import add_by_label as add_by_label
from optax_mi.estimators.arithmetic._scatter import gram as gram
from optax_mi.estimators.arithmetic._scatter import gram_of_pair as gram_of_pair
from optax_mi.estimators.arithmetic._scatter import replicate as replicate
from optax_mi.estimators.arithmetic._scatter import scatter as scatter
from optax_mi.estimators.arithmetic._scatter import sum_by_label as sum_by_label
from optax_mi.estimators.arithmetic._scatter import take_by_label as take_by_label
from optax_mi.estimators.arithmetic._scatter import weighted_sum as weighted_sum
from optax_mi.estimators.arithmetic._scatter import weighted_total as weighted_total
from optax_mi.estimators.arithmetic._sort import argsort as argsort
from optax_mi.estimators.arithmetic._sort import sort as sort
from optax_mi.estimators.arithmetic._sums import MAX_BATCH as MAX_BATCH
from optax_mi.estimators.arithmetic._units import power_of_two as power_of_two
from optax_mi.estimators.arithmetic._varying import vary_like as vary_like
from optax_mi.estimators.arithmetic._varying import varying_axes as varying_axes
