"""Networks whose first layers may rest while the others train."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import optax

from optax_mi import label_by_path
from suite.fashion import fashion_tasks
from suite.methods import MOMENTUM
from suite.nets import Transformer
from suite.tasks import Task, bundled_tasks
from suite.text import VOCABULARY

Frozen = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Net:
    """A network, and its layers that may rest, from the input.

    Attributes:
      task: what is learned.
      epochs: of the budget.
      rate: the learning rate that `mi_decay` starts with.
      optimizer: what it scales.
      layers: from each layer to the module that puts out what is measured.
      columns: of each, at most 32.
      groups: from patterns of parameters to layers.
    """

    task: Task
    epochs: int
    rate: float
    optimizer: optax.GradientTransformation
    layers: dict[str, str]
    columns: tuple[int, ...]
    groups: dict[str, str]

    @property
    def labels(self) -> Callable:
        """Each parameter's group; those of no layer are in "rest"."""
        return label_by_path(self.groups | {".*": "rest"})


def make_nets(data_dir: Path) -> dict[str, Net]:
    """The three networks."""
    images = fashion_tasks(data_dir)
    text = next(task for task in bundled_tasks() if task.name == "text")
    words = dataclasses.replace(
        text,
        title="characters of Python's help texts, transformer of four layers",
        model=Transformer(VOCABULARY, width=64, layers=4, heads=4),
        batch=32,
        steps_per_epoch=400,
    )
    blocks = range(3)
    return {
        "cnn": Net(
            images["cnn-clean"],
            8,
            0.06,
            MOMENTUM(1.0),
            {"conv 1": "PatchConv_0", "conv 2": "PatchConv_1"},
            (8, 16),
            {"PatchConv_0/": "conv 1", "PatchConv_1/": "conv 2"},
        ),
        "resnet": Net(
            images["resnet-clean"],
            10,
            0.1,
            MOMENTUM(1.0),
            {
                "stem": "BatchNorm_0",
                "stage 1": "BatchNorm_2",
                "stage 2": "BatchNorm_4",
                "stage 3": "BatchNorm_7",
            },
            (8, 8, 16, 32),
            {
                "(PatchConv|BatchNorm)_0/": "stem",
                "(PatchConv|BatchNorm)_[12]/": "stage 1",
                "PatchConv_[34]/|BatchNorm_[345]/|params/Dense_0/": "stage 2",
                "PatchConv_[56]/|BatchNorm_[678]/|params/Dense_1/": "stage 3",
            },
        ),
        "transformer": Net(
            words,
            6,
            0.003,
            optax.adamw(1.0),
            # What a block hands on is what the next one normalises first.
            {f"block {i}": f"LayerNorm_{2 * i + 2}" for i in blocks},
            (32,) * len(blocks),
            {
                "Embed_0/|place": "block 0",
                **{
                    f"LayerNorm_[{2 * i}{2 * i + 1}]/|Attention_{i}/|"
                    f"params/Dense_[{2 * i}{2 * i + 1}]/": f"block {i}"
                    for i in blocks
                },
            },
        ),
    }
