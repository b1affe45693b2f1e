"""Images in stores are listed and read by the rules of the disk: from an S3 server, and from memory."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.common import remote
from fiftyone_plugin.common.remote import StoreError, StoreGone, read_object, remote_stamp
from fiftyone_plugin.common.stamps import file_stamp
from fiftyone_plugin.errors import ImageReadError, MissingDependencyError, PseudoMaskError, UsageError
from fiftyone_plugin.images.content import read_content
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.images.reading import image_size, read_image
from tests.stores import Store

NAMES = ["a b.jpg", "sub/ü & 50%+#1.jpg", "sub/deep/c.png", "z[1].jpg"]


def picture(seed: int = 0, size: int = 24) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size + 1, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def photos(store: Store, tmp_path_factory):
    """The same pictures in the store and on the disk, and what is passed over."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate([*NAMES, ".hidden/x.jpg", "notes.txt", "raw.cr2", "old/masks/m.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    (folder / "old/run.json").write_text('{"settings": {"method": "mosaic"}, "status": "complete"}')
    (folder / "sub/run.json").write_text('{"of": "somebody else"}')
    store.put_folder(folder, "photos")
    store.put("photos/folder/", b"")
    return folder


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """What is tried again is tried again at once."""
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)


def test_a_store_is_listed_like_a_folder(store, photos):
    there, here = list_images("s3://data/photos"), list_images(photos)
    assert [(item.key, item.mask_name) for item in there] == [(item.key, item.mask_name) for item in here]
    assert [item.key for item in there] == sorted(NAMES)
    assert {item.root for item in there} == {"s3://data/photos/"}
    assert there.left_out.to_json() == here.left_out.to_json()
    assert there.left_out.folders == ["old"]
    assert there.folder == "s3://data/photos"
    assert list_images("s3://data/photos/", shard="1/2") == [
        item for item in there if item.key in {i.key for i in list_images(photos, shard="1/2")}
    ]


def test_images_of_a_store_have_the_pixels_of_the_files(store, photos):
    store.requests.clear()
    for item in list_images("s3://data/photos"):
        local = str(photos / item.key)
        content = read_content(item.path)
        assert content.data == read_content(local).data
        assert content.stamp == file_stamp(item.path) != ""
        assert np.array_equal(read_image(item.path), read_image(local))
        assert image_size(item.path) == image_size(local)
    # one request an image for three looks, of what the listing has told the size and the tag
    assert {store.requests["GET", f"photos/{name}"] for name in NAMES} == {1}
    assert not any(store.requests["HEAD", f"photos/{name}"] for name in NAMES)


def test_globs_lists_and_single_images(store, photos, tmp_path):
    assert [i.key for i in list_images("s3://data/photos/*.jpg")] == ["a b.jpg", "z[1].jpg"]
    assert [i.key for i in list_images("s3://data/photos/**/*.png")] == ["c.png"]
    assert [i.key for i in list_images("s3://data/photos/z[1].jpg")] == ["z[1].jpg"]
    keys = [i.key for i in list_images("s3://data/photos/**/*.png", root="s3://data")]
    assert keys == ["photos/sub/deep/c.png"]
    store.put("photos/list.txt", b"# two\na b.jpg\ns3://data/photos/sub/deep/c.png\n")
    (tmp_path / "list.txt").write_text("s3://data/photos/a b.jpg\ns3://data/photos/sub/deep/c.png\n")
    for spec in ("s3://data/photos/list.txt", tmp_path / "list.txt"):
        assert [i.key for i in list_images(spec)] == ["a b.jpg", "sub/deep/c.png"]
    twice = list_images(["s3://data/photos/a b.jpg"] * 2 + ["s3://data/photos/gone.jpg"])
    assert [i.key for i in twice] == ["a b.jpg", "gone.jpg"]
    with pytest.raises(ImageReadError, match=r"gone\.jpg: no such file"):
        read_image(twice[1].path)


def test_what_passes_is_tried_again(store, photos):
    (item,) = list_images("s3://data/photos/a b.jpg")
    for faults in ([500], [503, 503], ["truncate"], ["reset", 500], [0.5], ["truncate", "truncate", 429]):
        store.faults["GET photos/a b.jpg"] = list(faults)
        assert read_object(item.path) == picture(0), faults
        assert not store.faults["GET photos/a b.jpg"]


def test_what_does_not_pass_is_said_at_once_and_of_the_image(store, photos, monkeypatch):
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    (item,) = list_images("s3://data/photos/a b.jpg")
    for fault, words in (
        ([403], "permission denied by the store; check its credentials"),
        ([404], "no such file"),
        ([500] * 99, r"cannot be reached or read: .* \(2 attempts\)"),
        (["truncate"] * 99, r"cannot be reached or read: .* \(2 attempts\)"),
    ):
        store.faults["GET photos/a b.jpg"] = list(fault)
        store.requests.clear()
        with pytest.raises(ImageReadError, match=words):
            read_image(item.path)
        tried = store.requests["GET", "photos/a b.jpg"]
        assert tried == 1 if len(fault) == 1 else 2 <= tried <= 2 * 5  # s3fs tries again too
    store.faults.clear()
    assert read_object(item.path) == picture(0)


