"""Readers of image files, on tiny files of the original formats."""

import dataclasses
import gzip
import re
import struct

import fashion
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from suite.images import load_images, missing_files, read_cifar, read_idx
from suite.methods import METHODS
from suite.tasks import image_tasks
from suite.training import train


def pixels(*shape):
    """The same in whatever order tests run."""
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_idx(folder, rows=(40, 12), zipped=False):
    folder.mkdir(parents=True)
    arrays = {}
    for part, n in zip(("train", "t10k"), rows, strict=True):
        arrays[f"{part}-images-idx3-ubyte"] = pixels(n, 28, 28)
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(n).astype(np.uint8) % 10
    for name, array in arrays.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
    return list(arrays.values())


def cifar_bytes(images, *labels):
    """A record at a time, a pixel at a time."""
    out = bytearray()
    for n, image in enumerate(images):
        out += bytes(int(each[n]) for each in labels)
        for channel in range(3):
            for row in range(32):
                for column in range(32):
                    out.append(image[row, column, channel])
    return bytes(out)


def write_cifar10(folder, rows=8):
    folder.mkdir(parents=True)
    images = pixels(6 * rows, 32, 32, 3)
    labels = np.arange(6 * rows) % 10
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for i, name in enumerate(names):
        part = slice(i * rows, (i + 1) * rows)
        (folder / name).write_bytes(cifar_bytes(images[part], labels[part]))
    return images, labels


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_reads_idx_files(tmp_path, name, zipped):
    train_x, train_y, test_x, test_y = write_idx(tmp_path / name, zipped=zipped)
    (got_x, got_y), (other_x, other_y) = load_images(name, tmp_path)
    np.testing.assert_array_equal(got_x[..., 0], train_x)
    np.testing.assert_array_equal(got_y, train_y)
    np.testing.assert_array_equal(other_x[..., 0], test_x)
    np.testing.assert_array_equal(other_y, test_y)
    assert got_y.dtype == np.int32


def test_reads_cifar10_files(tmp_path):
    images, labels = write_cifar10(tmp_path / "cifar-10-batches-bin")
    (train_x, train_y), (test_x, test_y) = load_images("cifar10", tmp_path)
    np.testing.assert_array_equal(np.concatenate([train_x, test_x]), images)
    np.testing.assert_array_equal(np.concatenate([train_y, test_y]), labels)


def test_reads_the_fine_labels_of_cifar100(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    images = pixels(3, 32, 32, 3)
    content = cifar_bytes(images, [1, 2, 3], [99, 5, 0])
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(content)
    (x, y), _ = load_images("cifar100", tmp_path)
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(y, [99, 5, 0])


GOOD = idx_bytes(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "offset 0: expected '00 00 08 02', the magic number .*, got ''"),
        (b"\0\0\x0d\x02" + GOOD[4:], "offset 0: .* got '00 00 0d 02'"),
        (GOOD[:3] + b"\1" + GOOD[4:], "offset 0: .* with 2 dim.* got '00 00 08 01'"),
        (gzip.compress(GOOD, mtime=0), "offset 0: .* got '1f 8b 08 00'"),
        (GOOD[:7], "offset 7: the file ends within its header of 12 bytes"),
        (
            GOOD[:4] + bytes(4) + GOOD[8:12],
            r"offset 4: expected sizes \(N > 0, 3\), got \(0, 3\)",
        ),
        (GOOD[:11] + b"\4", r"offset 4: .*, got \(2, 4\)"),
        (GOOD[:-1], r"offset 17: .* 6 bytes of data, shape \(2, 3\); the file has 5"),
        (GOOD[:4] + b"\xff" + GOOD[5:], "offset 18: .* 12834570246 bytes .* has 6"),
        (GOOD + b"\0", r"offset 18: .* 6 bytes .* has 7"),
    ],
)
def test_names_the_place_of_a_broken_idx_file(tmp_path, content, match):
    path = tmp_path / "some-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"some-idx: {match}"):
        read_idx(path, (3,))


