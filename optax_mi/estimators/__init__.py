"""Streaming estimators of mutual information, in nats."""

from optax_mi.estimators._base import MIEstimate as MIEstimate
from optax_mi.estimators._base import MIEstimator as MIEstimator
from optax_mi.estimators._base import no_estimate as no_estimate
from optax_mi.estimators._binned import binned as binned
from optax_mi.estimators._binned import binned_mi as binned_mi
from optax_mi.estimators._contingency import contingency as contingency
from optax_mi.estimators._gaussian import gaussian_mi as gaussian_mi
from optax_mi.estimators._gaussian_stream import gaussian as gaussian
from optax_mi.estimators._kde import kde_mi as kde_mi
from optax_mi.estimators._kde_stream import kde as kde
from optax_mi.estimators._ksg import ksg_mi as ksg_mi
from optax_mi.estimators._measured import measured as measured
from optax_mi.estimators._nearest_neighbors import (
    nearest_neighbors as nearest_neighbors,
)
from optax_mi.estimators._plugin_mi import plugin_entropy as plugin_entropy
from optax_mi.estimators._plugin_mi import plugin_mi as plugin_mi
from optax_mi.estimators._plugin_mi import table_mi as table_mi
from optax_mi.estimators._ross import ross_mi as ross_mi
from optax_mi.estimators._variational import variational as variational
from optax_mi.estimators._variational import variational_mi as variational_mi
