"""Published benchmarks, from small archives that the real downloaders fetch from a server on this machine."""

import functools
import hashlib
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import quality
from benchmarks.zoo import load_zoo, paint, require_genuine_weights
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.backbones import OFFLINE_BACKBONE, Backbone

H, W = 48, 64
# COCO's category ids run to 90 with ten gaps
CATEGORIES = [i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]
FILES = {9: "000000000009.jpg", 25: "000000000025.jpg", 139: "000000000139.jpg", 285: "000000000285.jpg"}


def rectangle(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def run_lengths(region: np.ndarray) -> dict:
    """Uncompressed run lengths by columns, beginning with a run of zeros, by a plain loop."""
    counts, value = [0], 0
    for pixel in region.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(region.shape), "counts": counts}


def coco_annotations() -> list[dict]:
    crowd = np.zeros((H, W), int)
    crowd[30:45, 5:60] = 1
    parts = [
        # a small instance listed before the large one below it, in categories on both sides of a gap
        (25, 13, 0, rectangle(10, 10, 20, 20)),
        (25, 11, 0, rectangle(5, 5, 40, 40)),
        (25, 1, 1, run_lengths(crowd)),
        (139, 90, 0, [[1, 1, 30, 4, 12, 33], [40, 20, 60, 22, 50, 44]]),
        (139, 1, 0, [[20.5, 10.2, 55.1, 12.7, 48.9, 40.3, 25.4, 38.8]]),
        (285, 1, 1, run_lengths(1 - crowd)),
    ]
    keys = ("image_id", "category_id", "iscrowd", "segmentation")
    return [
        {"id": number, "bbox": [0, 0, 1, 1], "area": 1, **dict(zip(keys, part, strict=True))}
        for number, part in enumerate(parts, start=1)
    ]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of a folder; its address is ``server.url``, and it stops on ``server.stop()``."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()

    def stop():
        if thread.is_alive():
            server.shutdown()
            thread.join()
            server.server_close()

    server.folder, server.url, server.stop = folder, f"http://127.0.0.1:{server.server_port}", stop
    yield server
    stop()


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """An empty zoo folder and an empty cache."""
    import fiftyone

    folder = tmp_path / "zoo"
    monkeypatch.setattr(fiftyone.config, "dataset_zoo_dir", str(folder))
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def coco(server, zoo, monkeypatch):
    """COCO 2017 validation of four images, the first without annotations, as its own site serves it."""
    import fiftyone.utils.coco as fouc

    document = {
        # not in the order of ids
        "images": [
            {"id": i, "file_name": f, "height": H, "width": W, "coco_url": f"{server.url}/val2017/{f}"}
            for i, f in reversed(FILES.items())
        ],
        "categories": [{"id": i, "name": f"thing {i}", "supercategory": "thing"} for i in CATEGORIES],
        "annotations": coco_annotations(),
    }
    (server.folder / "val2017").mkdir()
    rng = np.random.default_rng(0)
    for name in FILES.values():
        Image.fromarray(rng.integers(0, 256, (H, W, 3), np.uint8)).save(server.folder / "val2017" / name)
    with zipfile.ZipFile(server.folder / "val2017.zip", "w") as archive:
        for name in FILES.values():
            archive.write(server.folder / "val2017" / name, f"val2017/{name}")
    with zipfile.ZipFile(server.folder / "annotations_trainval2017.zip", "w") as archive:
        archive.writestr("annotations/instances_val2017.json", json.dumps(document))
    url = f"{server.url}/annotations_trainval2017.zip"
    monkeypatch.setitem(fouc._ANNOTATION_DOWNLOAD_LINKS, "2017", url)
    monkeypatch.setitem(fouc._IMAGE_DOWNLOAD_LINKS["2017"], "validation", f"{server.url}/val2017.zip")
    monkeypatch.setitem(fouc._SPLIT_SIZES["2017"], "validation", len(FILES))
    return zoo / "coco-2017"


