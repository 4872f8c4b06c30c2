"""Learning rates driven by mutual information, for Optax.

The mutual information between a network's outputs and the true labels, in nats, says
how much the network knows; the entropy of the labels says how much there is to know.
:func:`mi_decay` measures the one against the other every epoch, inside the compiled
train step, and decays the learning rate as the network learns.
"""

# Activations of layers, made small.
from optax_mi._activations import reduce_activations as reduce_activations

# Weights to evaluate, at any time.
from optax_mi._average import AverageParamsState as AverageParamsState
from optax_mi._average import average_params as average_params
from optax_mi._average import eval_params as eval_params

# The transformation.
from optax_mi._decay import MIDecayState as MIDecayState
from optax_mi._decay import mi_decay as mi_decay
from optax_mi._decay import mi_sgd as mi_sgd

# What it did.
from optax_mi._inspect import MIDiagnostics as MIDiagnostics
from optax_mi._inspect import learning_rates as learning_rates
from optax_mi._inspect import mi_diagnostics as mi_diagnostics

# A learning rate for every layer, and which parameters are whose.
from optax_mi._layerwise import layerwise_mi_decay as layerwise_mi_decay
from optax_mi._param_labels import label_by_layer as label_by_layer
from optax_mi._param_labels import label_by_path as label_by_path

# Which learning rates to decay between.
from optax_mi._range_result import LRRangeResult as LRRangeResult
from optax_mi._range_test import lr_range_test as lr_range_test

# Out of a checkpoint.
from optax_mi._restore import restore_state as restore_state

# Rules: estimate in, learning rate out.
from optax_mi._rules import DecayRule as DecayRule
from optax_mi._rules import log_time_rule as log_time_rule
from optax_mi._rules import proportional_rule as proportional_rule
from optax_mi._rules import residual_rule as residual_rule

# Estimators, outputs and labels in, nats out; those that end in _mi take whole arrays.
from optax_mi.estimators import MIEstimate as MIEstimate
from optax_mi.estimators import MIEstimator as MIEstimator
from optax_mi.estimators import binned as binned
from optax_mi.estimators import binned_mi as binned_mi
from optax_mi.estimators import contingency as contingency
from optax_mi.estimators import gaussian as gaussian
from optax_mi.estimators import gaussian_mi as gaussian_mi
from optax_mi.estimators import kde as kde
from optax_mi.estimators import kde_mi as kde_mi
from optax_mi.estimators import ksg_mi as ksg_mi
from optax_mi.estimators import measured as measured
from optax_mi.estimators import nearest_neighbors as nearest_neighbors
from optax_mi.estimators import plugin_entropy as plugin_entropy
from optax_mi.estimators import plugin_mi as plugin_mi
from optax_mi.estimators import ross_mi as ross_mi
from optax_mi.estimators import table_mi as table_mi
from optax_mi.estimators import variational as variational
from optax_mi.estimators import variational_mi as variational_mi

__version__ = "0.1.0"

__all__ = [
    "AverageParamsState",
    "DecayRule",
    "LRRangeResult",
    "MIDecayState",
    "MIDiagnostics",
    "MIEstimate",
    "MIEstimator",
    "average_params",
    "binned",
    "binned_mi",
    "contingency",
    "eval_params",
    "gaussian",
    "gaussian_mi",
    "kde",
    "kde_mi",
    "ksg_mi",
    "label_by_layer",
    "label_by_path",
    "layerwise_mi_decay",
    "learning_rates",
    "log_time_rule",
    "lr_range_test",
    "measured",
    "mi_decay",
    "mi_diagnostics",
    "mi_sgd",
    "nearest_neighbors",
    "plugin_entropy",
    "plugin_mi",
    "proportional_rule",
    "reduce_activations",
    "residual_rule",
    "restore_state",
    "ross_mi",
    "table_mi",
    "variational",
    "variational_mi",
]
