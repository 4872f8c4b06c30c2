"""Mutual information from the distances between samples."""

from optax_mi.estimators.samples._by_feature import ksg_by_feature as ksg_by_feature
from optax_mi.estimators.samples._by_feature import ross_by_feature as ross_by_feature
from optax_mi.estimators.samples._by_feature import strips_of as strips_of
from optax_mi.estimators.samples._kde import kde as kde
from optax_mi.estimators.samples._kde_mi import kde_mi as kde_mi
from optax_mi.estimators.samples._ksg_mi import ksg_mi as ksg_mi
from optax_mi.estimators.samples._nearest_neighbors import (
    nearest_neighbors as nearest_neighbors,
)
from optax_mi.estimators.samples._ross_mi import ross_mi as ross_mi
from optax_mi.estimators.samples._ties import break_ties_in_order as break_ties_in_order
