"""Training that goes on with a new class: rows, ways to go on, and the script."""

import fine_tuning
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from suite.data import Data, centre
from suite.files import load_json
from suite.going_on import NEW, Runner, Stream, Way, draw_rows
from suite.methods import Method
from suite.nets import MLP

from tests.benchmarks.test_images import write_idx

STREAM = Stream("all", before=16, after=16, share=0.5)


def small_data(seed):
    rng = np.random.default_rng(seed)
    parts = [
        (
            rng.integers(0, 256, (n, 4, 4, 1), np.uint8),
            np.arange(n, dtype=np.int32) % 10,
        )
        for n in (60, 20, 20)
    ]
    return Data(*parts)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_as_many_rows_are_new_as_asked(share):
    labels = np.arange(200) % 10
    rows = draw_rows(labels, share, 50, 40, [3])
    new = labels[rows] == NEW
    assert abs(new.mean() - share) <= 4 * np.sqrt(share * (1 - share) / new.size)
    np.testing.assert_array_equal(rows, draw_rows(labels, share, 50, 40, [3]))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_run_that_goes_on_is_a_plain_loop(fresh):
    """Momentum is kept or forgotten at the switch."""
    model, rate, seed = MLP((5,), 10), 0.05, 1
    runner = Runner(model, 6, small_data)
    method = Method("momentum", lambda s: optax.sgd(s.trial, momentum=0.9))
    found = runner.run(Way(method, fresh=fresh), STREAM, rate, seed)

    x, y = small_data(seed).train
    params = model.init(jax.random.key(seed), centre(x[:1]))
    trace = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def grad_of(params, x, y):
        def loss(params):
            logits = model.apply(params, centre(x))
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

        return jax.grad(loss)(params)

    for part, share in ((1, 0.0), (2, STREAM.share)):
        if fresh and part == 2:
            trace = jax.tree.map(jnp.zeros_like, trace)
        for rows in draw_rows(y, share, 16, 6, [seed, part]):
            grads = grad_of(params, x[rows], y[rows])
            trace = jax.tree.map(lambda t, g: 0.9 * t + g, trace, grads)
            params = jax.tree.map(lambda p, t: p - rate * t, params, trace)
    x, y = small_data(seed).test
    logits = np.asarray(model.apply(params, centre(x)), float)
    loss = -(logits - np.log(np.exp(logits).sum(1, keepdims=True)))[range(20), y].mean()
    seen = found["rows"]["momentum"]
    assert seen["loss"][-1] == pytest.approx(loss, rel=1e-4)
    hits = logits.argmax(1) == y
    assert seen["accuracy"][-1] == pytest.approx(hits.mean())
    assert seen["new"][-1] == pytest.approx(hits[y == NEW].mean())
    assert seen["old"][-1] == pytest.approx(hits[y != NEW].mean())


def test_the_rate_is_chosen_on_validation_data_and_not_if_it_diverged():
    figures = np.arange(12.0).reshape(3, 2, 2)
    kept = {
        "valid": {"a": [[None, None], [3.0, 1.0], [1.0, 2.0]]},
        "steps": [[[8, 9]]],
        "rates": np.zeros((3, 2, 2)),
        "rows": {"a": {"loss": figures}},
    }
    best = fine_tuning.at_best(kept, "a")
    assert best["lr"] == fine_tuning.RATES[2]
    np.testing.assert_array_equal(best["loss"], figures[2])


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_the_script_resumes_and_reports(tmp_path, monkeypatch, capsys):
    write_idx(tmp_path / "fashion_mnist", rows=(400, 40))
    streams = {"half": fine_tuning.STREAMS["half"]}
    monkeypatch.setattr(fine_tuning, "STREAMS", streams)
    arguments = [f"--data-dir={tmp_path}", "--short", "--seeds=2"]
    arguments.append(f"--output={tmp_path / 'out'}")
    fine_tuning.main(arguments)
    cells = list((tmp_path / "out/short/cells").iterdir())
    assert len(cells) == len(fine_tuning.WAYS)
    written = [path.stat().st_mtime_ns for path in cells]
    fine_tuning.main(arguments)
    assert [path.stat().st_mtime_ns for path in cells] == written
    rows = load_json(tmp_path / "out/short/fine_tuning.json")["half"]["rows"]
    text = (tmp_path / "out/short/fine_tuning.md").read_text()
    assert all(f"{row}" in text for row in rows)
    assert (tmp_path / "out/short/fine_tuning.png").stat().st_size > 10_000
    assert "shirts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=1"], "--seeds: must be a whole number of at least 2, got '1'"),
        ([], "put there the four"),
    ],
)
def test_the_script_says_what_is_wrong(tmp_path, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        fine_tuning.main([*arguments, f"--data-dir={tmp_path}"])
    assert message in capsys.readouterr().err
