"""Readers of the original files of MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

IDX: two zero bytes, a type byte (8: unsigned bytes), the number of dimensions, one
big-endian 32-bit size a dimension, then the data. CIFAR's binary version: records of
one label byte (two in CIFAR-100: coarse, fine) and 3072 image bytes, channels first.
Files may be gzipped; offsets in errors are then those of what they unpack to, unless
the compression itself is damaged.
"""

import bisect
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from suite.sources import SOURCES, find_file, find_folder, missing_files

Arrays = tuple[np.ndarray, np.ndarray]


def load_images(name: str, data_dir: Path) -> tuple[Arrays, Arrays]:
    """Training and test images [N, H, W, C] uint8 and labels [N] int32.

    Raises:
      FileNotFoundError: a file is missing; says which, and how to get it.
      ValueError: a file is truncated or not of its format; says which and where.
    """
    if reason := missing_files(name, data_dir):
        raise FileNotFoundError(reason)
    source = SOURCES[name]
    folder, parts = find_folder(name, data_dir), []
    for names in (source.train_files, source.test_files):
        found = [find_file(folder, file) for file in names]
        if source.kind == "idx":
            images = read_idx(found[0], (28, 28))[..., None]
            labels = read_idx(found[1], ())
            if len(images) != len(labels):
                raise ValueError(
                    f"{found[1]}: offset 4: expected as many labels as {found[0]} has "
                    f"images, {len(images)}, got {len(labels)}."
                )
            _check_labels(found[1], labels, source.num_classes, 8, 1)
        else:
            kinds = (10,) if source.num_classes == 10 else (20, 100)
            read = [read_cifar(path, kinds) for path in found]
            images, labels = (
                np.concatenate(arrays) for arrays in zip(*read, strict=True)
            )
        parts.append((images, labels.astype(np.int32)))
    return parts[0], parts[1]


def read_idx(path: Path, sizes: tuple[int, ...]) -> np.ndarray:
    """Unsigned bytes [N, *sizes] of an IDX file, N > 0.

    Raises:
      ValueError: the header says otherwise, or the data have another length.
    """
    content, dimensions = _read(path), 1 + len(sizes)
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        raise ValueError(
            f"{path}: offset 0: expected {magic.hex(' ')!r}, the magic number of an "
            f"IDX file of unsigned bytes with {dimensions} dimensions, got "
            f"{content[:4].hex(' ')!r}."
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError(
            f"{path}: offset {len(content)}: the file ends within its header of "
            f"{start} bytes."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if not shape[0] or shape[1:] != sizes:
        wanted = ", ".join(map(str, ("N > 0", *sizes)))
        raise ValueError(f"{path}: offset 4: expected sizes ({wanted}), got {shape}.")
    end = start + math.prod(shape)
    if len(content) != end:
        raise ValueError(
            f"{path}: offset {min(len(content), end)}: the header promises "
            f"{end - start} bytes of data, shape {shape}; the file has "
            f"{len(content) - start}."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path, kinds: tuple[int, ...]) -> Arrays:
    """Images [N, 32, 32, 3], N > 0, and the last label byte of each record.

    Args:
      path: the file.
      kinds: how many classes each label byte of a record tells apart.

    Raises:
      ValueError: the file is empty, ends within a record, or has an unknown label.
    """
    content, start = _read(path), len(kinds)
    record = start + 3072
    if not content or len(content) % record:
        whole = len(content) // record * record
        raise ValueError(
            f"{path}: offset {whole}: expected whole records of {record} bytes, got "
            f"{len(content) - whole} bytes after the last."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    for place, num_classes in enumerate(kinds):
        _check_labels(path, rows[:, place], num_classes, place, record)
    images = rows[:, start:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, start - 1]


def _check_labels(
    path: Path, labels: np.ndarray, num_classes: int, first: int, step: int
) -> None:
    """Refuses labels out of range, given where the first lies and how far the next."""
    wrong = np.flatnonzero(labels >= num_classes)
    if len(wrong):
        raise ValueError(
            f"{path}: offset {first + step * wrong[0]}: expected a label below "
            f"{num_classes}, got {labels[wrong[0]]}."
        )


def _read(path: Path) -> bytes:
    """All bytes, unpacked if the file is gzipped."""
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    unzip = zlib.decompressobj(wbits=31)  # of gzip's format
    try:
        unpacked = unzip.decompress(content)
    except zlib.error as error:
        # The damage shows at the last byte of the shortest start that fails.
        offset = bisect.bisect_left(
            range(len(content)), True, key=lambda n: _is_damaged(content[: n + 1])
        )
        raise ValueError(
            f"{path}: offset {offset}: not a gzip file, or a damaged one: {error}."
        ) from error
    if not unzip.eof or unzip.unused_data:
        wrong = "goes on after its end" if unzip.eof else "ends too early"
        offset = len(content) - len(unzip.unused_data)
        raise ValueError(f"{path}: offset {offset}: the gzip file {wrong}.")
    return unpacked


def _is_damaged(start: bytes) -> bool:
    """Whether no gzip file begins like this."""
    try:
        zlib.decompressobj(wbits=31).decompress(start)
    except zlib.error:
        return True
    return False
