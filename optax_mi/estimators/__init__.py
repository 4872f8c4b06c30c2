"""Estimators of mutual information, in nats.

Streaming estimators take batch after batch inside a train step, and serve as the
`estimator` of :func:`optax_mi.mi_decay`. Functions that end in `_mi` take whole arrays.
All take `outputs` and `labels`, and return an :class:`MIEstimate`; `feature_mi` alone
is called, and returns, as scikit-learn's scores of features are.
"""

# What an estimator is, and what it returns.
from optax_mi.estimators._base import MIEstimate as MIEstimate
from optax_mi.estimators._base import MIEstimator as MIEstimator

# Measured elsewhere, or told by the loss alone.
from optax_mi.estimators._from_loss import from_loss as from_loss
from optax_mi.estimators._measured import measured as measured

# One call, for samples of any kind.
from optax_mi.estimators.choice import MutualInformation as MutualInformation
from optax_mi.estimators.choice import mutual_information as mutual_information

# Of features, one by one.
from optax_mi.estimators.features import feature_mi as feature_mi

# Of Gaussian vectors.
from optax_mi.estimators.moments import gaussian as gaussian
from optax_mi.estimators.moments import gaussian_mi as gaussian_mi

# From distances between samples.
from optax_mi.estimators.samples import kde as kde
from optax_mi.estimators.samples import kde_mi as kde_mi
from optax_mi.estimators.samples import ksg_mi as ksg_mi
from optax_mi.estimators.samples import nearest_neighbors as nearest_neighbors
from optax_mi.estimators.samples import ross_mi as ross_mi

# From joint tables, and from what a decoder loses.
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