ZIPPED = gzip.compress(pixels(2000).tobytes(), mtime=0)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "offset 0: the gzip file ends too early"),
        # zlib checks whole fields: two bytes of magic, two of method and flags, and
        # the first four of the last eight.
        (GOOD, "offset 1: not a gzip file, .*: .*header"),
        (ZIPPED[:1000], "offset 1000: the gzip file ends too early"),
        (ZIPPED[:-1], f"offset {len(ZIPPED) - 1}: the gzip file ends too early"),
        (ZIPPED + b"ab", f"offset {len(ZIPPED)}: the gzip file goes on after its end"),
        (flipped(ZIPPED, 2), "offset 3: .* a damaged one: .*compression method"),
        (flipped(ZIPPED, 900), f"offset {len(ZIPPED) - 5}: .* damaged .* data check"),
    ],
)
def test_names_the_place_of_a_broken_gzip_file(tmp_path, content, match):
    path = tmp_path / "some.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"some\.gz: {match}"):
        read_idx(path, (3,))


@pytest.mark.parametrize(
    ("kinds", "size", "place"),
    [((10,), 0, 0), ((10,), 3072, 0), ((10,), 3078, 3073), ((20, 100), 3073, 0)],
)
def test_names_the_place_of_a_broken_cifar_file(tmp_path, kinds, size, place):
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(size))
    match = rf"some\.bin: offset {place}: .*{len(kinds) + 3072} bytes"
    with pytest.raises(ValueError, match=match):
        read_cifar(path, kinds)


@pytest.mark.parametrize(
    ("kinds", "place", "match"),
    [
        ((10,), 3073, "offset 3073: expected a label below 10, got 100"),
        ((20, 100), 3074, "offset 3074: expected a label below 20, got 100"),
        ((20, 100), 3075, "offset 3075: expected a label below 100, got 100"),
    ],
)
def test_names_the_place_of_a_wrong_label_of_cifar(tmp_path, kinds, place, match):
    content = bytearray(3 * (len(kinds) + 3072))
    content[place] = 100
    path = tmp_path / "some.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"some\.bin: {match}"):
        read_cifar(path, kinds)


