from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
from itertools import product
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin.errors import ImageReadError, UsageError
from fiftyone_plugin.images.listing import ImageItem, list_images
from fiftyone_plugin.images.naming import mask_names, relative_keys
from fiftyone_plugin.images.reading import image_extensions, read_image


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def keys(spec) -> list[str]:
    return [item.key for item in list_images(spec)]


def test_folder(tmp_path):
    touch(tmp_path, "b/2.JPG", "b/1.png", "a.webp", "c/d/e.tiff", "b.jpeg")
    touch(tmp_path, "notes.txt", "labels.json", "b/movie.mp4", ".hidden.jpg", ".git/x.png", "c/.thumbs/t.jpg")
    items = list_images(tmp_path)
    assert [item.key for item in items] == ["a.webp", "b.jpeg", "b/1.png", "b/2.JPG", "c/d/e.tiff"]
    assert items[3] == ImageItem("b/2.JPG", str(tmp_path / "b" / "2.JPG"), "b/2.png")
    assert list_images(str(tmp_path) + os.sep) == items


def test_hidden_folder_may_be_named_itself(tmp_path):
    touch(tmp_path / ".cache", "a.jpg")
    assert keys(tmp_path / ".cache") == ["a.jpg"]


def test_relative_spec_gives_absolute_paths(tmp_path, monkeypatch):
    touch(tmp_path, "in/x/a.jpg", "in/b.jpg")
    monkeypatch.chdir(tmp_path / "in" / "x")
    assert list_images("..") == list_images(tmp_path / "in")
    assert list_images("a.jpg") == [ImageItem("a.jpg", str(tmp_path / "in/x/a.jpg"), "a.png")]
    assert keys(["a.jpg", "../b.jpg"]) == ["b.jpg", "x/a.jpg"]


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{a}/{b}.jpg" for a, b in product("zab", "31x")))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    expected = list_images(tmp_path)
    real = os.scandir

    class Shuffled:
        def __init__(self, path):
            with real(path) as listing:
                self.entries = list(listing)
            random.Random(str(path)).shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    assert list_images(tmp_path) == expected
    assert len(expected) == 9


def test_globs(tmp_path):
    touch(tmp_path, "1.jpg", "a/2.jpg", "a/b/3.jpg", "a/b/4.png", "c/b/5.jpg", "a/b/list.txt", "a/.h/6.jpg")
    for pattern, expected in {
        "*.jpg": ["1.jpg"],
        "a/*": ["2.jpg"],
        "a/*.[jp][pn]g": ["2.jpg"],
        "**/*.jpg": ["1.jpg", "a/2.jpg", "a/b/3.jpg", "c/b/5.jpg"],
        "**": ["1.jpg", "a/2.jpg", "a/b/3.jpg", "a/b/4.png", "c/b/5.jpg"],
        "**/b/*": ["a/b/3.jpg", "a/b/4.png", "c/b/5.jpg"],
        "?/b/**": ["a/b/3.jpg", "a/b/4.png", "c/b/5.jpg"],
        "**/b/**/*.jpg": ["a/b/3.jpg", "c/b/5.jpg"],
        "a/**/?.png": ["4.png"],
        "*/.h/*.jpg": ["6.jpg"],
    }.items():
        items = list_images(str(tmp_path / pattern))
        assert [item.key for item in items] == expected, pattern
        assert all(os.path.isfile(item.path) for item in items)


def test_glob_agrees_with_the_standard_library(tmp_path, monkeypatch):
    import glob

    touch(tmp_path, *(f"{a}/{b}/{c}.jpg" for a, b, c in product("ab", "abx", "a1")), "a/a.jpg", "a.jpg")
    monkeypatch.chdir(tmp_path)
    for pattern in ("**/a*", "**/a/**", "*/**/1.jpg", "a/**/*", "**/?/**/a.jpg", "**/**/1*", "[ab]/**/x/*"):
        expected = {os.path.abspath(p) for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)}
        assert {item.path for item in list_images(pattern)} == expected, pattern


def test_existing_path_wins_over_glob_characters(tmp_path):
    touch(tmp_path, "set[1]/a.jpg", "set1/b.jpg", "set[1]/c*.jpg")
    assert keys(tmp_path / "set[1]") == ["a.jpg", "c*.jpg"]
    assert keys(tmp_path / "set[1]" / "c*.jpg") == ["c*.jpg"]


def test_text_file(tmp_path):
    touch(tmp_path, "x/a.jpg", "x/b.dat", "y/c.png")
    listing = tmp_path / "x" / "list.TXT"
    lines = [
        "# two sets",
        "",
        "  a.jpg  ",
        "b.dat",
        "./a.jpg",
        "../y/c.png",
        str(tmp_path / "x" / "a.jpg"),
        "missing.jpg",
    ]
    listing.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert keys(listing) == ["x/a.jpg", "x/b.dat", "x/missing.jpg", "y/c.png"]
    with pytest.raises(ImageReadError, match="no such file"):
        read_image(list_images(listing)[2].path)


