"""Folders and lists of image files become a Dataset that names what it skips."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from featx.datasets import ImageFiles, SkippedFile, find_images, image_paths
from featx.errors import FeatxError
from featx.images import UnreadableImage


def make(folder: Path, *names: str) -> Path:
    """Write a small image at each name; its grey value is its number in the list."""
    for value, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), value).save(path, "PNG")
    return folder


def relative(files: ImageFiles, folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files.paths]


def skipped(files: ImageFiles, folder: Path) -> dict[str, str]:
    return {Path(item.path).relative_to(folder).as_posix(): item.reason for item in files.skipped}


# --- one sub-folder for each class, or flat -------------------------------------------------------


def test_each_sub_folder_is_a_class_with_all_that_lies_below_it(tmp_path):
    make(tmp_path, "dog/b.png", "cat/deep/er/2.png", "cat/1.png", "dog/a.png")
    files = find_images(tmp_path)
    assert relative(files, tmp_path) == ["cat/1.png", "cat/deep/er/2.png", "dog/a.png", "dog/b.png"]
    assert files.class_names == ("cat", "dog")
    assert files.labels is not None
    assert files.labels.tolist() == [0, 0, 1, 1]
    assert files.labels.dtype == np.int64
    assert files.skipped == ()
    assert repr(files) == "ImageFiles(4 images, 2 classes)"


def test_a_flat_folder_has_no_labels(tmp_path):
    files = find_images(str(make(tmp_path, "b.png", "a.png")))
    assert relative(files, tmp_path) == ["a.png", "b.png"]
    assert files.labels is None
    assert files.class_names == ()
    assert files[0].tolist() == torch.ones(3, 4, 4).tolist()
    assert repr(files) == "ImageFiles(2 images)"


def test_items_are_images_with_labels_and_a_data_loader_takes_them(tmp_path):
    files = find_images(make(tmp_path, "cat/1.png", "dog/1.png"))
    image, label = files[-1]
    assert (image.shape, image.dtype, label, type(label)) == ((3, 4, 4), torch.uint8, 1, int)
    images, labels = next(iter(DataLoader(files, batch_size=2)))
    assert images[:, 0, 0, 0].tolist() == [0, 1]
    assert labels.tolist() == [0, 1]
    with pytest.raises(IndexError):
        files[2]


def test_the_order_is_by_code_point_folder_by_folder_whatever_the_disk_says(tmp_path, monkeypatch):
    names = ["a/10.png", "a/9.png", "a/B.png", "a/b.png", "a-b/1.png", "Z/1.png", "é/1.png"]
    make(tmp_path, *names)
    expected = ["Z/1.png", "a/10.png", "a/9.png", "a/B.png", "a/b.png", "a-b/1.png", "é/1.png"]
    assert relative(find_images(tmp_path), tmp_path) == expected

    forwards = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(forwards(self), reverse=True))
    files = find_images(tmp_path)
    assert relative(files, tmp_path) == expected
    assert files.class_names == ("Z", "a", "a-b", "é")


@given(
    st.sets(
        st.lists(
            st.sampled_from(["a", "b", "a-b", "Z", "é", "1", "10"]), min_size=2, max_size=4
        ).map(lambda parts: "/".join([*parts[:-1], parts[-1] + ".png"])),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=30)
def test_every_image_is_found_once_with_the_label_of_its_folder(names):
    with tempfile.TemporaryDirectory() as folder:
        top = make(Path(folder), *names)
        files = find_images(top)
        found = relative(files, top)
        assert set(found) == names
        assert found == sorted(found, key=lambda name: name.split("/"))
        assert files.labels is not None
        classes = [files.class_names[label] for label in files.labels]
        assert classes == [name.split("/")[0] for name in found]
        assert set(classes) == set(files.class_names)


def test_images_at_the_top_and_in_sub_folders_are_an_error_that_says_the_way_out(tmp_path):
    make(tmp_path, "stray.png", "cat/1.png", "dog/1.png", "dog/2.png")
    with pytest.raises(FeatxError) as caught:
        find_images(tmp_path)
    message = str(caught.value)
    assert "1 at the top (stray.png)" in message
    assert "3 in sub-folders (cat/1.png, dog/1.png, …)" in message
    assert "Move" in message


# --- what is passed over --------------------------------------------------------------------------


def test_other_files_are_named_with_the_reason(tmp_path):
    make(tmp_path, "cat/1.png")
    (tmp_path / "cat/notes.txt").write_text("meow")
    (tmp_path / "labels.csv").write_text("1,cat")
    (tmp_path / "cat/phone.heic").write_bytes(b"heic")
    (tmp_path / "empty").write_bytes(b"")
    assert skipped(find_images(tmp_path), tmp_path) == {
        "cat/notes.txt": "not an image",
        "cat/phone.heic": "a kind of image that is not read (.heic)",
        "empty": "not an image",
        "labels.csv": "not an image",
    }


def test_where_the_extension_says_nothing_the_header_decides(tmp_path):
    make(tmp_path, "cat/noname", "cat/photo.jpg_large", "cat/UPPER.PNG")
    assert relative(find_images(tmp_path), tmp_path) == [
        "cat/UPPER.PNG",
        "cat/noname",
        "cat/photo.jpg_large",
    ]


def test_an_image_too_large_to_decode_is_still_an_image(tmp_path, monkeypatch):
    make(tmp_path, "cat/noname")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    files = find_images(tmp_path)
    with pytest.raises(UnreadableImage, match="too large: 4 x 4 pixels"):
        files[0]


def test_a_broken_file_is_found_and_raises_when_it_is_decoded(tmp_path):
    make(tmp_path, "cat/1.png")
    (tmp_path / "cat/2.JPG").write_bytes(b"")
    files = find_images(tmp_path)
    assert len(files) == 2
    with pytest.raises(UnreadableImage, match=r"2\.JPG: zero bytes"):
        files[1]


def test_hidden_files_and_leftovers_of_systems_are_passed_over_in_silence(tmp_path):
    make(
        tmp_path,
        "cat/1.png",
        ".hidden.png",
        "cat/._1.png",
        ".ipynb_checkpoints/1.png",
        "__MACOSX/cat/1.png",
        "cat/Thumbs.db",
        "desktop.ini",
        "cat/.DS_Store",
    )
    files = find_images(tmp_path)
    assert relative(files, tmp_path) == ["cat/1.png"]
    assert files.skipped == ()


def test_a_class_folder_without_images_is_named_and_is_no_class(tmp_path):
    make(tmp_path, "dog/1.png")
    (tmp_path / "ant").mkdir()
    (tmp_path / "cat/deep").mkdir(parents=True)
    (tmp_path / "cat/deep/a.txt").write_text("meow")
    files = find_images(tmp_path)
    assert files.class_names == ("dog",)
    assert files.labels is not None
    assert files.labels.tolist() == [0]
    assert skipped(files, tmp_path) == {
        "ant": "a folder without images",
        "cat": "a folder without images",
        "cat/deep/a.txt": "not an image",
    }


def test_links_to_files_and_folders_are_followed(tmp_path):
    elsewhere = make(tmp_path / "elsewhere", "1.png", "2.png")
    folder = make(tmp_path / "data", "cat/0.png")
    (folder / "dog").symlink_to(elsewhere, target_is_directory=True)
    (folder / "cat/9.png").symlink_to(elsewhere / "1.png")
    found = ["cat/0.png", "cat/9.png", "dog/1.png", "dog/2.png"]
    assert relative(find_images(folder), folder) == found


def test_a_circle_of_folders_ends_and_is_named(tmp_path):
    make(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "cat/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog/self").symlink_to(tmp_path / "dog", target_is_directory=True)
    files = find_images(tmp_path)
    assert relative(files, tmp_path) == ["cat/1.png", "dog/1.png"]
    circle = "a link that leads back to a folder above it"
    assert skipped(files, tmp_path) == {"cat/up": circle, "dog/self": circle}


def test_two_links_to_one_folder_are_no_circle(tmp_path):
    shared = make(tmp_path / "shared", "1.png")
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("cat", "dog"):
        (folder / name).symlink_to(shared, target_is_directory=True)
    files = find_images(folder)
    assert files.class_names == ("cat", "dog")
    assert files.skipped == ()


def test_folders_nested_deeper_than_calls_can_be(tmp_path):
    folder = tmp_path
    for _ in range(sys.getrecursionlimit()):
        folder = folder / "d"
        folder.mkdir()
    image = make(tmp_path, "1.png") / "1.png"
    image = image.rename(folder / "1.png")
    try:
        assert find_images(tmp_path).paths == (image,)
    finally:  # pytest's own way to remove it calls itself for each level
        image.unlink()
        while folder != tmp_path:
            folder.rmdir()
            folder = folder.parent


def test_broken_links_sockets_and_pipes_are_named_and_nothing_hangs(tmp_path, monkeypatch):
    make(tmp_path, "cat/1.png")
    (tmp_path / "cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "cat/pipe.png")
    os.mkfifo(tmp_path / "cat/pipe")
    monkeypatch.chdir(tmp_path / "cat")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        files = find_images(tmp_path)
    assert skipped(files, tmp_path) == {
        "cat/gone.png": "a broken link",
        "cat/pipe": "neither a file nor a folder",
        "cat/pipe.png": "neither a file nor a folder",
        "cat/socket.png": "neither a file nor a folder",
    }


def test_files_and_folders_that_must_not_be_read_are_named(tmp_path, monkeypatch):
    # Root may read everything, so the system's answers are set here.
    make(tmp_path, "cat/1.png", "cat/secret.png", "locked/1.png")
    may, look = os.access, Path.iterdir

    def refuse(self: Path):
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return look(self)

    monkeypatch.setattr(
        os, "access", lambda path, how: "secret" not in str(path) and may(path, how)
    )
    monkeypatch.setattr(Path, "iterdir", refuse)
    files = find_images(tmp_path)
    assert relative(files, tmp_path) == ["cat/1.png"]
    assert skipped(files, tmp_path) == {
        "cat/secret.png": "no permission",
        "locked": "no permission",
    }


def test_names_of_every_kind_are_found_and_can_be_printed(tmp_path):
    names = ["猫/1.png", "🐈/2 \n3.png", "cat/a'b\"c.png"]
    make(tmp_path, *names)
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (odd / os.fsdecode(b"\xff.png")).write_bytes((tmp_path / names[0]).read_bytes())
    (odd / os.fsdecode(b"\xfe.txt")).write_text("text")
    files = find_images(tmp_path)
    assert len(files) == 4
    assert files.class_names == ("caf\\udce9", "cat", "猫", "🐈")
    for name in (*files.class_names, *(item.path for item in files.skipped)):
        assert name.isprintable()
        name.encode("utf-8")
    assert [Path(item.path).name for item in files.skipped] == ["\\udcfe.txt"]
    assert all(files[row][0].shape == (3, 4, 4) for row in range(4))


# --- no folder of images at all -------------------------------------------------------------------


def test_what_is_no_folder_of_images_is_an_error_that_says_what_was_found(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("a.txt", "b.txt", "c.txt", "d.txt"):
        (texts / name).write_text("text")
    file = make(tmp_path, "one.png") / "one.png"
    for folder, found in {
        empty: "got an empty folder",
        texts: "4 files and folders, none of them an image to read: a.txt (not an image), b.txt",
        file: "a file",
        tmp_path / "missing": "nothing there",
        "nul\0": "embedded null byte",
    }.items():
        with pytest.raises(FeatxError) as caught:
            find_images(folder)
        assert found in str(caught.value)
    with pytest.raises(FeatxError, match="Expected the path of a folder of images, got list"):
        find_images([file])  # pyright: ignore[reportArgumentType]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make(tmp_path, "pets/one.png")
    here = tmp_path / "pets" / "one.png"
    assert find_images("~/pets").paths == find_images(Path("~/pets")).paths == (here,)
    assert image_paths(["~/pets/one.png"]).paths == (here,)
    with pytest.raises(FeatxError, match="got ~nosuchuser/pets: nothing there"):
        find_images("~nosuchuser/pets")
    monkeypatch.chdir(make(tmp_path / "more", "~one.png"))
    assert image_paths(["~one.png"]).paths == (Path("~one.png"),), "a name may begin with one"


def test_a_folder_that_cannot_be_listed_is_an_error_not_an_empty_folder(tmp_path, monkeypatch):
    def refuse(self: Path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(FeatxError, match="no permission"):
        find_images(tmp_path)


# --- a list of paths ------------------------------------------------------------------------------


def test_a_list_keeps_its_order_and_its_duplicates(tmp_path):
    make(tmp_path, "b.png", "a.png")
    paths = [tmp_path / "b.png", str(tmp_path / "a.png"), tmp_path / "b.png"]
    files = image_paths(iter(paths))
    assert relative(files, tmp_path) == ["b.png", "a.png", "b.png"]
    assert files.labels is None


@pytest.mark.parametrize(
    "labels", [[7, -2, 7], np.array([7, -2, 7], np.int32), torch.tensor([7, -2, 7])]
)
def test_whole_numbers_stay_the_labels_they_are(tmp_path, labels):
    make(tmp_path, "a.png", "b.png", "c.png")
    files = image_paths(sorted(tmp_path.iterdir()), labels)
    assert files.labels is not None
    assert files.labels.tolist() == [7, -2, 7]
    assert files.labels.dtype == np.int64
    assert files.class_names == ()


@pytest.mark.parametrize("kind", [list, np.array, lambda values: np.array(values, dtype=object)])
def test_strings_become_sorted_class_names(tmp_path, kind):
    make(tmp_path, "a.png", "b.png", "c.png")
    files = image_paths(sorted(tmp_path.iterdir()), kind(["dog", "cat", "dog"]))
    assert files.labels is not None
    assert files.labels.tolist() == [1, 0, 1]
    assert files.class_names == ("cat", "dog")


def test_paths_where_nothing_can_be_read_are_named_and_take_their_labels_along(tmp_path):
    make(tmp_path, "a.png", "b.png")
    os.mkfifo(tmp_path / "pipe.png")
    names = ["a.png", "gone.png", ".", "pipe.png", "b.png"]
    paths = [tmp_path / name for name in names]
    files = image_paths(paths, [0, 1, 2, 3, 4])
    assert relative(files, tmp_path) == ["a.png", "b.png"]
    assert files.labels is not None
    assert files.labels.tolist() == [0, 4]
    assert files.skipped == (
        SkippedFile(str(tmp_path / "gone.png"), "no such file"),
        SkippedFile(str(tmp_path), "a folder"),
        SkippedFile(str(tmp_path / "pipe.png"), "neither a file nor a folder"),
    )
    assert image_paths(paths, ["ant", "bee", "bee", "bee", "cat"]).class_names == ("ant", "cat")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("photo.png", r"got str. Write \[path\]"),
        (Path("photo.png"), "got PosixPath"),
        (7, "got int"),
        (["a.png", 7], "got int at position 1"),
        ([b"a.png"], "got bytes at position 0"),
        ([], "got an empty list"),
        (["gone.png"], r"1 paths, none of them an image to read: gone.png \(no such file\)"),
    ],
)
def test_what_is_no_list_of_paths_is_an_error(paths, message):
    with pytest.raises(FeatxError, match=message):
        image_paths(paths)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1], "got 2 paths and 1 labels"),
        ([0.5, 1.5], "got float of shape"),
        (["cat", 1], "got int, str"),
        ([[0], [1]], "got list of shape"),
        ([None, 1], "got NoneType, int"),
        (7, "got int"),
        ("ab", "got str"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(tmp_path, labels, message):
    make(tmp_path, "a.png", "b.png")
    with pytest.raises(FeatxError, match=message):
        image_paths(sorted(tmp_path.iterdir()), labels)


def test_a_dataset_with_another_number_of_labels_cannot_be_made():
    with pytest.raises(FeatxError, match="got 1 files and 2 labels"):
        ImageFiles((Path("a.png"),), np.array([0, 1]))
