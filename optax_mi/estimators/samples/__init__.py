"""Mutual information from the distances between samples."""

from optax_mi.estimators.samples._kde import kde as kde
from optax_mi.estimators.samples._kde_mi import kde_mi as kde_mi
from optax_mi.estimators.samples._ksg_mi import ksg_mi as ksg_mi
from optax_mi.estimators.samples._nearest_neighbors import (
    nearest_neighbors as nearest_neighbors,
)
from optax_mi.estimators.samples._ross_mi import ross_mi as ross_mi