def test_text_file_with_umlauts(tmp_path):
    touch(tmp_path, "Straße/Köln.jpg", "日本/東京.png")
    listing = tmp_path / "list.txt"
    listing.write_text("Straße/Köln.jpg\n日本/東京.png", encoding="utf-8")
    assert keys(listing) == ["Straße/Köln.jpg", "日本/東京.png"]


def test_single_file_and_sequence(tmp_path):
    touch(tmp_path, "a/1", "a/2.jpg", "b/3.jpg")
    assert list_images(tmp_path / "a" / "1") == [ImageItem("1", str(tmp_path / "a" / "1"), "1.png")]
    spec = (tmp_path / "b/3.jpg", str(tmp_path / "a/2.jpg"), tmp_path / "b" / ".." / "a" / "2.jpg")
    assert keys(spec) == ["a/2.jpg", "b/3.jpg"]
    assert keys([tmp_path / "gone.jpg"]) == ["gone.jpg"]


def test_links(tmp_path):
    touch(tmp_path, "in/b/1.jpg", "in/c/2.jpg", "elsewhere/3.jpg")
    root = tmp_path / "in"
    (root / "a").symlink_to(root / "c")  # sorts before the folder that it points to
    (root / "b" / "up").symlink_to(root)
    (root / "c" / "cross").symlink_to(root / "b")
    (root / "b" / "cross").symlink_to(root / "c")
    (root / "self").symlink_to(root / "self")
    (root / "self.jpg").symlink_to(root / "self.jpg")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "broken.jpg").symlink_to(root / "nothing")
    expected = ["b/1.jpg", "broken.jpg", "c/2.jpg", "out/3.jpg", "self.jpg"]
    assert keys(root) == expected
    assert keys(str(root / "**")) == expected


