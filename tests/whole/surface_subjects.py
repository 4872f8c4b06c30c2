"""What is public, run on a batch as users run it, and the slow model's answer."""

import functools

import jax
import numpy as np

from optax_mi import estimators, mi_decay, mi_diagnostics
from optax_mi.estimators import MIEstimate
from tests.whole import surface_model as model
from tests.whole.surface_draws import is_cut

BATCH = 12


class Refused(Exception):
    """Must be an error."""


@functools.cache
def compiled(function):
    return jax.jit(function)


@functools.cache
def made(name, **settings):
    return getattr(estimators, name)(**settings)


@functools.cache
def empty(init):
    return init()


def parts_of(program, batch):
    """The keywords of each update: batches of a size, or one of all."""
    rows = len(batch.y)
    step = BATCH if rows % BATCH == 0 and rows <= 3 * BATCH else rows
    for start in range(0, max(rows, 1), max(step, 1)):
        arrays = (batch.outputs, batch.labels, batch.weights)
        yield dict(
            zip(
                ("outputs", "labels", "weights"),
                (None if a is None else a[start : start + step] for a in arrays),
                strict=True,
            )
        )


def stream(estimator, program, batch):
    """The estimate of the batch, part by part."""
    state = empty(estimator.init)
    update = estimator.update if program.eager else compiled(estimator.update)
    for part in parts_of(program, batch):
        state = update(state, **part)
    return jax.device_get(compiled(estimator.estimate)(state))


@functools.cache
def decaying(estimator, steps):
    """A decay that the estimator drives, compiled, and what reads its state."""
    tx = mi_decay(0.5, 0.01, estimator=estimator, steps_per_epoch=steps)

    def read(state):
        seen = mi_diagnostics(state)["all"]
        return seen, estimator.estimate(state.estimator_state)

    return tx, tx.init(1.0), jax.jit(tx.update), jax.jit(read)


def decay(estimator, program, batch):
    """The estimate of an epoch as `mi_decay` takes it, and the learning rate then."""
    parts = list(parts_of(program, batch))
    tx, first, update, read = decaying(estimator, len(parts))
    update = tx.update if program.eager else update
    state = first
    for part in parts:
        step, state = update(1.0, state, **part)
    seen, open_epoch = jax.device_get(read(state))
    assert 0.01 <= seen.learning_rate <= 0.5
    assert step == seen.learning_rate
    if not seen.epoch:
        # Chance could read too much of it: the epoch goes on.
        assert seen.joined
        return open_epoch
    if seen.held:
        assert seen.learning_rate == 0.5
        assert np.isnan(seen.mi) or not seen.num_samples > 0
    fields = seen._asdict()
    if seen.num_samples == 0:
        # An estimator says 0 of no samples; what mi_decay tells of it is nan.
        assert np.isnan([seen.mi, seen.entropy, seen.chance, seen.normalized]).all()
        fields |= dict.fromkeys(("mi", "entropy", "chance"), np.float32(0))
    return MIEstimate(**{name: fields[name] for name in MIEstimate._fields})


