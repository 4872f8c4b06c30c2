"""Checkpoints of every layout that there has been are restored."""

import json
import re
import shutil

import numpy as np
import pytest

from optax_mi import learning_rates, restore_state
from optax_mi._layouts import LAYOUT
from tests import old_checkpoints
from tests.whole.test_checkpoint import read

FILES = sorted(old_checkpoints.DATA.glob("*.zip"))


def test_the_present_layout_is_among_the_files():
    names = {path.stem for path in FILES}
    assert names >= {f"layout_{LAYOUT}_{case}" for case in old_checkpoints.CASES}


NAMES = {  # of layouts 1 to 3, and what they are now
    r"/step_in_epoch$": "/updates_in_epoch",
    r"(?<!/rule_state)/step$": "/num_updates",
    r"/epoch$": "/num_epochs",
    r"(?<!hyperparams)/learning_rate$": "/current_lr",
    r"/estimate/count$": "/estimate/num_samples",
    r"/rule_state/mi$": "/rule_state/last_mi",
    r"/rule_state/residual$": "/rule_state/last_residual",
    r"/rule_state/recent$": "/rule_state/recent_mean",
}


def renamed(name):
    for old, new in NAMES.items():
        name = re.sub(old, new, name)
    return name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_checkpoint_goes_on_as_it_did(path, tmp_path):
    """After a change of a state's layout: raise LAYOUT, convert this, add new files."""
    _, layout, case = path.stem.split("_", 2)
    written = json.loads(path.with_suffix(".json").read_text())
    told = {
        when: {renamed(name): leaf for name, leaf in written[when].items()}
        for when in ("saved", "later")
    }
    shutil.unpack_archive(path, tmp_path)
    tx = old_checkpoints.CASES[case]
    restored = restore_state(old_checkpoints.start(tx), read(tmp_path))
    later = old_checkpoints.go_on(
        tx, restored, old_checkpoints.LAST - old_checkpoints.SAVED
    )
    # Layout 1 is of rules that knew no chance: what they saw stays, not what they did.
    new = r"/(chance|joined|look_at|spread)$|/rule_state/" if int(layout) == 1 else "^$"
    moved = r"current_lr$|^params/|/trace/" if int(layout) == 1 else "^$"
    for tree, then, but in (
        (restored, told["saved"], new),
        (later, told["later"], f"{new}|{moved}"),
    ):
        compared = 0
        for name, (dtype, value) in old_checkpoints.listed(tree).items():
            if case == "averaged" or not re.search(but, name):
                assert dtype == then[name][0]
                np.testing.assert_allclose(value, then[name][1], rtol=1e-5)
                compared += 1
        assert compared >= 7
    before, after = (
        [float(rate) for rate in learning_rates(tree["opt_state"]).values()]
        for tree in (restored, later)
    )
    assert all(0 < b <= a for a, b in zip(before, after, strict=True))


def test_the_default_rule_of_layout_1_goes_on_with_shares(tmp_path):
    """Averages of nats become shares of the entropy of the last epoch."""
    told = json.loads((old_checkpoints.DATA / "layout_1_mi_sgd.json").read_text())
    shutil.unpack_archive(old_checkpoints.DATA / "layout_1_mi_sgd.zip", tmp_path)
    tx = old_checkpoints.CASES["mi_sgd"]
    restored = restore_state(old_checkpoints.start(tx), read(tmp_path))
    old = {name.split("/")[-1]: v for name, (_, v) in told["saved"].items()}
    new = restored["opt_state"][1].rule_state
    assert int(new.decided) == int(new.seen) == 3
    for before, field in (("recent", "recent_mean"), ("mean", "mean")):
        share = old[before] / old["entropy"]
        assert float(getattr(new, field)) == pytest.approx(share, rel=1e-6)
        assert 0 < share < 1
