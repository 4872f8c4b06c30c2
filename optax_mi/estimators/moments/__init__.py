"""Mutual information of Gaussian vectors, from second moments."""

from optax_mi.estimators.moments._gaussian import gaussian as gaussian
from optax_mi.estimators.moments._gaussian_mi import gaussian_mi as gaussian_mi
