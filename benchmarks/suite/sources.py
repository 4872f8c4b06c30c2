"""Where the original files of images lie: MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100."""

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

# Where packages of Debian put data sets: dataset-fashion-mnist is one.
INSTALLED = Path("/usr/share/datasets")
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

    @property
    def folders(self) -> tuple[str, str]:
        """Its folder with underscores and, as Debian has it, with dashes."""
        return self.folder, self.folder.replace("_", "-")


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


def find_folder(name: str, data_dir: Path) -> Path:
    """The folder that has a data set's files, or most of them.

    That is the data set's own folder in `data_dir`, or `data_dir` itself unless it has
    the name of another data set, whose files may have the same names.
    """
    source = SOURCES[name]
    files = source.train_files + source.test_files
    places = [data_dir / own for own in source.folders]
    others = [other.folders for key, other in SOURCES.items() if key != name]
    if not any(data_dir.absolute().name in folders for folders in others):
        places.append(data_dir)
    # The first of those with as many.
    return max(
        places, key=lambda place: sum(find_file(place, f).is_file() for f in files)
    )


def find_file(folder: Path, name: str) -> Path:
    """The file, or its gzipped form if only that is there."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    return zipped if zipped.is_file() and not plain.is_file() else plain


def missing_files(name: str, data_dir: Path | None) -> str:
    """What is missing of a data set and how to get it; empty if nothing is."""
    source = SOURCES[name]
    if data_dir is None:
        return (
            f"give --data-dir, a folder with {source.archive}, or with {source.folder}/"
        )
    folder = find_folder(name, data_dir)
    files = source.train_files + source.test_files
    missing = [file for file in files if not find_file(folder, file).is_file()]
    if not missing:
        return ""
    seen = " or in ".join(map(_contents, dict.fromkeys((folder, data_dir))))
    return f"{', '.join(missing)} not found in {seen}; put there {source.archive}"


def _contents(folder: Path, shown: int = 6) -> str:
    """A folder and some of what is in it, in words."""
    if not folder.is_dir():
        return f"{folder}, which is not a folder"
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()
    )
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{folder}, which has {', '.join(names[:shown]) or 'nothing in it'}{more}"


def missing_fashion(data_dir: Path) -> str:
    """As :func:`missing_files` of Fashion-MNIST, which Debian has a package of."""
    reason = missing_files("fashion_mnist", data_dir)
    return reason and f"apt-get install dataset-fashion-mnist; or: {reason}"


def check_told_apart(names: Iterable[str], data_dir: Path) -> None:
    """Raises ValueError if two of these data sets would be read from one folder."""
    read: dict[Path, str] = {}
    for name in names:
        folder = find_folder(name, data_dir)
        other = read.setdefault(folder, name)
        if other != name:
            raise ValueError(
                f"--data-dir: the files in {folder} may be {SOURCES[other].title} or "
                f"{SOURCES[name].title}: name one by --tasks, or call their folder "
                f"{SOURCES[other].folder} or {SOURCES[name].folder}"
            )


def fashion_folder(text: str) -> Path:
    """A folder that has Fashion-MNIST, as an argument."""
    if reason := missing_fashion(Path(text)):
        raise argparse.ArgumentTypeError(reason)
    return Path(text)


def add_data_dir(parser: argparse.ArgumentParser, needed: bool = True) -> None:
    """Adds --data-dir of Fashion-MNIST, looked into if a script cannot do without."""
    parser.add_argument(
        "--data-dir",
        type=fashion_folder if needed else Path,
        # As text, so that it is looked into like any other.
        default=str(INSTALLED),
        metavar="DIR",
        help="folder with Fashion-MNIST's files, or with fashion_mnist/",
    )
