from __future__ import annotations

import os
import random
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.common.matching import match_names, shared_depth, split_path


def found(names, paths, **options):
    return match_names(names, [(path, path) for path in paths], **options).found


def one(name, paths, **options):
    """The image that a name alone gets, or the reason why it gets none."""
    matches = match_names([name], [(path, path) for path in paths], **options)
    return matches.found.get(name) or matches.left[name]


# --- splitting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b.jpg", ("/", ("a", "b.jpg"))),
        ("a//b/./c.jpg", ("", ("a", "b", "c.jpg"))),
        ("a/b/../c.jpg", ("", ("a", "c.jpg"))),
        ("../../a.jpg", ("", ("a.jpg",))),
        ("/../a.jpg", ("/", ("a.jpg",))),
        (r"..\..\label-studio\media\a.jpg", ("", ("label-studio", "media", "a.jpg"))),
        (r"C:\Users\me\a.jpg", ("c:", ("Users", "me", "a.jpg"))),
        ("D:/pics/a.jpg", ("d:", ("pics", "a.jpg"))),
        (r"\\server\share\a.jpg", ("/", ("server", "share", "a.jpg"))),
        (r"\\?\C:\a.jpg", ("c:", ("a.jpg",))),
        (r"\\?\UNC\server\share\a.jpg", ("/", ("server", "share", "a.jpg"))),
        ("a:b.jpg", ("", ("a:b.jpg",))),
        ("Cafe\u0301.jpg", ("", ("Caf\u00e9.jpg",))),
        ("", ("", ())),
        ("..", ("", ())),
        ("/", ("/", ())),
    ],
)
def test_paths_of_every_system_are_split(path, expected):
    assert split_path(path) == expected


@given(st.text("ab/\\.:?CU", max_size=14))
def test_a_safe_name_never_leads_out(name):
    safe = "/".join(split_path(name)[1])
    joined = os.path.normpath(os.path.join("/photos", safe))
    assert joined == "/photos" or joined.startswith("/photos/")
    assert "/".join(split_path(safe)[1]) == safe or ":" in safe


# --- one name --------------------------------------------------------------------------------------

TWO = ["/d/train/a.jpg", "/d/val/a.jpg"]


@pytest.mark.parametrize(
    ("name", "paths", "expected"),
    [
        ("/d/val/a.jpg", TWO, TWO[1]),
        ("/d//x/../val/./a.jpg", TWO, TWO[1]),
        ("/elsewhere/val/a.jpg", TWO, TWO[1]),
        ("val/a.jpg", TWO, TWO[1]),
        ("val/a", TWO, TWO[1]),
        (r"C:\data\val\a.jpg", TWO, TWO[1]),
        (r"..\..\val\a.jpg", TWO, TWO[1]),
        ("VAL/A.JPG", TWO, TWO[1]),
        ("a.jpg", ["/d/a.jpg", "/d/a.png"], "/d/a.jpg"),
        ("a.png", ["/d/a.jpg", "/d/a.png"], "/d/a.png"),
        ("a.jpg", ["/d/a.jpg", "/d/A.jpg"], "/d/a.jpg"),
        ("/d/x.jpg", ["/c/d/x.jpg", "/d/x.jpg"], "/d/x.jpg"),
        (r"D:\x.jpg", [r"d:\x.jpg", r"e:\x.jpg"], r"d:\x.jpg"),
        ("scan.0001", ["/d/scan.0001.jpg", "/d/scan.0002.jpg"], "/d/scan.0001.jpg"),
        ("0a1b", ["/d/0a1b", "/d/0a1b.jpg"], "/d/0a1b"),
        ("0a1b.jpg", ["/d/0a1b", "/d/0a1b.png"], "/d/0a1b"),
    ],
)
def test_a_name_finds_its_image(name, paths, expected):
    assert one(name, paths) == expected


