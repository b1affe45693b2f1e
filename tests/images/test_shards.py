"""Keys that do not depend on the list, and parts of a list."""

from __future__ import annotations

import hashlib
import os

import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.images.shards import Shard


@pytest.fixture
def folder(tmp_path):
    for name in ("a/1.jpg", "a/1.png", "a/b/2.jpg", "c/3.jpg", "c/é ü.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_keys_begin_at_the_root_whatever_is_listed(folder, monkeypatch):
    whole = {item.key: item for item in list_images(folder, root=folder)}
    assert list(whole) == ["a/1.jpg", "a/1.png", "a/b/2.jpg", "c/3.jpg", "c/é ü.jpg"]
    listing = folder / "a.txt"
    listing.write_text("a/b/2.jpg\na/1.jpg\n")
    monkeypatch.chdir(folder)
    for spec in (folder / "a", listing, str(folder / "a" / "**" / "*.jpg"), ["a/b/2.jpg"], folder / "c"):
        for root in (folder, str(folder) + os.sep, "."):
            listed = list_images(spec, root=root)
            assert all(item.path == whole[item.key].path for item in listed)
            assert {item.root for item in listed} == {str(folder) + "/"}
    assert [item.key for item in list_images("a", root=".")] == ["a/1.jpg", "a/1.png", "a/b/2.jpg"]
    assert list_images(folder / "a", root=folder).folder == str(folder / "a")


def test_an_image_outside_the_root_is_named(folder):
    with pytest.raises(UsageError, match=r"a/b/2\.jpg does not lie below .*/c, the root of the keys"):
        list_images([folder / "c" / "3.jpg", folder / "a" / "b" / "2.jpg"], root=folder / "c")


def test_shards_are_parts_of_the_list_by_the_keys_alone(tmp_path):
    for number in range(400):
        (tmp_path / f"{number}.jpg").touch()
        if number % 3 == 0:
            (tmp_path / f"{number}.png").touch()  # whose mask would have the same name
    whole = list_images(tmp_path)
    parts = [list_images(tmp_path, shard=f"{index}/4") for index in range(1, 5)]
    assert {item for part in parts for item in part} == set(whole)
    assert sum(map(len, parts)) == len(whole)
    assert all(100 < len(part) < 170 for part in parts)  # of 534, even parts of which have 134
    assert parts[2].shard == Shard(3, 4)
    for item in parts[1]:  # what other machines and versions compute
        assert int(hashlib.sha256(item.key.encode()).hexdigest()[:16], 16) % 4 == 1
    some = [item.path for item in whole if item.key.startswith("1")]
    assert {item.key for item in list_images(some, root=tmp_path, shard="2/4")} == {
        item.key for item in parts[1] if item.key.startswith("1")
    }


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/4/2", " 1/4", "-1/4", "", 3])
def test_what_is_no_shard_is_refused(folder, text):
    with pytest.raises(UsageError, match="a shard is I/N with I from 1 to N"):
        list_images(folder, shard=text)


def test_a_shard_without_images_is_refused(folder):
    with pytest.raises(UsageError, match=r"none of the 5 images .* is in shard 1/1000; use fewer shards"):
        list_images(folder, shard="1/1000")
