"""Learning rates driven by mutual information, for Optax.

The mutual information between a network's outputs and the true labels, in nats,
measures how much the network knows; the entropy of the labels is how much there is to
know. Every epoch :func:`mi_decay` compares the two inside the compiled train step, and
decays the learning rate as the network learns.

:mod:`optax_mi.estimators` has the estimators of mutual information,
:mod:`optax_mi.rules` the rules that set the learning rate.
"""

from optax_mi import estimators as estimators
from optax_mi import rules as rules

# Averaged weights, for evaluation at any time.
from optax_mi._average import AverageParamsState as AverageParamsState
from optax_mi._average import average_params as average_params
from optax_mi._average import eval_params as eval_params

# Checks before the first update.
from optax_mi._check_setup import check_setup as check_setup

# The transformations.
from optax_mi._decay import MIDecayState as MIDecayState
from optax_mi._decay import mi_decay as mi_decay
from optax_mi._decay import mi_sgd as mi_sgd

# Diagnostics from a state.
from optax_mi._inspect import MIDiagnostics as MIDiagnostics
from optax_mi._inspect import learning_rates as learning_rates
from optax_mi._inspect import log_values as log_values
from optax_mi._inspect import mi_diagnostics as mi_diagnostics

# Restoring from a checkpoint.
from optax_mi._restore import restore_state as restore_state

# Setting the learning rate of another optimizer.
from optax_mi._set_learning_rate import set_learning_rate as set_learning_rate

# Warnings about a run.
from optax_mi._warnings import mi_warnings as mi_warnings

# A learning rate for every layer, and freezing layers.
from optax_mi.layerwise import freezable as freezable
from optax_mi.layerwise import label_by_layer as label_by_layer
from optax_mi.layerwise import label_by_path as label_by_path
from optax_mi.layerwise import layerwise_mi_decay as layerwise_mi_decay
from optax_mi.layerwise import reduce_activations as reduce_activations
from optax_mi.layerwise import stop_gradients as stop_gradients

# Finding the bounds of the learning rate.
from optax_mi.range_test import AutoResult as AutoResult
from optax_mi.range_test import AutoRun as AutoRun
from optax_mi.range_test import LRRangeResult as LRRangeResult
from optax_mi.range_test import auto as auto
from optax_mi.range_test import lr_range_test as lr_range_test

__version__ = "0.1.0"

__all__ = [
    "AutoResult",
    "AutoRun",
    "AverageParamsState",
    "LRRangeResult",
    "MIDecayState",
    "MIDiagnostics",
    "auto",
    "average_params",
    "check_setup",
    "estimators",
    "eval_params",
    "freezable",
    "label_by_layer",
    "label_by_path",
    "layerwise_mi_decay",
    "learning_rates",
    "log_values",
    "lr_range_test",
    "mi_decay",
    "mi_diagnostics",
    "mi_sgd",
    "mi_warnings",
    "reduce_activations",
    "restore_state",
    "rules",
    "set_learning_rate",
    "stop_gradients",
]
