"""Sums over samples, and by label, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_mi.estimators.arithmetic import (
    _scatter,
    gram,
    gram_of_pair,
    replicate,
    sum_by_label,
    take_by_label,
    weighted_sum,
    weighted_total,
)

pytestmark = pytest.mark.usefixtures("strict")

RNG = np.random.default_rng(0)
# Whole numbers: every sum is exact.
ROWS = RNG.integers(-9, 10, (3, 50, 7)).astype(np.float32)
LABELS = RNG.integers(0, 5, (3, 50)).astype(np.int32)
WEIGHTS = RNG.integers(0, 4, (3, 50)).astype(np.float32)
TABLE = RNG.integers(0, 9, (5, 7)).astype(np.float32)


def by_label():
    """What NumPy adds to the table, one row after the other."""
    table = TABLE.copy()
    np.add.at(table, LABELS.ravel(), ROWS.reshape(-1, 7))
    return table


def scattered(table, labels, rows):
    return _scatter.scatter(table, (labels,), rows)


@pytest.mark.parametrize("way", [scattered, _scatter.contract, _scatter.add_by_label])
def test_every_way_to_add_rows_by_label_is_numpys(way):
    np.testing.assert_array_equal(jax.jit(way)(TABLE, LABELS, ROWS), by_label())


def test_a_float32_table_stays_one_beside_float64():
    with jax.enable_x64(True):
        assert _scatter.contract(TABLE, LABELS, ROWS).dtype == np.float32


def program(function, *arrays, platform):
    """What XLA is given to compile for it."""
    traced = jax.jit(function).trace(*arrays)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_products_are_exact_and_stand_for_scatters_on_accelerators(platform):
    by_label = program(_scatter.add_by_label, TABLE, LABELS, ROWS, platform=platform)
    assert ("stablehlo.scatter" in by_label) == (platform == "cpu")
    assert ("stablehlo.dot_general" in by_label) == (platform != "cpu")
    for function, *arrays in (
        (_scatter.contract, TABLE, LABELS, ROWS),
        (weighted_total, WEIGHTS, ROWS),
        (gram, ROWS[0]),
    ):
        product = program(function, *arrays, platform=platform)
        assert product.count("dot_general") == product.count("[HIGHEST, HIGHEST]") == 1


def test_of_few_samples_a_scatter_adds_to_cells():
    ids = LABELS % 7
    table = jax.jit(lambda t, y, x, w: _scatter.scatter(t, (y, x), w))(
        TABLE, LABELS, ids, WEIGHTS
    )
    truth = TABLE.copy()
    np.add.at(truth, (LABELS, ids), WEIGHTS)
    np.testing.assert_array_equal(table, truth)


@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_sums_by_label_and_rows_by_label(num_classes):
    labels, rows = LABELS[0] % num_classes, ROWS[0]
    sums = jax.jit(sum_by_label, static_argnums=2)(labels, rows, num_classes)
    truth = [rows[labels == c].sum(0) for c in range(num_classes)]
    np.testing.assert_array_equal(sums, truth)
    np.testing.assert_array_equal(jax.jit(take_by_label)(sums, labels), sums[labels])


def test_sums_with_weights():
    got = jax.jit(weighted_sum)(WEIGHTS[0], ROWS[0])
    np.testing.assert_array_equal(got, WEIGHTS[:1] @ ROWS[0])
    got = jax.jit(weighted_total)(WEIGHTS, ROWS)
    np.testing.assert_array_equal(got, (WEIGHTS[..., None] * ROWS).sum((0, 1)))


# As it is, in blocks, and of too few rows for blocks.
@pytest.mark.parametrize(("samples", "columns"), [(9, 4), (1100, 515), (600, 515)])
def test_a_product_in_blocks_is_the_whole_one(samples, columns):
    rows = np.random.default_rng(0).integers(-3, 4, (samples, columns))
    rows = rows.astype(np.float32)
    np.testing.assert_array_equal(jax.jit(gram)(rows), rows.T @ rows)


def test_the_product_of_a_pair_is_that_of_both_beside_one_another():
    rows = np.float32(np.random.default_rng(0).integers(-3, 4, (9, 5)))
    got = jax.jit(gram_of_pair)(rows[:, :2], rows[:, 2:])
    np.testing.assert_array_equal(got, rows.T @ rows)


@pytest.mark.parametrize(
    ("samples", "columns", "in_blocks"),
    [(1024, 512, False), (1026, 513, True), (1025, 513, False)],
)
def test_half_of_what_is_off_the_diagonal_is_left_out_of_a_large_product(
    samples, columns, in_blocks
):
    made = jax.make_jaxpr(gram)(jax.ShapeDtypeStruct((samples, columns), jnp.float32))
    shapes = [
        equation.outvars[0].aval.shape
        for equation in made.eqns
        if equation.primitive is jax.lax.dot_general_p
    ]
    half = columns // 2
    parts = [(half, columns - half), (half, half), (columns - half, columns - half)]
    assert shapes == (parts if in_blocks else [(columns, columns)])


def test_replicated_arrays_are_whole_on_every_device():
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        spread = jax.device_put(ROWS[0][:48], jax.P("data"))
        labels = jax.device_put(LABELS[0][:48], jax.P("data"))
        rows, whole, *sums = jax.jit(
            lambda x, y: (
                take_by_label(jnp.asarray(TABLE), y),
                replicate(x),
                sum_by_label(y, x, 5),
                weighted_total(x[:, 0], x),
                gram(x),
            )
        )(spread, labels)
    for array in (whole, *sums):
        assert array.is_fully_replicated
    # A row for each sample lies where the sample does.
    assert rows.sharding.spec == jax.P("data", None)
    np.testing.assert_array_equal(whole, ROWS[0][:48])
    np.testing.assert_array_equal(rows, TABLE[LABELS[0][:48]])
    # On one device there is nothing to spread.
    alone = jnp.ones(3)
    assert replicate(alone) is alone