@pytest.mark.parametrize(
    ("name", "paths", "reason"),
    [
        ("a.jpg", TWO, "may be any of 2 images: /d/train/a.jpg, /d/val/a.jpg"),
        ("test/a.jpg", TWO, "may be any of 2 images: /d/train/a.jpg, /d/val/a.jpg"),
        ("a", ["/d/a.jpg", "/d/a.png"], "may be any of 2 images: /d/a.jpg, /d/a.png"),
        ("A.jpg", ["/d/a.jpg", "/e/a.JPG"], "may be any of 2 images: /d/a.jpg, /e/a.JPG"),
        ("a.jpg", ["/d/a.png"], "no image of this name"),
        ("aa.jpg", ["/d/a.jpg"], "no image of this name"),
        ("", TWO, "no image of this name"),
        ("..", TWO, "no image of this name"),
    ],
)
def test_a_name_that_is_none_or_several_images_is_never_a_guess(name, paths, reason):
    assert one(name, paths) == reason


def test_forms_of_unicode_are_one_name_and_two_where_both_exist():
    composed, decomposed = "/d/Caf\u00e9.jpg", "/d/Cafe\u0301.jpg"
    assert one("Cafe\u0301.jpg", [composed]) == composed
    assert one("Caf\u00e9.jpg", [decomposed]) == decomposed
    assert one(decomposed, [composed]) == composed
    both = [composed, decomposed]
    assert found(["Caf\u00e9.jpg", "Cafe\u0301.jpg"], both) == {
        "Caf\u00e9.jpg": composed,
        "Cafe\u0301.jpg": decomposed,
    }
    assert found(both, both) == {path: path for path in both}


def test_linked_folders_are_one_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "disk")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "disk" / name).touch()
    paths = [str(tmp_path / "disk" / "a.jpg"), str(tmp_path / "other" / "a.jpg")]
    linked = str(tmp_path / "set" / "a.jpg")
    assert one(linked, paths) == paths[0]
    assert one(linked, paths, resolve=None).startswith("may be any of 2")
    assert one(paths[0], [linked, paths[1]]) == linked


# --- all names at once -----------------------------------------------------------------------------


def test_the_name_with_more_in_common_has_the_image():
    matches = match_names(["train/a.jpg", "val/a.jpg"], [("/d/train/a.jpg", 1)])
    assert matches.found == {"train/a.jpg": 1}
    assert matches.left == {"val/a.jpg": "no image of this name: the nearest is that of train/a.jpg"}
    matches = match_names(["x/a.jpg", "y/a.jpg"], [("/d/a.jpg", 1)])
    assert matches.left == {
        "x/a.jpg": "means the same image as y/a.jpg",
        "y/a.jpg": "means the same image as x/a.jpg",
    }


def test_names_below_the_folder_of_all_images():
    paths = ["/d/a.jpg", "/d/b.jpg", "/d/sub/a.jpg"]
    assert found(["a", "b", "sub/a"], paths) == dict(zip(["a", "b", "sub/a"], paths, strict=True))
    assert found(["a.jpg", "sub/a.jpg"], paths) == {"a.jpg": paths[0], "sub/a.jpg": paths[2]}
    # by itself it may come from either folder
    assert found(["a.jpg"], paths) == {}
    assert found(["a.jpg", "sub/a.jpg", "c.jpg"], paths) == {"sub/a.jpg": paths[2]}
    # what lies in one folder need not come from it
    assert found(["0.jpg", "1.jpg"], ["/d/x/0.jpg", "/d/y/0.jpg", "/d/y/1.jpg"]) == {"1.jpg": "/d/y/1.jpg"}


def test_an_image_may_have_several_paths():
    entries = [("/d/a.jpg", 1), ("/d/a.jpg.jpg", 1), ("/d/a.png", 2), ("/d/a.png.png", 2)]
    names = ["a.jpg.jpg", "a.png.png"]
    assert match_names(names, entries).found == dict(zip(names, [1, 2], strict=True))
    assert match_names(["a.jpg", "a.png"], entries).found == {"a.jpg": 1, "a.png": 2}
    # two names of one image: nobody knows which
    assert match_names(["a.jpg", "a.jpg.jpg"], entries).found == {}


def test_whole_paths_have_to_agree_where_asked():
    assert found(["a", "sub/a"], ["a", "other/a"], whole=True) == {"a": "a"}
    assert found(["Sub/A"], ["sub/a"], whole=True) == {"Sub/A": "sub/a"}
    assert found(["a.b"], ["a"], whole=True) == {}


# --- against a slow and obvious loop ---------------------------------------------------------------


def common_tail(name, path):
    depth = 0
    while depth < min(len(name), len(path)) and name[-1 - depth] == path[-1 - depth]:
        depth += 1
    return depth


