"""Mutual information of a target with one feature after another."""

from optax_mi.estimators.features._feature_mi import feature_mi as feature_mi
