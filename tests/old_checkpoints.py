"""Writes the checkpoints in `tests/data`, which the present code has to restore.

`python -m tests.old_checkpoints` adds those of the present layout: for each case what
Orbax saved in the midst of the second epoch, zipped, and as JSON every leaf of it and
what the next updates came to. Files of an older layout are never written again.
"""

import json
import pathlib
import tempfile
import zipfile

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp

from optax_mi import (
    __version__,
    average_params,
    label_by_layer,
    layerwise_mi_decay,
    mi_sgd,
)
from optax_mi._layouts import LAYOUT
from optax_mi.estimators import contingency
from optax_mi.rules import log_time_rule, residual_rule

DATA = pathlib.Path(__file__).parent / "data"
SAVED, LAST = 5, 9
LABELS = np.array([0, 1, 1, 0, 1, -1])
KNOWS = np.array([0, 1, 0, 0, 1, 1])
LOGITS = np.eye(2, dtype=np.float32)[KNOWS] * np.arange(1, 7, dtype=np.float32)[:, None]
CASES = {
    "mi_sgd": mi_sgd(
        0.5,
        momentum=0.5,
        estimator=contingency(num_classes=2),
        steps_per_epoch=3,
        rule=log_time_rule(rate=6.0, sharpness=10.0),
    ),
    "layerwise": optax.chain(
        optax.sgd(1.0, momentum=0.5),
        layerwise_mi_decay(
            {"first": contingency(num_classes=2)},
            label_by_layer(),
            0.5,
            default=contingency(num_classes=2),
            steps_per_epoch=3,
            rule=residual_rule(threshold=0.5, strength=0.5),
        ),
    ),
    "averaged": optax.chain(optax.sgd(0.5, momentum=0.5), average_params(power=2.0)),
    "soft": mi_sgd(0.5, num_classes=2),
}


def start(tx):
    """Params and a state at step 0."""
    params = {
        "first": {"w": np.ones(2, np.float32)},
        "second": {"w": np.ones((), np.float32)},
    }
    return {"params": params, "opt_state": jax.jit(tx.init)(params)}


def go_on(tx, saved, updates):
    """The same after so many updates."""
    outputs = LOGITS if tx is CASES["soft"] else KNOWS

    @jax.jit
    def step(saved):
        params, state = saved["params"], saved["opt_state"]
        seen = {"outputs": outputs, "activations": {"first": LABELS}, "labels": LABELS}
        updates, state = tx.update(params, state, params, **seen)
        return {"params": optax.apply_updates(params, updates), "opt_state": state}

    for _ in range(updates):
        saved = step(saved)
    return saved


def listed(tree):
    """Every leaf under its path: dtype and value."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): [
            str(leaf.dtype),
            np.asarray(leaf).tolist(),
        ]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def write(name, tx):
    """The checkpoint and the JSON of one case."""
    saved = go_on(tx, start(tx), SAVED)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, saved)
        with zipfile.ZipFile(DATA / f"layout_{LAYOUT}_{name}.zip", "w") as archive:
            for file in sorted(path.rglob("*")):
                # That of success holds the path that it was written to, and no more.
                if file.is_file() and file.name != "commit_success.txt":
                    # Without the time of the file: the same files make the same zip.
                    entry = zipfile.ZipInfo(str(file.relative_to(path)))
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(entry, file.read_bytes())
    told = {
        "version": __version__,
        "saved": listed(saved),
        "later": listed(go_on(tx, saved, LAST - SAVED)),
    }
    text = json.dumps(told, indent=1)
    (DATA / f"layout_{LAYOUT}_{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for name, tx in CASES.items():
        write(name, tx)
