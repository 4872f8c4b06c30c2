"""Whatever people pass, to everything that is public: right, or an error in words.

An estimate lies where a slow model in float64 puts it, or is nan where the docstring
says so, or a TypeError or ValueError names the argument. Long:

    SURFACE_EXAMPLES=7500 python -m pytest -s tests/whole/test_surface.py
"""

import collections
import os
import re

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from optax_mi import estimators
from optax_mi.estimators import MIEstimate, plugin_entropy, table_mi
from tests.whole.surface_draws import (
    DTYPES,
    FLOATS,
    INTS,
    batch_of,
    cases,
    cast,
    fill_of,
    passed_as,
    present,
    program_of,
)
from tests.whole.surface_model import entropy, of_table
from tests.whole.surface_subjects import SUBJECTS, Refused, ids_of, made

LONG = int(os.environ.get("SURFACE_EXAMPLES", 0))
EXAMPLES = LONG or settings.default.max_examples
# XLA compiles for each program: few of them in short runs.
PROGRAMS = int(os.environ.get("SURFACE_PROGRAMS", 12 if LONG else 1))
TALLY = collections.defaultdict(collections.Counter)
NAMES = re.compile(
    r"\b(outputs|labels|weights|mask|joint|mi|k|num_classes|shrinkage)\b"
)


def drawn(examples):
    """So many examples; a long run stops at the first that fails, as it was drawn."""
    phases = [phase for phase in Phase if phase != Phase.shrink or not LONG]
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        deadline=None,
        max_examples=examples,
        derandomize=not LONG,
        database=None,
        phases=phases,
        suppress_health_check=checks,
    )


@pytest.fixture(scope="module", autouse=True)
def tally():
    """How many examples of each function were right, nan and errors."""
    yield
    if LONG:
        ends = ("right", "bounds", "nan", "error")
        print("\n| | " + " | ".join(ends) + " |\n|---|" + "--:|" * len(ends))
        for name, found in sorted(TALLY.items()):
            print(f"| {name} | " + " | ".join(f"{found[e]:,}" for e in ends) + " |")
        print(f"{sum(sum(c.values()) for c in TALLY.values()):,} examples")


