"""Mutual information from joint tables, and from the loss of a decoder."""

from optax_mi.estimators.tables._binned import binned as binned
from optax_mi.estimators.tables._binned_mi import binned_mi as binned_mi
from optax_mi.estimators.tables._codes_mi import codes_mi as codes_mi
from optax_mi.estimators.tables._contingency import contingency as contingency
from optax_mi.estimators.tables._plugin_mi import plugin_entropy as plugin_entropy
from optax_mi.estimators.tables._plugin_mi import plugin_mi as plugin_mi
from optax_mi.estimators.tables._plugin_mi import table_mi as table_mi
from optax_mi.estimators.tables._variational import variational as variational
from optax_mi.estimators.tables._variational_mi import variational_mi as variational_mi
