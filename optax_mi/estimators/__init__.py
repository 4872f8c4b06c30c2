"""Estimators of mutual information, in nats.

Streaming estimators take one batch at a time inside a train step, and serve as the
`estimator` of :func:`optax_mi.mi_decay`. Functions that end in `_mi` take whole arrays.
All take `outputs` and `labels`, and return an :class:`MIEstimate`. The exception is
`feature_mi`, which has the interface of scikit-learn's feature scores.
"""

# The types of estimators and estimates.
from optax_mi.estimators._base import MIEstimate as MIEstimate
from optax_mi.estimators._base import MIEstimator as MIEstimator

# For MI measured elsewhere, or a loss alone.
from optax_mi.estimators._from_loss import from_loss as from_loss
from optax_mi.estimators._measured import measured as measured

# One call, for samples of any kind.
from optax_mi.estimators.choice import MutualInformation as MutualInformation
from optax_mi.estimators.choice import mutual_information as mutual_information

# One feature at a time.
from optax_mi.estimators.features import feature_mi as feature_mi

# For Gaussian vectors.
from optax_mi.estimators.moments import gaussian as gaussian
from optax_mi.estimators.moments import gaussian_mi as gaussian_mi

# From distances between samples.
from optax_mi.estimators.samples import kde as kde
from optax_mi.estimators.samples import kde_mi as kde_mi
from optax_mi.estimators.samples import ksg_mi as ksg_mi
from optax_mi.estimators.samples import nearest_neighbors as nearest_neighbors
from optax_mi.estimators.samples import ross_mi as ross_mi

# From joint tables, and from the loss of a decoder.
from optax_mi.estimators.tables import binned as binned
from optax_mi.estimators.tables import binned_mi as binned_mi
from optax_mi.estimators.tables import contingency as contingency
from optax_mi.estimators.tables import plugin_entropy as plugin_entropy
from optax_mi.estimators.tables import plugin_mi as plugin_mi
from optax_mi.estimators.tables import table_mi as table_mi
from optax_mi.estimators.tables import variational as variational
from optax_mi.estimators.tables import variational_mi as variational_mi

__all__ = [
    "MIEstimate",
    "MIEstimator",
    "MutualInformation",
    "binned",
    "binned_mi",
    "contingency",
    "feature_mi",
    "from_loss",
    "gaussian",
    "gaussian_mi",
    "kde",
    "kde_mi",
    "ksg_mi",
    "measured",
    "mutual_information",
    "nearest_neighbors",
    "plugin_entropy",
    "plugin_mi",
    "ross_mi",
    "table_mi",
    "variational",
    "variational_mi",
]