def slow_mask(instances: Path, image: int) -> np.ndarray:
    """The smallest instance at each pixel, else 255 where a crowd is, else 0; regions by COCO's own API."""
    from pycocotools.coco import COCO

    api = COCO(str(instances))
    regions = [(a, api.annToMask(a)) for a in api.loadAnns(api.getAnnIds(imgIds=[image]))]
    mask = np.zeros((H, W), np.uint8)
    for y, x in np.ndindex(H, W):
        here = [(m.sum(), a) for a, m in regions if m[y, x]]
        things = [(size, a["category_id"]) for size, a in here if not a["iscrowd"]]
        if things:
            mask[y, x] = 1 + CATEGORIES.index(min(things)[1])
        elif here:
            mask[y, x] = 255
    return mask


def test_coco_is_downloaded_by_the_zoo_and_painted_exactly(coco, server):
    data = load_zoo("coco-2017-val")
    assert [item.key for item in data.items] == [FILES[25], FILES[139], FILES[285]]  # 9 has no annotation
    assert all(Path(item.path).parent == coco / "validation" / "data" for item in data.items)
    assert data.n_classes == 81
    assert data.classes[0] == "background"
    assert [data.classes[i] for i in (11, 12, 80)] == ["thing 11", "thing 13", "thing 90"]
    assert data.ignore == (255,)
    assert not data.foreground
    assert "all 3 images" in data.note
    for item, truth in data.truths():
        assert truth.dtype == np.uint8
        np.testing.assert_array_equal(
            truth, slow_mask(coco / "raw" / "instances_val2017.json", int(Path(item.key).stem))
        )
    expected = np.zeros((H, W), np.uint8)
    expected[30:45, 5:60] = 255
    expected[5:40, 5:40] = 11
    expected[10:20, 10:20] = 12
    np.testing.assert_array_equal(data.truth(data.items[0]), expected)


def test_coco_is_not_downloaded_or_painted_twice(coco, server):
    data = load_zoo("coco-2017-val")
    server.stop()
    times = {path: path.stat().st_mtime_ns for path in data.mask_dir.iterdir()}
    assert len(times) == 3
    assert load_zoo("coco-2017-val") == data
    assert {path: path.stat().st_mtime_ns for path in data.mask_dir.iterdir()} == times


def test_a_limited_coco_downloads_few_images_and_chooses_the_same(coco):
    data = load_zoo("coco-2017-val", limit=2)
    assert [item.key for item in data.items] == [FILES[25], FILES[139]]
    # the annotations come with one image, the first
    assert {path.name for path in (coco / "validation" / "data").iterdir()} == {
        FILES[9],
        FILES[25],
        FILES[139],
    }
    assert "NOT THE PUBLISHED SET: the first 2 of 3" in data.note
    full = load_zoo("coco-2017-val")
    assert full.items[:2] == data.items
    assert full.mask_dir == data.mask_dir


def test_equal_sizes_are_painted_by_annotation_id():
    parts = [
        {"id": number, "category_id": number, "iscrowd": 0, "segmentation": rectangle(0, 0, 4, 4)}
        for number in (3, 1, 2)
    ]
    assert (paint(parts, {1: 1, 2: 2, 3: 3}, (4, 4)) == 3).all()


def test_compressed_run_lengths_are_read():
    from pycocotools import mask as coco_mask

    region = np.random.default_rng(0).integers(0, 2, (7, 9), np.uint8)
    rle = coco_mask.encode(np.asfortranarray(region))
    part = {"id": 1, "category_id": 5, "iscrowd": 0, "segmentation": rle}
    np.testing.assert_array_equal(paint([part], {5: 2}, (7, 9)), region * 2)


VOC_MASKS = {"2007_000033": (30, 50), "2007_000042": (40, 30), "2011_003256": (25, 25)}


