"""A learning rate for every layer, and freezing layers."""

from optax_mi.layerwise._activations import reduce_activations as reduce_activations
from optax_mi.layerwise._freezable import freezable as freezable
from optax_mi.layerwise._freezable import stop_gradients as stop_gradients
from optax_mi.layerwise._param_labels import label_by_layer as label_by_layer
from optax_mi.layerwise._param_labels import label_by_path as label_by_path
from optax_mi.layerwise._transformation import layerwise_mi_decay as layerwise_mi_decay