def test_refuses_labels_out_of_range_and_files_that_do_not_fit(tmp_path):
    folder = tmp_path / "mnist"
    write_idx(folder)
    name = "t10k-labels-idx1-ubyte"
    (folder / name).write_bytes(idx_bytes(np.array([9] * 7 + [10] * 5, np.uint8)))
    with pytest.raises(
        ValueError, match=f"{name}: offset 15: expected a label below 10, got 10"
    ):
        load_images("mnist", tmp_path)
    (folder / name).write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    with pytest.raises(
        ValueError, match=f"{name}: offset 4: .* as .*t10k-images.* images, 12, got 11"
    ):
        load_images("mnist", tmp_path)
    (folder / name).write_bytes((folder / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(ValueError, match=f"{name}: offset 0: .* with 1 dimensions"):
        load_images("mnist", tmp_path)
    with pytest.raises(ValueError, match=r"offset 4: .* \(N > 0, 8, 8\), got \(12, "):
        read_idx(folder / name, (8, 8))


LOADED = {
    "idx": (GOOD, lambda path: [read_idx(path, (3,))]),
    "gz": (gzip.compress(GOOD, mtime=0), lambda path: [read_idx(path, (3,))]),
    "bin": (bytes(2 * 3074), lambda path: read_cifar(path, (20, 100))),
}


@pytest.mark.parametrize("suffix", LOADED)
@settings(deadline=None)
@given(data=st.data())
def test_any_damage_is_read_or_refused_with_its_place(tmp_path_factory, suffix, data):
    good, load = LOADED[suffix]
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["cut", "set", "add"])):
            case "cut":
                del content[place:]
            case "set":
                content[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
            case "add":
                content[place:place] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(content)
    try:
        read = load(path)
    except ValueError as error:
        message = str(error)
    else:
        (n, *size), *labels = (part.shape for part in read)
        assert n > 0
        assert (size, labels) == (([32, 32, 3], [(n,)]) if labels else ([3], []))
        return
    place = re.match(rf"{re.escape(str(path))}: offset (\d+): ", message)
    assert int(place[1]) <= max(len(content), len(GOOD))


def test_says_what_is_missing_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("suite.tasks.INSTALLED", tmp_path / "nothing")
    tasks, missing = image_tasks(None)
    assert not tasks
    assert missing["fashion_mlp"].startswith("apt-get install dataset-fashion-mnist")
    assert "--data-dir" in missing["cifar10"]
    assert "cifar-10-binary.tar.gz" in missing["cifar10"]
    write_idx(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    reason = missing_files("mnist", tmp_path)
    assert reason.startswith("t10k-labels-idx1-ubyte not found in")
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize("folder", ["fashion_mnist", "fashion-mnist"])
@pytest.mark.parametrize("given", [True, False])
def test_finds_fashion_mnist_where_it_is_given_or_installed(
    tmp_path, monkeypatch, folder, given
):
    installed = tmp_path / ("elsewhere" if given else "installed")
    monkeypatch.setattr("suite.tasks.INSTALLED", installed)
    data_dir = tmp_path / "given" if given else installed
    train_x, train_y, _, test_y = write_idx(data_dir / folder, (40, 12), zipped=True)
    tasks, missing = image_tasks(data_dir if given else None)
    # The convolutional network wants to be asked for by a folder.
    assert ("fashion_mnist" in missing) != given
    task = tasks["fashion_mlp"]
    assert task.held_out
    assert task.steps == 16 * task.steps_per_epoch
    data = task.load(0)
    assert [len(y) for _, y in data] == [36, 4, 12]
    np.testing.assert_array_equal(data.test[1], test_y)
    held = np.random.default_rng(0).permutation(40)[:4]
    np.testing.assert_array_equal(data.valid[0][..., 0], train_x[held])
    np.testing.assert_array_equal(data.valid[1], train_y[held])


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
def test_the_fashion_script_resumes_and_reports(tmp_path, monkeypatch, capsys):
    write_idx(tmp_path / "fashion_mnist")
    monkeypatch.setattr("suite.tasks.BATCH", 4)
    monkeypatch.setattr("fashion.STEPS_IN_SHORT", 2)
    monkeypatch.setattr("fashion.EPOCHS", (2, 4))
    arguments = ["--short", "--seeds=2", "--decisions=epoch", f"--data-dir={tmp_path}"]
    arguments.append(f"--output={tmp_path / 'out'}")
    fashion.main(arguments)
    cells = list((tmp_path / "out" / "short" / "cells").iterdir())
    assert len(cells) == 9
    written = [path.stat().st_mtime_ns for path in cells]
    fashion.main(arguments)
    assert [path.stat().st_mtime_ns for path in cells] == written
    text = (tmp_path / "out" / "short" / "fashion.md").read_text()
    assert "| sgd cosine, told 2 | " in text
    assert "| mi adamw, epoch + average | " in text
    assert "nan" not in text


def test_the_fashion_script_says_what_is_missing(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        fashion.main([f"--data-dir={tmp_path}"])
    assert "apt-get install dataset-fashion-mnist" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        fashion.main(["--decisions=hourly"])
    assert "no hourly" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("compiles_fast")
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_trains_on_image_files(tmp_path, name):
    if name == "mnist":
        write_idx(tmp_path / "mnist")
    else:
        write_cifar10(tmp_path / "cifar-10-batches-bin")
    tasks, missing = image_tasks(tmp_path)
    assert name in tasks
    assert len(missing) == 4
    task = dataclasses.replace(tasks[name], batch=4)
    rates = np.float32([0.0, 0.01])
    curves = train(task, METHODS["mi sgd"], rates, [0], steps=2, evaluations=1)
    loss = curves.first["test_loss"][:, 0, 0]
    assert np.all(np.isfinite(loss))
    assert loss[0] != loss[1]