@pytest.fixture
def voc(server, zoo, monkeypatch):
    """PASCAL VOC 2012 with three val images, as its own site serves it: ids by stem."""
    from torchvision.datasets import voc as torchvision_voc

    root = server.folder / "VOCdevkit" / "VOC2012"
    for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (root / part).mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(VOC_MASKS) + "\n")
    rng = np.random.default_rng(1)
    truth = {}
    for stem, (h, w) in {**VOC_MASKS, "2007_000032": (20, 20)}.items():  # the last is not in val
        Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)).save(root / f"JPEGImages/{stem}.jpg")
        truth[stem] = rng.integers(0, 21, (h, w)).astype(np.uint8)
        truth[stem][0] = 255
        mask = Image.fromarray(truth[stem])
        mask.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
        mask.save(root / f"SegmentationClass/{stem}.png")
    archive = server.folder / "VOCtrainval_11-May-2012.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(server.folder / "VOCdevkit", "VOCdevkit")
    source = torchvision_voc.DATASET_YEAR_DICT["2012"]
    monkeypatch.setitem(source, "url", f"{server.url}/{archive.name}")
    monkeypatch.setitem(source, "md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return truth


def test_voc_is_downloaded_and_palette_masks_are_read_as_ids(voc, server, zoo):
    data = load_zoo("voc-2012-val")
    assert [item.key for item in data.items] == [f"{stem}.jpg" for stem in VOC_MASKS]
    assert data.n_classes == 21
    assert (data.classes[0], data.classes[1], data.classes[20]) == ("background", "aeroplane", "tvmonitor")
    assert data.ignore == (255,)
    assert "all 3 images" in data.note
    for item, truth in data.truths():
        np.testing.assert_array_equal(truth, voc[Path(item.key).stem])
        assert Image.open(item.path).size == truth.shape[::-1]
    assert all(zoo in Path(item.path).parents for item in data.items)


def test_voc_is_extracted_once_and_mended(voc, server):
    data = load_zoo("voc-2012-val")
    server.stop()
    photo = Path(data.items[0].path)
    before = photo.stat().st_ctime_ns
    assert load_zoo("voc-2012-val") == data
    assert photo.stat().st_ctime_ns == before
    photo.unlink()
    assert load_zoo("voc-2012-val") == data  # from the archive, which is still there
    assert photo.is_file()
    limited = load_zoo("voc-2012-val", limit=1)
    assert limited.items == data.items[:1]
    assert "NOT THE PUBLISHED SET: the first 1 of 3" in limited.note


@pytest.mark.parametrize(("name", "archive"), [("voc-2012-val", "voc"), ("coco-2017-val", "coco")])
def test_no_network_is_said(name, archive, request, server, zoo):
    request.getfixturevalue(archive)
    server.stop()
    with pytest.raises(UsageError, match="could not be downloaded") as raised:
        load_zoo(name)
    assert str(zoo) in str(raised.value)


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="coco-2017-val, voc-2012-val"):
        load_zoo("voc-2007-val")


def test_the_offline_checkpoint_is_refused_unless_named(backbone):
    with pytest.raises(UsageError, match="fine-tuned for saliency"):
        require_genuine_weights(backbone, named=False)
    require_genuine_weights(backbone, named=True)
    for origin in ("hub", "file"):
        require_genuine_weights(Backbone(replace(backbone.loaded, origin=origin)), named=False)


def test_the_command_refuses_before_it_downloads(voc, backbone, zoo, capsys, monkeypatch, tmp_path):
    assert quality.main(["--data", "voc-2012-val", "--methods", "grid", "-q"]) == 2
    assert f"--backbone {OFFLINE_BACKBONE}" in capsys.readouterr().err
    assert not zoo.exists()


def test_the_command_scores_voc(voc, backbone, capsys, tmp_path):
    out = tmp_path / "scores.json"
    arguments = ["--data", "voc-2012-val", "--backbone", OFFLINE_BACKBONE, "--methods", "all-one-class"]
    assert quality.main([*arguments, "--seeds", "0", "--size", "56", "-q", "--json", str(out)]) == 0
    caption = capsys.readouterr().out
    assert "voc-2012-val: 3 images, ground-truth ids 255 ignored; C = 21, K = 21" in caption
    assert "as published by MaskContrast" in caption
    counts = np.bincount(np.concatenate([voc[stem].ravel() for stem in VOC_MASKS]), minlength=256)[:21]
    scores = json.loads(out.read_text())["voc-2012-val"]["methods"]["all-one-class"]["0"]["headline"]
    assert scores["pixel_accuracy"] == pytest.approx(counts.max() / counts.sum())
    assert scores["miou"] == pytest.approx(counts.max() / counts.sum() / 21)
