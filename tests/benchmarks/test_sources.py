"""Where image files are found, and what is said where they are not."""

import argparse
import pathlib

import numpy as np
import pytest
from suite.images import load_images
from suite.sources import (
    IDX_FILES,
    INSTALLED,
    SOURCES,
    add_data_dir,
    check_told_apart,
    fashion_folder,
    find_folder,
    missing_fashion,
    missing_files,
)

from tests.benchmarks.test_images import cifar_bytes, pixels, write_cifar10, write_idx

NAMES = [*IDX_FILES["train"], *IDX_FILES["test"]]


def write(name, folder):
    if name == "cifar10":
        write_cifar10(folder, rows=2)
    elif name == "cifar100":
        folder.mkdir()
        for file in ("train.bin", "test.bin"):
            (folder / file).write_bytes(
                cifar_bytes(pixels(2, 32, 32, 3), [1, 2], [3, 4])
            )
    else:
        write_idx(folder, zipped=name == "mnist")


@pytest.mark.parametrize("name", SOURCES)
def test_a_folder_is_the_parent_or_has_the_files_itself(name, tmp_path):
    own = tmp_path / "parent" / SOURCES[name].folder
    own.parent.mkdir()
    write(name, own)
    direct = tmp_path / "anything"
    write(name, direct)
    (whole, _), _ = load_images(name, tmp_path / "parent")
    for data_dir in (own, direct):
        assert missing_files(name, data_dir) == ""
        assert find_folder(name, data_dir) == data_dir
        (x, _), _ = load_images(name, data_dir)
        np.testing.assert_array_equal(x, whole)


def test_files_that_go_by_another_data_set_s_name_are_left_to_it(tmp_path):
    for folder, own, other in (
        ("mnist", "mnist", "fashion_mnist"),
        ("fashion_mnist", "fashion_mnist", "mnist"),
        ("fashion-mnist", "fashion_mnist", "mnist"),
    ):
        write_idx(tmp_path / folder, (1, 1))
        assert missing_files(own, tmp_path / folder) == ""
        assert missing_files(other, tmp_path / folder)
        with pytest.raises(FileNotFoundError, match="train-images"):
            load_images(other, tmp_path / folder)


def test_one_folder_does_not_pass_for_two_data_sets(tmp_path):
    write_idx(tmp_path / "files", (1, 1))
    check_told_apart(["mnist", "mnist"], tmp_path / "files")
    with pytest.raises(ValueError, match="may be MNIST or Fashion-MNIST: name one by"):
        check_told_apart(["mnist", "fashion_mnist"], tmp_path / "files")
    write_idx(tmp_path / "mnist", (1, 1))
    write_idx(tmp_path / "fashion-mnist", (1, 1))
    check_told_apart(["mnist", "fashion_mnist"], tmp_path)


def test_what_is_missing_is_listed_with_what_is_there(tmp_path):
    data_dir = tmp_path / "data"
    assert missing_files("mnist", data_dir).startswith(
        f"{', '.join(NAMES)} not found in {data_dir}/mnist, which is not a folder or "
        f"in {data_dir}, which is not a folder; put there the four"
    )
    data_dir.mkdir()
    assert f"{data_dir}, which has nothing in it; put" in missing_files(
        "mnist", data_dir
    )
    for i in range(8):
        (data_dir / f"{i}.txt").touch()
    (data_dir / "0").mkdir()
    assert (
        f"{data_dir}, which has 0.txt, 0/, 1.txt, 2.txt, 3.txt, 4.txt and 3 more"
        in (missing_files("mnist", data_dir))
    )
    # Nearest is the folder with most of the files.
    (data_dir / f"{NAMES[0]}.gz").touch()
    assert missing_files("mnist", data_dir).startswith(
        f"{', '.join(NAMES[1:])} not found in {data_dir}, which has "
    )
    assert "--data-dir" in missing_files("mnist", None)


def test_fashion_mnist_as_an_argument(tmp_path, monkeypatch, capsys):
    write_idx(tmp_path / "fashion-mnist", (1, 1))
    assert fashion_folder(str(tmp_path)) == tmp_path
    with pytest.raises(argparse.ArgumentTypeError, match=r"apt-get install .*; or: "):
        fashion_folder(str(tmp_path / "x"))
    assert missing_fashion(tmp_path) == ""
    monkeypatch.setattr("suite.sources.INSTALLED", tmp_path)
    parser = argparse.ArgumentParser()
    add_data_dir(parser)
    assert parser.parse_args([]).data_dir == tmp_path
    (tmp_path / "fashion-mnist" / NAMES[0]).unlink()
    # The default is looked into as well.
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([])
    assert f"--data-dir: apt-get install dataset-fashion-mnist; or: {NAMES[0]}" in (
        capsys.readouterr().err
    )
    parser = argparse.ArgumentParser()
    add_data_dir(parser, needed=False)
    assert parser.parse_args([]).data_dir == tmp_path
    assert pathlib.Path("/usr/share/datasets") == INSTALLED