def slow(name, paths):
    """The images that share the longest tail with a name, as it is and then without case."""
    for fold in (str, str.casefold):
        mine = split_path(fold(name))[1]
        theirs = {path: split_path(fold(path))[1] for path in paths}
        bare = {path: (*parts[:-1], os.path.splitext(parts[-1])[0]) for path, parts in theirs.items()}
        ranks = {path: (common_tail(mine, theirs[path]), True) for path in paths}
        ranks = {path: max(ranks[path], (common_tail(mine, bare[path]), False)) for path in paths}
        stem, suffix = os.path.splitext(mine[-1])
        if not any(depth for depth, _ in ranks.values()) and suffix.lower() in (".jpg", ".png"):
            ranks = {path: (common_tail((*mine[:-1], stem), theirs[path]), True) for path in paths}
        best = max(ranks.values(), default=(0, True))
        if best[0]:
            return {path for path in paths if ranks[path] == best}
    return set()


parts = st.sampled_from(["a", "b", "A", "x.y", "\u00e9", "e\u0301"])
files = st.builds(lambda stem, suffix: stem + suffix, parts, st.sampled_from(["", ".jpg", ".png", ".JPG"]))
relative = st.builds(lambda folders, file: "/".join([*folders, file]), st.lists(parts, max_size=3), files)
paths = st.lists(
    relative.map("/d/".__add__), unique_by=lambda p: unicodedata.normalize("NFC", p), max_size=12
)


@given(relative, paths)
@settings(max_examples=500)
def test_a_relative_name_alone_is_what_the_slow_loop_says(name, paths):
    images = slow(name, paths)
    matches = match_names([name], [(path, path) for path in paths])
    if len(images) == 1:
        assert matches.found == {name: images.pop()}
    elif not images:
        assert matches.left == {name: "no image of this name"}
    elif matches.found:  # settled by the folder of all images
        assert matches.found[name] in images
    else:
        assert set(matches.left[name].split(": ")[1].split(", ")) <= images | {name} or len(images) > 5


@given(st.lists(st.one_of(relative, relative.map("/d/".__add__)), max_size=8), paths, st.randoms())
@settings(max_examples=300)
def test_all_names_together(names, paths, shuffle: random.Random):
    matches = match_names(names, [(path, path) for path in paths])
    assert matches.found.keys() | matches.left.keys() == set(names)
    assert not matches.found.keys() & matches.left.keys()
    assert len(set(matches.found.values())) == len(matches.found)
    for name in set(names) & set(paths):
        same = {n for n in names if split_path(n) == split_path(name)}
        if len(same) == 1:
            assert matches.found[name] == name
    for order in (names, paths):
        shuffle.shuffle(order)
    again = match_names(names, [(path, path) for path in paths])
    assert (again.found, again.left) == (matches.found, matches.left)


@given(paths.filter(bool))
def test_every_way_to_write_all_absolute_paths_is_found(paths):
    for write in (str, lambda p: p.replace("/", "//"), lambda p: p.replace("/d/", "/d/q/../")):
        names = [write(path) for path in paths]
        assert found(names, paths) == dict(zip(names, paths, strict=True))


def test_a_hundred_thousand_names_take_seconds():
    entries = [(f"/set/train/{i % 9}/{i:06d}.jpg", i) for i in range(100_000)]
    begin = time.process_time()
    matches = match_names([f"{i % 9}\\{i:06d}.jpg" for i in range(100_000)], entries)
    assert len(matches.found) == 100_000
    assert time.process_time() - begin < 60
    # all alike: nothing to enumerate
    matches = match_names(
        [f"y{i}/a.jpg" for i in range(50_000)], [(f"/x/{i}/a.jpg", i) for i in range(50_000)]
    )
    assert not matches.found
    assert time.process_time() - begin < 120


@pytest.mark.parametrize(
    ("paths", "depth"),
    [([], 0), (["a/b"], 1), (["a/b", "a/c/d", "a/b/e"], 1), (["a", "a/b"], 0), (["x/y/1", "x/y/2"], 2)],
)
def test_folders_that_all_paths_share(paths, depth):
    assert shared_depth([tuple(path.split("/")) for path in paths]) == depth