def ids_of(ids, num_classes, looked, streams=False):
    """Class ids and where they are some; raises what must be an error."""
    if streams and len(ids) > BATCH and len(ids) % BATCH == 0 and len(ids) < 40:
        parts = np.split(ids, len(ids) // BATCH)
        parts = [ids_of(part, num_classes, looked) for part in parts]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
    if ids.dtype.kind not in "iub":
        raise Refused("floating ids")
    if ids.ndim > 1:
        if ids.shape[-1] != 1:
            raise Refused("one-hot ids")
        ids = ids[:, 0]
    ids = ids.astype(np.int64)
    some = ids[ids >= 0]
    if looked and len(ids):
        if ids.min() == -1 and ids.max() == 1 and not (ids == 0).any():
            raise Refused("signs")
        if num_classes is None and not len(some):
            raise Refused("no id")
        if num_classes is None and ids.max() == 255:
            raise Refused("255")
        if num_classes and len(some) and (some.min(), ids.max()) == (1, num_classes):
            raise Refused("from 1")
        beyond = ids[ids >= (num_classes or np.inf)]
        if not streams and len({*beyond}) > 1 and 2 * len(beyond) > len(ids):
            raise Refused("beyond")
    valid = ids >= 0
    return ids, valid if num_classes is None else valid & (ids < num_classes)


def float_rows(x, wide):
    """Numbers [N, d] as float64, and which rows the estimator can hold."""
    x = (x[:, None] if x.ndim == 1 else x).astype(float)
    with np.errstate(over="ignore"):
        kept = np.isfinite(x if wide else x.astype(np.float32)).all(1)
    return x, kept


def moved(x, kept, cut, host, eps):
    """Rows that are kept less their median, which was exact, how far off, and it."""
    x = x[kept]
    if not len(x):
        return x, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    middle = np.median(x, 0)
    off = np.zeros(x.shape[1])
    if cut:
        low, high = np.quantile(x, (0.25, 0.75), axis=0)
        # Moved on the host, or so near to 0 that it need not be.
        away = np.abs(x).max(0)
        if host:
            away = np.minimum(away, 70 * (high - low) + np.abs(x - middle).max(0))
        off = eps * away
    return x - middle, off, middle


class Subject:
    """A function or estimator, run and modelled."""

    def __init__(self, name, family, options=lambda program: {}, through=stream):
        self.name, self.family, self.options = name, family, options
        self.streams = not name.endswith("_mi")
        self.through = through

    def run(self, program, batch):
        options = self.options(program)
        if self.streams:
            sizes = {}
            if self.name in ("gaussian", "nearest_neighbors", "kde"):
                sizes["features"] = program.columns or 1
            if self.family == "real":
                sizes["label_features"] = program.label_columns or 1
            else:
                sizes["num_classes"] = program.classes
            if self.name in ("nearest_neighbors", "kde"):
                sizes["sample_size"] = 48 if program.rows <= 48 else 320
            estimator = made(self.name, **sizes, **options)
            return self.through(estimator, program, batch)
        function = getattr(estimators, self.name)
        extra = {}
        if self.family != "real" and batch.num_classes:
            extra["num_classes"] = batch.num_classes
        if batch.weights is not None:
            by = "mask" if self.name in ("ross_mi", "ksg_mi", "kde_mi") else "weights"
            weights = batch.weights
            if by == "mask":
                weights = np.isfinite(batch.w) & (batch.w > 0)
            extra[by] = weights
        return jax.device_get(function(batch.outputs, batch.labels, **extra, **options))

    def answer(self, program, batch):
        """Nats, H(Y), the number of samples and of dropped ones; or raises."""
        looked = not self.streams or (program.eager and batch.layout != "jax")
        classes = program.classes if self.streams else batch.num_classes
        x64 = jax.config.jax_enable_x64
        double = (
            x64
            and not self.streams
            and "float64"
            in (batch.x.dtype, batch.y.dtype if self.family == "real" else "")
        )
        eps = np.finfo(np.float64 if double else np.float32).eps
        if not len(batch.y) and not self.streams:
            raise Refused("no samples")
        w = np.where(np.isfinite(batch.w) & (batch.w > 0), batch.w, 0)
        if self.name in ("ross_mi", "ksg_mi", "kde_mi", "kde", "nearest_neighbors"):
            w = (w > 0) * 1.0
        options = self.options(program)
        ids = None
        if self.family != "real":
            if self.family == "logits" and batch.x.dtype.kind not in "iub":
                classes = classes or batch.x.shape[-1]
            ids, valid = ids_of(batch.y, classes, looked, self.streams)
            w = w * valid
        if self.family == "logits":
            return self.of_logits(program, batch, ids, w, classes, looked, options)
        x, kept = float_rows(batch.x, double)
        w = w * kept
        if self.family == "real":
            y, kept = float_rows(batch.y, double)
            w = w * kept
        kept, host = w > 0, not self.streams and batch.layout != "jax"
        if host and np.mean(kept) < 0.75 and is_cut(batch.x, batch.layout, double):
            # Where columns lie is told from all rows: padding must be in few of them.
            return model.ANYTHING, None, w, kept
        if self.name.startswith("binned"):
            return self.of_bins(
                batch, x[kept], ids[kept], w[kept], kept, options, double
            )
        x, off, mean = moved(x, kept, is_cut(batch.x, batch.layout, double), host, eps)
        w = w[kept]
        if self.family == "real":
            y, off_y, mean_y = moved(
                y, kept, is_cut(batch.y, batch.layout, double), host, eps
            )
        else:
            y = model.numbered(ids[kept])[0] if kept.any() else ids[kept]
        if self.name.startswith("gaussian"):
            # Squares that float32 cannot hold.
            far, size = np.abs(mean), np.abs(x).max(0, initial=0)
            if self.family == "real":
                far = np.r_[far, np.abs(mean_y)]
                size = np.r_[size, np.abs(y).max(0, initial=0)]
            small = (size < 1e-17) & ((size > 0) | ((far < 1e-17) & (far > 0)))
            if self.streams and np.any(small | (far + size > 1e18)):
                return model.ANYTHING, None, w, kept
            real = self.family == "real"
            if real:
                off, mean = np.r_[off, off_y], np.r_[mean, mean_y]
            if self.streams:
                off = off + 2 * eps * np.abs(mean)
            got = model.gaussian(x, y, w, off, real, eps, mean=mean)
            if is_cut(batch.x, batch.layout, double) or (
                real and is_cut(batch.y, batch.layout, double)
            ):
                # What was moved to 0 is no rounding of its mean.
                near, h = model.gaussian(x, y, w, off, real, eps)
                got = model.either(got[0], near), h
        elif self.name.startswith("kde"):
            exponent = 1 / 8 if options["distance"] == "bhattacharyya" else 1 / 2
            got = model.kernels(x, y, options["bandwidth"], exponent, off, eps)
        else:
            key, k = options["key"] is not None, options["k"]
            if k >= len(batch.y) and not self.streams:
                raise Refused("k")
            exact = np.all(x == np.round(x)) and np.abs(x).max(initial=0) < 1000
            if self.family == "real":
                exact &= np.all(y == np.round(y)) and np.abs(y).max(initial=0) < 1000
                got = model.ksg(
                    x,
                    y,
                    k,
                    off,
                    off_y,
                    key,
                    eps,
                    exact and not off.any() and not off_y.any(),
                    options["norm"] == "euclidean",
                )
            else:
                got = model.ross(
                    x, y, k, off, key, eps, exact and not off.any() and not key
                )
        return *got, w, kept

    def of_bins(self, batch, x, ids, w, kept, options, double):
        low, high = (options.get(end) for end in ("low", "high"))
        off = np.zeros(x.shape[1])
        if low is not None:
            low, high = np.float32(low), np.float32(high)
            if is_cut(batch.x, batch.layout, double):
                off = 1e-7 * np.abs(x).max(0, initial=0)
        elif is_cut(batch.x, batch.layout, double):
            x, off, _ = moved(x, np.ones(len(x), bool), True, True, 1e-7)
        got = model.binned(x, ids, w, low, high, options["num_bins"], off)
        return *got, w, kept

    def of_logits(self, program, batch, ids, w, classes, looked, options):
        x = batch.x
        if x.dtype.kind in "iub":
            told, valid = ids_of(x, classes, looked, self.streams)
            w = w * valid
            kept = w > 0
            if self.name.startswith("variational"):
                raise Refused("no logits")
            joint = model.counts(told[kept], ids[kept], w[kept])
            return *model.of_table(joint), w[kept], kept
        with np.errstate(over="ignore"):
            single = x.astype(np.float32)
        x = x.astype(float)
        if x.ndim == 1 or (x.shape[1] == 1):
            x = np.stack([np.zeros(len(x)), x.reshape(-1)], 1)
            single = np.stack([np.zeros(len(x)), single.reshape(-1)], 1)
        w = w * np.isfinite(single.max(1, initial=-np.inf)) * ~np.isnan(single).any(1)
        kept = w > 0
        x, ids, w = x[kept], ids[kept], w[kept]
        blur = 0.0
        if is_cut(batch.x, batch.layout) and len(x):
            blur = 2e-7 * np.ptp(x, axis=1).max()
        if self.name.startswith("variational"):
            some = np.isfinite(x[np.arange(len(x)), ids])
            kept[kept] = some
            w = w[some]
            answer, h = model.cross_entropy(x[some], ids[some], w)
            return answer.wider(2 * blur), h, w, kept
        if options["soft"]:
            answer, h = model.of_table(model.soft_counts(x, ids, w))
            return answer.wider(min(2 * blur, 1e-3)), h, w, kept
        answer, h = model.of_table(model.counts(x.argmax(1), ids, w))
        return answer, h, w, kept


def of_bins(program, ends=True):
    """Bins about where the numbers lie, as patterns of no more than 64."""
    bins = 2 if program.columns == 6 else 4
    if not ends:
        return {"num_bins": bins}
    # As wide as float32 tells apart there.
    width = max(1.0, 1e-5 * program.offset)
    low, high = (program.scale * (program.offset + end * width) for end in (-2.0, 3.0))
    return {"num_bins": bins, "low": low, "high": high}


def of_kernels(program):
    distance = ("kl", "bhattacharyya")[program.option % 2]
    return {"bandwidth": 0.5 * program.scale, "distance": distance}


def of_neighbors(program):
    return {"k": (1, 3)[program.option % 2], "key": (0, None)[program.option % 3 == 0]}


def of_vectors(program):
    norm = ("euclidean", "euclidean", "max")[program.option % 3]
    return of_neighbors(program) | {"norm": norm}


def of_counts(program):
    return {"soft": program.option % 4 < 3}


SUBJECTS = {
    "binned": Subject("binned", "classes", lambda p: of_bins(p) | {"buckets": 2**14}),
    "binned_mi": Subject("binned_mi", "classes", lambda p: of_bins(p, p.option % 3)),
    "contingency": Subject("contingency", "logits", of_counts),
    "gaussian": Subject("gaussian", "classes"),
    "gaussian, real": Subject("gaussian", "real"),
    "gaussian_mi": Subject("gaussian_mi", "classes"),
    "gaussian_mi, real": Subject("gaussian_mi", "real"),
    "kde": Subject("kde", "classes", of_kernels),
    "kde_mi": Subject("kde_mi", "classes", of_kernels),
    "ksg_mi": Subject("ksg_mi", "real", of_vectors),
    "nearest_neighbors": Subject("nearest_neighbors", "classes", of_neighbors),
    "nearest_neighbors, real": Subject("nearest_neighbors", "real", of_vectors),
    "plugin_mi": Subject("plugin_mi", "logits", of_counts),
    "ross_mi": Subject("ross_mi", "classes", of_neighbors),
    "variational": Subject("variational", "logits"),
    "variational_mi": Subject("variational_mi", "logits"),
}
SUBJECTS |= {
    f"mi_decay, {name}": Subject(
        SUBJECTS[name].name, SUBJECTS[name].family, SUBJECTS[name].options, decay
    )
    for name in ("binned", "contingency", "gaussian", "gaussian, real", "variational")
}
