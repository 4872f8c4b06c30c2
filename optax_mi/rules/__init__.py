"""Rules that turn an estimate of mutual information into a learning rate.

:func:`proportional_rule` and :func:`residual_rule` compare an epoch with the one
before, and decay when the mutual information stalls. :func:`log_time_rule`, the
default, compares an epoch with all earlier ones, and decays a little at every epoch.
:func:`capped_rule` limits the sum of the learning rates of any of them. To write your
own rule, make a :class:`DecayRule`.
"""

from optax_mi.rules._base import DecayRule as DecayRule
from optax_mi.rules._capped import capped_rule as capped_rule
from optax_mi.rules._log_time import log_time_rule as log_time_rule
from optax_mi.rules._proportional import proportional_rule as proportional_rule
from optax_mi.rules._residual import residual_rule as residual_rule

__all__ = [
    "DecayRule",
    "capped_rule",
    "log_time_rule",
    "proportional_rule",
    "residual_rule",
]
