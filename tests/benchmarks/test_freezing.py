"""Layers that rest in the benchmark: which and when, what it costs, and the script."""

import dataclasses

import freezing
import jax
import numpy as np
import pytest
from freezing import ByMI, BySchedule, EveryOther, Way, as_table, spent, until
from suite.files import load_json
from suite.frozen import make_nets

from tests.benchmarks.test_images import write_idx


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    return make_nets(tmp_path_factory.mktemp("none"))


def test_every_layer_has_parameters_and_the_rest_trains(nets):
    for net in nets.values():
        sizes = {"text": (2, 32)}.get(net.task.name, (2, 28, 28, 1))
        params = jax.eval_shape(
            net.task.model.init, jax.random.key(0), jax.ShapeDtypeStruct(sizes, "f4")
        )["params"]
        labels = net.labels({"params": params})["params"]
        groups = {name: set(jax.tree.leaves(tree)) for name, tree in labels.items()}
        assert set().union(*groups.values()) == {*net.layers, "rest"}
        assert all(len(found) == 1 for found in groups.values())
        # What is measured of a layer is put out by one of its own modules, or by the
        # first norm of the next.
        assert all(path in groups for path in net.layers.values())
        head = max(name for name in groups if name.startswith("Dense_"))
        assert groups[head] == {"rest"}


def test_a_schedule_stops_layers_one_after_another(nets):
    way = BySchedule(nets["cnn"])
    # 0.8 ** 3 = 0.512 and 0.9 ** 3 = 0.729
    assert way.rests(0.51, []) == ((),)
    assert way.rests(0.52, []) == (("conv 1",),)
    assert way.rests(0.72, []) == (("conv 1",),)
    assert way.rests(0.73, []) == (("conv 1", "conv 2"),)


def test_layers_rest_once_their_mi_stands_and_that_of_all_before(nets):
    way = ByMI(nets["cnn"])

    def history(*slopes):
        return [
            {
                layer: 1.0 + slope * np.log(epoch)
                for layer, slope in zip(way.net.layers, slopes, strict=True)
            }
            for epoch in range(1, 9)
        ]

    assert way.rests(0.5, history(0.0, 0.0)) == (("conv 1", "conv 2"),)
    assert way.rests(0.5, history(0.0, 0.2)) == (("conv 1",),)
    assert way.rests(0.5, history(0.2, 0.0)) == ((),)
    # 0.05 of 1 + 0.053 ln 8 = 1.11 is 0.055
    assert way.rests(0.5, history(0.053, 0.2)) == (("conv 1",),)
    assert way.rests(0.5, history(0.058, 0.2)) == ((),)
    assert way.rests(0.5, history(0.0, 0.0)[:3]) == ((),)


def test_half_of_the_layers_rest_in_every_other_step(nets):
    assert EveryOther(nets["cnn"]).rests(0.0, []) == ((), ("conv 1",))
    assert EveryOther(nets["resnet"]).rests(0.9, []) == ((), ("stem", "stage 1"))
    assert Way(nets["cnn"]).rests(0.9, []) == ((),)


ROW = {
    "costs": [
        [((),), {"time": 1.0, "flops": 1.0}],
        [[["a"]], {"time": 0.5, "flops": 0.75}],
    ]
}
RUN = {
    "rests": [[[]], [[]], [["a"]], [["a"]]],
    "losses": [4.0, 3.0, 2.0, 1.0],
    "accuracies": [0.1, 0.2, 0.3, 0.4],
}


def test_time_is_that_of_the_steps_made():
    np.testing.assert_allclose(spent(ROW, RUN, "time"), [0.25, 0.5, 0.625, 0.75])
    np.testing.assert_allclose(spent(ROW, RUN, "flops")[-1], (2 + 1.5) / 4)
    times = spent(ROW, RUN, "time")
    assert until(np.array(RUN["losses"]), times, 2.0) == 0.625
    assert until(np.array(RUN["losses"]), times, 0.5) == np.inf


def test_a_table_compares_pairs_of_runs():
    other = {**RUN, "rests": [[[]]] * 4, "losses": [4.0, 3.0, 2.0, 2.0]}
    rows = {
        "all train": {**ROW, "runs": [other, other]},
        "rest": {**ROW, "runs": [RUN, {**RUN, "losses": [4.0, 3.0, 2.0, 2.2]}]},
    }
    lines = as_table({"rows": rows, "epochs": 4}).splitlines()
    assert lines[2].endswith(
        " 2.0000 | +0.0 ± 0.0 % | +0.0 % | 40.0% | 1.00 | 1.00 | 0.75 |"
    )
    # -50 % and +10 %; stopped after three quarters of the time, the first row has 2.0;
    # the goal is met after three epochs in both
    assert lines[3].endswith(
        " 1.6000 | -20.0 ± 30.0 % | +0.0 % | 40.0% | 0.75 | 0.88 | 0.62 |"
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--seeds=1", "--seeds: must be a whole number of at least 2"),
        ("--pairs=0", "--pairs: must be a whole number of at least 1"),
        ("--nets=vit", "vit"),
        ("--data-dir=none", "put there the four"),
    ],
)
def test_wrong_arguments_are_told(argument, message, tmp_path, capsys):
    write_idx(tmp_path / "fashion_mnist")
    with pytest.raises(SystemExit, match="2"):
        freezing.main([f"--data-dir={tmp_path}", argument])
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_the_script_runs_and_adds_to_what_is_kept(tmp_path, monkeypatch):
    write_idx(tmp_path / "fashion_mnist", rows=(400, 20))
    where = [f"--data-dir={tmp_path}", f"--output={tmp_path / 'out'}"]
    nets = make_nets(tmp_path)

    def shortened(data_dir):
        del data_dir
        cnn = nets["cnn"]
        task = dataclasses.replace(cnn.task, steps_per_epoch=2)
        return {"cnn": dataclasses.replace(cnn, task=task, epochs=1)}

    monkeypatch.setattr(freezing, "make_nets", shortened)
    freezing.main(["--short", "--nets=cnn", "--seeds=2", "--pairs=1", *where])
    kept = load_json(tmp_path / "out" / "freezing.json")["nets"]
    rows = kept["cnn"]["rows"]
    assert list(rows) == list(freezing.WAYS)
    # A step that never saw the first layers' gradient is not that of all.
    assert rows["rest every other step"]["costs"][0][1]["flops"] < 0.95
    np.testing.assert_allclose(rows["all train"]["costs"][0][1]["flops"], 1.0)
    assert "LeNet" in (tmp_path / "out" / "freezing.md").read_text()
