"""Readers of the original files of MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

IDX: two zero bytes, a type byte (8: unsigned bytes), the number of dimensions, one
big-endian 32-bit size a dimension, then the data. CIFAR's binary version: records of
one label byte (two in CIFAR-100: coarse, fine) and 3072 image bytes, channels first.
Files may be gzipped.
"""

import dataclasses
import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set's files lie and how they read."""

    title: str
    kind: str
    folder: str
    num_classes: int
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    archive: str


SOURCES = {
    "mnist": Source(
        "MNIST",
        "idx",
        "mnist",
        10,
        IDX_FILES["train"],
        IDX_FILES["test"],
        "the four idx-ubyte.gz files of MNIST (yann.lecun.com/exdb/mnist)",
    ),
    "fashion_mnist": Source(
        "Fashion-MNIST",
        "idx",
        "fashion_mnist",
        10,
        IDX_FILES["train"],
        IDX_FILES["test"],
        "the four idx-ubyte.gz files of github.com/zalandoresearch/fashion-mnist",
    ),
    "cifar10": Source(
        "CIFAR-10",
        "cifar",
        "cifar-10-batches-bin",
        10,
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        ("test_batch.bin",),
        "cifar-10-binary.tar.gz of www.cs.toronto.edu/~kriz/cifar.html, unpacked",
    ),
    "cifar100": Source(
        "CIFAR-100",
        "cifar",
        "cifar-100-binary",
        100,
        ("train.bin",),
        ("test.bin",),
        "cifar-100-binary.tar.gz of www.cs.toronto.edu/~kriz/cifar.html, unpacked",
    ),
}


def missing_files(name: str, data_dir: Path | None) -> str:
    """What is missing of a data set and how to get it; empty if nothing is."""
    source = SOURCES[name]
    if data_dir is None:
        return f"give --data-dir, a folder with {source.archive}, in {source.folder}/"
    folder = data_dir / source.folder
    files = source.train_files + source.test_files
    missing = [file for file in files if not _find(folder, file).is_file()]
    if not missing:
        return ""
    return f"{', '.join(missing)} not found in {folder}; put there {source.archive}"


def load_images(name: str, data_dir: Path) -> tuple[Arrays, Arrays]:
    """Training and test images [N, H, W, C] uint8 and labels [N] int32.

    Raises:
      FileNotFoundError: a file is missing; says which, and how to get it.
      ValueError: a file is truncated or not of its format; says which and where.
    """
    if reason := missing_files(name, data_dir):
        raise FileNotFoundError(reason)
    source = SOURCES[name]
    parts = []
    for names in (source.train_files, source.test_files):
        found = [_find(data_dir / source.folder, file) for file in names]
        if source.kind == "idx":
            images, labels = (read_idx(path) for path in found)
            images = images[..., None]
        else:
            label_bytes = 1 if source.num_classes == 10 else 2
            read = [read_cifar(path, label_bytes) for path in found]
            images, labels = (
                np.concatenate(arrays) for arrays in zip(*read, strict=True)
            )
        if len(images) != len(labels) or labels.max(initial=0) >= source.num_classes:
            raise ValueError(
                f"{', '.join(str(path) for path in found)}: {len(images)} images and "
                f"{len(labels)} labels, the largest {labels.max(initial=0)}; expected "
                f"as many of each, and labels below {source.num_classes}."
            )
        parts.append((images, labels.astype(np.int32)))
    return parts[0], parts[1]


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file.

    Raises:
      ValueError: the header is not IDX's, or the data have another length than it says.
    """
    content = _read(path)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        raise ValueError(
            f"{path}: offset 0: expected the magic number of an IDX file of unsigned "
            f"bytes (00 00 08 and 1 to 4 dimensions), got {content[:4].hex(' ')!r}."
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(
            f"{path}: offset {len(content)}: the file ends within its header of "
            f"{start} bytes."
        )
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path}: offset {start}: the header promises {math.prod(shape)} bytes of "
            f"data, shape {shape}; the file has {len(content) - start}."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path, label_bytes: int) -> Arrays:
    """Images [N, 32, 32, 3] and the last label byte of each record.

    Raises:
      ValueError: the file is empty or ends within a record.
    """
    content = _read(path)
    record = label_bytes + 3072
    if not content or len(content) % record:
        whole = len(content) // record * record
        raise ValueError(
            f"{path}: offset {whole}: expected whole records of {record} bytes, got "
            f"{len(content) - whole} bytes after the last."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, label_bytes - 1]


def _find(folder: Path, name: str) -> Path:
    """The file, or its gzipped form if only that is there."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    return zipped if zipped.is_file() and not plain.is_file() else plain


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path}: offset 0: not a whole gzip file ({error})."
        ) from error
