"""Readers of image files, on tiny files of the original formats."""

import dataclasses
import gzip
import struct

import numpy as np
import pytest
from suite.images import load_images, missing_files, read_cifar, read_idx
from suite.methods import METHODS
from suite.tasks import image_tasks
from suite.training import train

RNG = np.random.default_rng(0)


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_idx(folder, rows=(40, 12), side=28, zipped=False):
    folder.mkdir(parents=True)
    arrays = {}
    for part, n in zip(("train", "t10k"), rows, strict=True):
        arrays[f"{part}-images-idx3-ubyte"] = RNG.integers(
            0, 256, (n, side, side), np.uint8
        )
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(n).astype(np.uint8) % 10
    for name, array in arrays.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
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
    images = RNG.integers(0, 256, (6 * rows, 32, 32, 3), np.uint8)
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
    images = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
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
        (b"", "offset 0: expected the magic number"),
        (b"\0\0\x0d\x01" + GOOD[4:], "offset 0: expected the magic number"),
        (GOOD[:7], "offset 7: the file ends within its header"),
        (GOOD[:-1], r"offset 12: the header promises 6 bytes.*the file has 5"),
        (GOOD + b"\0", r"offset 12: .*the file has 7"),
    ],
)
def test_names_the_place_of_a_broken_idx_file(tmp_path, content, match):
    path = tmp_path / "some-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"some-idx: {match}"):
        read_idx(path)


def test_names_a_broken_gzip_file(tmp_path):
    path = tmp_path / "some.gz"
    for content in (GOOD, gzip.compress(GOOD)[:-9]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"some\.gz: .*not a whole gzip file"):
            read_idx(path)


@pytest.mark.parametrize(("size", "place"), [(0, 0), (3072, 0), (3073 + 5, 3073)])
def test_names_the_place_of_a_broken_cifar_file(tmp_path, size, place):
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(ValueError, match=rf"some\.bin: offset {place}: .*3073 bytes"):
        read_cifar(path, 1)


def test_refuses_labels_out_of_range_and_counts_that_differ(tmp_path):
    folder = tmp_path / "mnist"
    write_idx(folder)
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.full(12, 10, np.uint8)))
    with pytest.raises(ValueError, match="12 images and 12 labels, the largest 10"):
        load_images("mnist", tmp_path)
    path.write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    with pytest.raises(ValueError, match="12 images and 11 labels"):
        load_images("mnist", tmp_path)


def test_says_what_is_missing_and_how_to_get_it(tmp_path):
    tasks, missing = image_tasks(None)
    assert not tasks
    assert "--data-dir" in missing["cifar10"]
    assert "cifar-10-binary.tar.gz" in missing["cifar10"]
    write_idx(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    reason = missing_files("mnist", tmp_path)
    assert reason.startswith("t10k-labels-idx1-ubyte not found in")
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        load_images("mnist", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_trains_on_image_files(tmp_path, name):
    if name == "mnist":
        write_idx(tmp_path / "mnist")
    else:
        write_cifar10(tmp_path / "cifar-10-batches-bin")
    tasks, missing = image_tasks(tmp_path)
    assert name in tasks
    assert len(missing) == 3
    task = dataclasses.replace(tasks[name], batch=4)
    rates = np.float32([0.0, 0.01])
    curves = train(task, METHODS["mi sgd"], rates, [0], steps=2, evaluations=1)
    loss = curves.values["test_loss"][:, 0, 0]
    assert np.all(np.isfinite(loss))
    assert loss[0] != loss[1]