def test_a_store_that_is_gone_ends_the_work(store, photos, monkeypatch):
    monkeypatch.setattr(remote, "GONE_AFTER", 5)
    (item,) = list_images("s3://data/photos/a b.jpg")
    store.faults["GET photos/a b.jpg"] = [500] * 5_000
    for _ in range(remote.GONE_AFTER - 1):
        with pytest.raises(StoreError) as caught:
            read_object(item.path)
        assert caught.value.passing
    with pytest.raises(StoreGone, match=r"s3://data does not answer any more .* go on with --resume"):
        read_object(item.path)
    store.faults.clear()
    assert read_object(item.path) == picture(0)


def test_an_object_that_was_replaced_is_read_as_it_is_now(store):
    store.put("change/a.png", picture(1))
    (item,) = list_images("s3://data/change")
    before = file_stamp(item.path)
    store.put("change/a.png", picture(2, size=30))
    content = read_content(item.path)
    assert content.data == picture(2, size=30)
    assert content.stamp == file_stamp(item.path) != before


@pytest.mark.parametrize("count", [1_100, pytest.param(10_000, marks=pytest.mark.soak)])
def test_thousands_of_keys_come_in_pages(store, count):
    one = picture()

    def put(number: int) -> None:
        store.put(f"many{count}/{number % 7}/{number:05}.png", one)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(count)))
    store.requests.clear()
    listed = list_images(f"s3://data/many{count}")
    assert len(listed) == count
    assert {item.key for item in listed} == {f"{n % 7}/{n:05}.png" for n in range(count)}
    assert sum(store.requests.values()) < 20


def test_an_empty_or_absent_place(store):
    store.put("empty/notes.md", b"x")
    for url in ("s3://data/empty", "s3://data/nothing", "s3://data/nothing/*.jpg"):
        with pytest.raises(UsageError, match=f"no images in {url[:20]}"):
            list_images(url)
    with pytest.raises((StoreError, UsageError), match=r"no images in s3://absent|no such file"):
        list_images("s3://absent/photos")


def test_addresses_that_cannot_be_opened(tmp_path):
    for url, kind, words in (
        ("nosuch://a/b", UsageError, "Protocol not known"),
        ("gs://bucket/a", MissingDependencyError, r"pip install 'fiftyone-pseudomask\[gs\]'"),
    ):
        if kind is MissingDependencyError:
            pytest.importorskip("fsspec")
            if __import__("importlib").util.find_spec("gcsfs"):
                continue
        with pytest.raises(kind, match=words):
            list_images(url)
    with pytest.raises(PseudoMaskError, match=r"127\.0\.0\.1:9/a\.txt"):
        list_images("http://127.0.0.1:9/a.txt?token=secret")


# --- memory:// and the web, in this process ---------------------------------------------------------


def test_keys_that_disks_do_not_have():
    memory = fsspec.filesystem("memory")
    for name in ("x//a.jpg", "x/b.jpg"):
        memory.pipe_file(f"/odd/{name}", picture())
    listed = list_images("memory://odd")
    assert [item.key for item in listed] == ["x/%/a.jpg", "x/b.jpg"]
    assert [read_image(item.path).shape for item in listed] == [(24, 25, 3)] * 2
    with pytest.raises(UsageError, match=r"climbs with '\.\.'"):
        list_images(["memory://odd/../a.jpg"])


def test_places_are_not_mixed(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture())
    with pytest.raises(UsageError, match="is in a store and others are not"):
        list_images(["memory://odd/a.jpg", tmp_path / "a.jpg"])


def test_images_of_the_web_are_called_by_their_paths(tmp_path):
    pytest.importorskip("aiohttp", reason="needs aiohttp, of http://")
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    for name in ("a b.png", "sub/ü.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        listed = list_images(
            [f"{base}/a%20b.png?X-Amz-Signature=secret", f"{base}/sub/%C3%BC.png?sig=secret"]
        )
        assert [(item.key, item.root) for item in listed] == [
            ("a b.png", f"{base}/"),
            ("sub/ü.png", f"{base}/"),
        ]
        assert [read_image(item.path).shape for item in listed] == [(24, 25, 3)] * 2
        assert all(remote_stamp(item.path) for item in listed)
        (tmp_path / "list.txt").write_text("a%20b.png\n")
        assert [item.key for item in list_images(f"{base}/list.txt?token=secret")] == ["a b.png"]
        os.remove(tmp_path / "a b.png")
        with pytest.raises(ImageReadError, match=r"a%20b\.png\?\.\.\.: no such file"):
            read_image(listed[0].path)
        assert [item.key for item in list_images(f"{base}/sub")] == ["ü.png"]
    finally:
        server.shutdown()
        server.server_close()
