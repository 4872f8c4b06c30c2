"""Mutual information between a target and each of many features."""

from optax_mi.estimators.features._feature_mi import feature_mi as feature_mi
