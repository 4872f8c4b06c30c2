"""The one door by which batches and whole arrays come in."""

from optax_mi.estimators.inputs._arrays import array_or_none as array_or_none
from optax_mi.estimators.inputs._arrays import as_array as as_array
from optax_mi.estimators.inputs._arrays import as_numpy as as_numpy
from optax_mi.estimators.inputs._arrays import check_fits as check_fits
from optax_mi.estimators.inputs._arrays import check_logits as check_logits
from optax_mi.estimators.inputs._arrays import host_logits as host_logits
from optax_mi.estimators.inputs._arrays import host_vectors as host_vectors
from optax_mi.estimators.inputs._arrays import of_probabilities as of_probabilities
from optax_mi.estimators.inputs._arrays import shape_of as shape_of
from optax_mi.estimators.inputs._class_ids import check_ids as check_ids
from optax_mi.estimators.inputs._class_ids import class_ids as class_ids
from optax_mi.estimators.inputs._class_ids import host_ids as host_ids
from optax_mi.estimators.inputs._read import are_ids as are_ids
from optax_mi.estimators.inputs._read import flatten_leading as flatten_leading
from optax_mi.estimators.inputs._read import ids_of_batch as ids_of_batch
from optax_mi.estimators.inputs._read import read_classes as read_classes
from optax_mi.estimators.inputs._read import read_logits as read_logits
from optax_mi.estimators.inputs._read import read_vectors as read_vectors
from optax_mi.estimators.inputs._samples import Samples as Samples
from optax_mi.estimators.inputs._samples import health as health
from optax_mi.estimators.inputs._streaming import Kind as Kind
from optax_mi.estimators.inputs._streaming import check_kind as check_kind
from optax_mi.estimators.inputs._streaming import streaming as streaming