def outcome(call):
    """What it returns, or the error that names an argument."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        found = error
    assert NAMES.search(str(found)), found
    return found


def wanted(call):
    """What the model says, or why it says that there must be an error."""
    try:
        return call()
    except Refused as reason:
        return reason


def may_refuse(subject, program, case, batch):
    """Whether an error is fair though the numbers could be read."""
    wide = not isinstance(batch.outputs, jax.Array) and (
        case.offset or case.kind in ("far apart", "tails") or case.dropped > 5
    )
    few = program.rows < 24 or subject.name == "gaussian_mi"
    # As vectors, or with ids among the outputs of a smaller range.
    shapes = np.ndim(batch.y) != 1 or np.ndim(batch.x) != 2
    return bool(wide or few or (shapes and subject.family != "real"))


def fitting(name, program, case):
    """What the function takes for what it is meant to be."""
    if name.startswith(("binned", "kde")):
        # Settings are in units of the outputs.
        case = case._replace(scale=program.scale, offset=program.offset)
    if name == "gaussian_mi" and case.convention == "float":
        case = case._replace(convention="from 0")
    unseen = SUBJECTS[name].streams and program.dtype not in FLOATS
    if unseen and case.convention == "one-hot":
        # Beside one-hot outputs, labels not looked at are ids [N, C].
        case = case._replace(convention="from 0")
    if "variational" in name and program.dtype in (*INTS[1:], "bool"):
        # Of integers it takes none.
        program = program._replace(dtype="bfloat16")
    if name == "gaussian_mi, real" and program.label_dtype not in FLOATS:
        program = program._replace(label_dtype="float32")
    return program, case


def check(subject, program, case, batch, tally):
    """The estimate of a batch, checked."""
    got = outcome(lambda: subject.run(program, batch))
    truth = wanted(lambda: subject.answer(program, batch))
    if isinstance(truth, Refused):
        assert isinstance(got, Exception), (truth, got)
        tally["error"] += 1
        return None
    if isinstance(got, Exception):
        assert may_refuse(subject, program, case, batch), got
        tally["error"] += 1
        return None
    answer, entropy, w, kept = truth
    # Not as text, which takes longer to make than all else.
    note((got, answer, entropy))
    if entropy is not None:
        np.testing.assert_allclose(got.entropy, entropy, rtol=1e-5, atol=1e-6)
        count = w.sum() * (w.sum() / np.sum(w**2)) if len(w) else 0
        # Weights whose squares float32 cannot hold.
        lost = len(w) and not 1e-17 < w.max() < 1e18
        if not (lost and np.isnan(got.num_samples)):
            np.testing.assert_allclose(got.num_samples, count, rtol=1e-5)
        assert got.dropped == np.sum(~kept)
        low, high = answer.clipped(entropy)
        assert low - 1e-6 <= got.mi <= high + 1e-6 or (lost and np.isnan(got.mi))
    assert not got.chance < 0
    assert not got.std_error < 0
    assert np.isnan(got.normalized) or 0 <= got.normalized <= 1
    narrow = answer.high - answer.low < 0.2
    tally["nan" if np.isnan(got.mi) else "right" if narrow else "bounds"] += 1
    return got


def same_samples(name, program, case, batch):
    """The samples of a batch in another order, among others, or in other units."""
    rng = np.random.default_rng(case.seed)
    x, y, w = batch.x, batch.y, None if batch.weights is None else batch.w
    if w is not None:
        w = w.astype(np.asarray(batch.weights).dtype)
    match case.twist:
        case "permute":
            at = rng.permutation(len(y))
            x, y, w = x[at], y[at], None if w is None else w[at]
        case "add dropped":
            # A multiple of batches; few programs are compiled for so many rows.
            if program.rows != 24 or program.option % 4:
                return None
            x, y = (np.concatenate([a, a[:12]]) for a in (x, y))
            if w is not None and w.dtype != bool:
                w = np.concatenate([w, np.zeros_like(w[:12])])
            elif y.dtype.kind in "if" and y.ndim == 1 and w is None:
                y[24:] = -1 if y.dtype.kind == "i" else np.nan
            else:
                return None
        case "times 2**k":
            scaled = name.startswith(("gaussian", "ross", "ksg", "nearest"))
            if SUBJECTS[name].options(program).get("key", 0) is None:
                # Without noise on ties X and Y keep their units.
                scaled &= SUBJECTS[name].family != "real"
            size = np.abs(x[np.isfinite(x)])
            size = size[size > 0]
            if not (scaled and x.dtype == "float32" and size.size):
                return None
            if not 1e-12 < size.min() <= size.max() < 1e12:
                return None
            x = x * np.float32(2.0 ** rng.integers(-10, 11))
        case _:
            return None
    return passed_as(batch.layout, batch.num_classes, x, y, w)


def example(name, number, case, tally):
    """One example: a batch, and the same samples in another way."""
    subject, program = SUBJECTS[name], program_of(number)
    program, case = fitting(name, program, case)
    note(program)
    arrays = batch_of(program, case, subject.family)
    # Tracing takes 32 bits of NumPy's before it calls.
    layout = case.layout if program.eager or not subject.streams else "jax"
    batch = passed_as(layout, *arrays)
    note(batch)
    got = check(subject, program, case, batch, tally)
    other = same_samples(name, program, case, batch)
    if got is None or other is None:
        return
    note((case.twist, other))
    again = check(subject, program, case, other, collections.Counter())
    if case.twist == "times 2**k" and again is not None:
        np.testing.assert_allclose(again.mi, got.mi, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SUBJECTS)
@given(st.integers(0, PROGRAMS - 1), cases())
@drawn(EXAMPLES)
def test_right_or_an_error(name, number, case):
    example(name, number, case, TALLY[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
@given(st.integers(0, PROGRAMS // 4), cases())
@drawn(EXAMPLES // 8 + 1)
def test_right_or_an_error_with_x64(name, number, case):
    with jax.enable_x64(True):
        example(name, number, case, TALLY[f"{name}, x64"])


@given(st.integers(0, PROGRAMS - 1), cases())
@drawn(EXAMPLES)
def test_entropy_of_labels(number, case):
    program = program_of(number)
    num_classes, _, y, w = batch_of(program, case, "classes")
    batch = passed_as(case.layout, num_classes, y, y, w)
    got = outcome(
        lambda: plugin_entropy(
            batch.labels, num_classes=batch.num_classes, weights=batch.weights
        )
    )
    # Labels of any shape are as many samples.
    y = batch.y.ravel() if batch.y.shape[-1:] == (1,) else batch.y
    truth = wanted(lambda: ids_of(y, batch.num_classes, looked=True))
    if isinstance(truth, Refused) or not len(y):
        assert isinstance(got, Exception), (truth, got)
        TALLY["plugin_entropy"]["error"] += 1
        return
    if isinstance(got, Exception):
        # Weights [N] beside labels [N, 1].
        assert batch.y.ndim > 1
        assert batch.weights is not None
        TALLY["plugin_entropy"]["error"] += 1
        return
    ids, valid = truth
    w = np.where(np.isfinite(batch.w.ravel()) & (batch.w.ravel() > 0), batch.w, 0)
    shares = np.bincount(ids[valid], w[valid]) if w[valid].any() else np.zeros(1)
    nats = entropy(shares / max(shares.sum(), 1e-300))
    np.testing.assert_allclose(got, nats, rtol=1e-5, atol=1e-6)
    TALLY["plugin_entropy"]["right"] += 1


@given(
    st.sampled_from([(3, 5), (4, 1), (0, 3), (6,), (2, 2, 2)]),
    st.sampled_from(DTYPES),
    cases(),
)
@drawn(EXAMPLES)
def test_tables(shape, dtype, case):
    rng = np.random.default_rng(case.seed)
    table = cast(case.scale * rng.integers(0, 9, shape) * 1.0, dtype)
    if table.size and case.dropped and dtype != "bool":
        table.flat[0] = fill_of(case.fill, dtype) if dtype in FLOATS else 0
    passed, table = present(table, case.layout)
    note(table)
    got = outcome(lambda: table_mi(passed))
    if len(shape) != 2 or 0 in shape:
        assert isinstance(got, Exception)
        TALLY["table_mi"]["error"] += 1
        return
    note(got)
    with np.errstate(over="ignore"):
        table = table.astype(np.float32).astype(float)
    usable = np.isfinite(table) & (table >= 0)
    answer, h = of_table(np.where(usable, table, 0))
    low, high = answer.clipped(h)
    assert low - 1e-6 <= got.mi <= high + 1e-6
    np.testing.assert_allclose(got.entropy, h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.num_samples, table[usable].sum(), rtol=1e-5)
    assert got.dropped == np.sum(~usable)
    TALLY["table_mi"]["right"] += 1


@given(
    st.sampled_from(DTYPES),
    st.sampled_from([(), (1,), (0,)]),
    st.sampled_from([0.0, 0.3, 1.0, 1.1, -2.0, 1e30, np.nan, np.inf, -np.inf]),
    st.sampled_from(["numpy", "list", "jax"]),
)
@drawn(EXAMPLES)
def test_measurements(dtype, shape, value, layout):
    if not (np.isfinite(value) or dtype in FLOATS):
        dtype = "float32"
    array = np.full(shape, cast(np.asarray(value), dtype))
    passed, array = present(array, layout)
    estimator = made("measured", entropy=1.0)
    got = outcome(lambda: estimator.update(estimator.init(), mi=passed))
    if shape:
        assert isinstance(got, Exception)
        TALLY["measured"]["error"] += 1
        return
    seen = estimator.estimate(got)
    nats = float(array)
    nats = np.clip(nats, 0, 1) if np.isfinite(nats) else np.nan
    np.testing.assert_allclose(seen.mi, nats, rtol=1e-6)
    TALLY["measured"]["nan" if np.isnan(nats) else "right"] += 1


@given(
    st.tuples(*[st.floats(0, 20, width=32)] * 2),
    st.floats(0, 1, width=32),
    st.sampled_from([None, np.inf, np.nan, 0.0]),
)
@drawn(EXAMPLES)
def test_shares_of_estimates(nats, chance, entropy):
    """Of the labels' entropy, or of the variance of real labels."""
    mi, h = sorted(nats)
    h = h if entropy is None else entropy
    fields = (mi, h, 24.0, 0.1, 0.0, chance * (0.0 if np.isnan(h) else min(h, 1.0)))
    estimate = MIEstimate(*map(np.float32, fields))
    b = float(estimate.chance)
    if np.isnan(h):
        share = np.nan
    elif h == np.inf:
        share = 1 - np.exp(-2 * (mi - b))
    elif h <= 1e-6:
        share = 0.0
    else:
        share = (mi - b) / (h - b) if b <= 0.75 * h else np.nan
    if h and abs(b / h - 0.75) < 1e-5:
        return
    np.testing.assert_allclose(estimate.adjusted, share, rtol=1e-4, atol=1e-5)
    clipped = np.clip(share, 0, 1)
    np.testing.assert_allclose(estimate.normalized, clipped, rtol=1e-4, atol=1e-5)
    TALLY["MIEstimate"]["nan" if np.isnan(share) else "right"] += 1


def test_all_that_is_public():
    named = {subject.name for subject in SUBJECTS.values()}
    others = {"MIEstimate", "MIEstimator", "measured", "plugin_entropy", "table_mi"}
    # They take other arguments, and have tests of their own.
    others |= {"feature_mi", "from_loss", "mutual_information", "MutualInformation"}
    assert named | others == set(estimators.__all__)