def test_many_crossing_links_do_not_explode(tmp_path):
    folders = [tmp_path / f"{i:02}" for i in range(12)]
    for folder in folders:
        touch(folder, "a.jpg")
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    assert len(list_images(tmp_path)) == 12
    assert len(list_images(str(tmp_path / "**/*.jpg"))) == 12


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("missing", "no such file or folder"),
        ("missing/*.jpg", "no images in"),
        ("*.json", "no images in"),
        ("empty", "no images in .*check the path"),
        ("empty.txt", "no images in"),
        ("binary.txt", "binary.txt is not a list of images.*not UTF-8"),
        ("utf16.txt", "utf16.txt is not a list of images.*not UTF-8"),
        ("", "no such file or folder: ''"),
        ("nul\0byte", "no such file or folder"),
    ],
)
def test_errors(tmp_path, monkeypatch, spec, message):
    touch(tmp_path, "labels.json", "empty.txt", "empty/notes.md")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "utf16.txt").write_bytes("a.jpg\nb.jpg\n".encode("utf-16-le"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        list_images(spec)


def test_more_errors(tmp_path):
    with pytest.raises(UsageError, match="no images in the sequence"):
        list_images([])
    with pytest.raises(UsageError, match=r"fiftyone:quickstart names a FiftyOne dataset"):
        list_images("fiftyone:quickstart")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_unreadable_folders():
    code = (
        "import os, sys\nfrom fiftyone_plugin.errors import UsageError\n"
        "from fiftyone_plugin.images.reading import image_extensions\n"
        "from fiftyone_plugin.images.listing import list_images\n"
        "image_extensions()  # loads Pillow's plugins, which another user may not be allowed to read\n"
        "os.chdir(sys.argv[1])\nif os.geteuid() == 0: os.setuid(65534)\n"
        "print([item.key for item in list_images('in')])\n"
        "for spec in ('in/locked', 'list.txt'):\n"
        "    try: list_images(spec)\n"
        "    except UsageError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        root = touch(Path(folder), "in/a.jpg", "in/locked/b.jpg", "list.txt")
        for path, mode in (("", 0o755), ("in/locked", 0), ("list.txt", 0)):
            (root / path).chmod(mode)
        run = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60)
        (root / "in" / "locked").chmod(0o755)
    listed, locked, text = run.stdout.splitlines()
    assert listed == "['a.jpg']"
    assert locked.startswith("cannot list the folder")
    assert text == "cannot read list.txt, a list of images, one path a line: Permission denied"
    assert "skipping the folder" in run.stderr


def test_mask_names():
    assert mask_names(["a.jpg", "b/c.tar.gif", "d"]) == ["a.png", "b/c.tar.png", "d.png"]
    assert mask_names(["a.jpg", "a.png", "b.jpg"]) == ["a.jpg.png", "a.png.png", "b.png"]
    assert mask_names(["A.jpg", "a.png"]) == ["A.jpg.png", "a.png.png"]
    assert mask_names(["x/a.jpg", "y/a.png"]) == ["x/a.png", "y/a.png"]
    # the fallback of the first two is what the third would have been called
    assert mask_names(["a.jpg", "a.png", "a.jpg.gif"]) == ["a.jpg.png", "a.png.png", "a.jpg.gif.png"]
    # a folder may be called like a mask
    assert mask_names(["a.jpg", "a.png/b.jpg"]) == ["a.jpg.png", "a.png/b.png"]


def portable(name: str) -> str:
    """What a case-insensitive, normalising file system makes of a name."""
    return unicodedata.normalize("NFC", "".join(unicodedata.normalize("NFD", name).casefold()))


names = st.text(alphabet="aAbéE.", min_size=1, max_size=4).map(lambda s: s.strip(".") or "x")
extensions = st.sampled_from(["", ".jpg", ".JPG", ".png", ".jpg.png", ".png.png", ".gif"])
random_keys = st.lists(
    st.builds(
        lambda parts, ext: "/".join(parts) + ext,
        st.lists(names | st.just("a.png"), min_size=1, max_size=3),
        extensions,
    ),
    unique=True,
    min_size=1,
    max_size=25,
)


@given(random_keys)
def test_mask_names_never_collide(keys):
    masks = mask_names(keys)
    plain = [portable(mask) for mask in masks]
    assert len(set(plain)) == len(keys)
    folders = {str(parent) for mask in plain for parent in PurePosixPath(mask).parents}
    assert not folders & set(plain)
    assert all(mask.endswith(".png") for mask in masks)
    for key, mask in zip(keys, masks, strict=True):
        assert PurePosixPath(mask).parent == PurePosixPath(key).parent
    assert dict(zip(keys, masks, strict=True)) == dict(
        zip(reversed(keys), mask_names(keys[::-1]), strict=True)
    )


components = st.text(alphabet="ab.", min_size=1, max_size=3).filter(lambda s: s not in (".", ".."))


@given(st.lists(st.lists(components, min_size=1, max_size=4), min_size=1, max_size=8, unique_by=tuple))
def test_keys_are_relative_and_unique(paths):
    for flavour, roots in (
        (PurePosixPath, ("/",)),
        (PureWindowsPath, ("C:\\", "d:\\", "\\\\server\\share\\")),
    ):
        absolute = [flavour(roots[i % len(roots)], *parts) for i, parts in enumerate(paths)]
        keys = relative_keys(absolute)
        assert len(set(keys)) == len(set(absolute))
        for key, path in zip(keys, absolute, strict=True):
            assert not key.startswith("/")
            assert not key.endswith("/")
            assert not {"", ".."} & set(key.split("/"))
            assert not set(key) & set("\\:")
            assert key.split("/")[-1] == path.name


def test_windows_keys():
    one_drive = [PureWindowsPath("C:\\Data\\in\\a.jpg"), PureWindowsPath("c:\\data\\b\\c.jpg")]
    assert relative_keys(one_drive) == ["in/a.jpg", "b/c.jpg"]
    two = [PureWindowsPath("C:\\in\\a.jpg"), PureWindowsPath("\\\\nas\\pictures\\b.jpg")]
    assert relative_keys(two) == ["C/in/a.jpg", "nas/pictures/b.jpg"]
    assert relative_keys([PurePosixPath("/a/b.jpg"), PurePosixPath("/c.jpg")]) == ["a/b.jpg", "c.jpg"]


# --- what is left out -----------------------------------------------------------------------------


def add_run(folder: Path, **changes) -> None:
    """What tells the folder of a run from others, and some of its pictures."""
    touch(folder, "masks/a.png", "masks/sub/b.png", "exemplars/class_0001.jpg", "contact_sheet.png")
    document = {"format": 1, "status": "running", "settings": {"method": "mosaic"}, **changes}
    (folder / "run.json").write_text(json.dumps(document))


def add_export(folder: Path, **changes) -> None:
    touch(folder, "images/train/a.jpg", "labels/a.png")
    document = {"format": "yolo", "made_by": "fiftyone-pseudomask 0.1", "counts": {}, **changes}
    (folder / "export.json").write_text(json.dumps(document))


def test_results_of_earlier_work_are_not_photographs(tmp_path):
    touch(tmp_path, "a.jpg", "deep/er/b.jpg")
    add_run(tmp_path / "labels")
    add_run(tmp_path / "deep" / "er" / "labels", status="complete")
    add_export(tmp_path / "yolo")
    add_export(tmp_path / "imported", made_by="", imported_from="cvat")
    listed = list_images(tmp_path)
    assert [item.key for item in listed] == ["a.jpg", "deep/er/b.jpg"]
    assert listed.left_out.folders == ["imported", "labels", "yolo", "deep/er/labels"]
    for pattern in ("**/*.jpg", "*/**/*.png", "*/*/*.png", "*/*.png", "**"):
        spec = str(tmp_path / pattern)
        if pattern in ("**", "**/*.jpg"):
            assert keys(spec) == ["a.jpg", "deep/er/b.jpg"]
        else:
            with pytest.raises(UsageError, match=r"left out: .*results? of earlier runs"):
                list_images(spec)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", '{"distance": 5, "settings": {"method": 3}, "status": "done"}'),
        ("run.json", "[" * 100_000),
        ("run.json", '{"settings": {"method": "x"}}'),
        ("run.json", "not json"),
        ("export.json", '{"counts": {}, "made_by": "another program"}'),
        ("export.json", "[]"),
    ],
)
def test_records_of_others_hide_nothing(tmp_path, name, content):
    touch(tmp_path, "sub/masks/a.png")
    (tmp_path / "sub" / name).write_text(content)
    assert keys(tmp_path) == ["sub/masks/a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_place_of_a_record_does_not_block(tmp_path):
    touch(tmp_path, "sub/a.png")
    os.mkfifo(tmp_path / "sub" / "run.json")
    assert keys(tmp_path) == ["sub/a.png"]


def test_a_folder_of_results_that_is_named_itself(tmp_path):
    """Photographs may lie beside what a run wrote; who names the masks gets them."""
    add_run(tmp_path)
    touch(tmp_path, "images/a.jpg")
    assert keys(tmp_path) == ["images/a.jpg"]
    assert keys(tmp_path / "masks") == ["a.png", "sub/b.png"]
    assert keys(str(tmp_path / "masks" / "*.png")) == ["a.png"]
    add_export(tmp_path / "yolo")
    assert keys(tmp_path / "yolo") == ["images/train/a.jpg", "labels/a.png"]


def test_pictures_that_cannot_be_decoded_are_counted(tmp_path):
    touch(
        tmp_path, "a.jpg", "sub/IMG_1.HEIC", "IMG_2.heic", "c.CR2", "d.dng", "e.exr", "notes.txt", "film.mp4"
    )
    listed = list_images(tmp_path)
    assert [item.key for item in listed] == ["a.jpg"]
    counts = {name: n for name, n in listed.left_out.extensions.items() if name != ".heic"}
    assert counts == {".cr2": 1, ".dng": 1, ".exr": 1}
    if ".heic" not in image_extensions():
        assert listed.left_out.to_json()["extensions"][".heic"] == 2
        (line,) = listed.left_out.describe()
        assert "1 .cr2, 1 .dng, 1 .exr, 2 .heic" in line
    assert list_images(str(tmp_path / "*.jpg")).left_out.describe() == []
    assert list_images(str(tmp_path / "*")).left_out.extensions[".cr2"] == 1
    with pytest.raises(UsageError, match=r"no images in .*left out: 1 \.cr2 \(such as .*c\.CR2\)"):
        list_images(str(tmp_path / "*.CR2"))


def test_names_that_are_too_long_are_cut():
    long, umlauts = "n" * 246, "ä" * 125
    keys = [f"{long}.jpg", f"sub/{long}.webp", f"{long}nnnn.jpg", f"{umlauts}.jpg", "short.jpg"]
    keys += [f"{'n' * 251}.jpg", f"{'n' * 251}.png"]
    masks = mask_names(keys)
    assert masks[0] == f"{long}.png"
    assert masks[4] == "short.png"
    assert len(set(masks)) == len(masks)
    for mask in masks:
        assert mask.endswith(".png")
        assert all(len(part.encode()) <= 255 for part in mask.split("/"))
    assert masks[1].startswith("sub/nnn")
    twins = mask_names([f"{'n' * 248}.jpg", f"{'n' * 248}.png", f"{'N' * 248}.png"])
    assert len({portable(mask) for mask in twins}) == 3
    assert max(map(len, twins)) <= 255


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_list_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(UsageError, match="not a regular file"):
        list_images(tmp_path / "list.txt")


def test_names_that_no_image_can_have_are_items_of_their_own(tmp_path):
    (tmp_path / "list.txt").write_text(f"a.jpg\n{os.path.abspath(os.sep)}\n")
    items = [*list_images(tmp_path / "list.txt"), *list_images([os.path.abspath(os.sep)])]
    items += list_images([tmp_path / "a\0b.jpg"])
    assert all(item.key and item.mask_name.endswith(".png") and "\0" not in item.mask_name for item in items)
    assert [item.root for item in list_images([os.path.abspath(os.sep)])] == [""]
