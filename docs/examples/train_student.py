"""Train a segmenter on exported masks: ``python train_student.py EXPORT --predict PHOTOS --out MASKS``.

EXPORT is what ``pseudomask export RUN --out EXPORT --format ultralytics-semantic`` wrote. The network is a
frozen vision transformer of timm, the one that `label` takes, with a small convolutional head that learns on
the CPU in minutes: no clusters and no CRF any more, one pass an image. MASKS get the ids of ``classes.json``.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.features.backbones import Backbone, load_backbone
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.images.reading import read_image
from fiftyone_plugin.masks.files import read_mask, write_mask

IGNORED = 255
LAYERS = ("t-4", "t-3", "t-1")  # patch tokens of blocks, counted from the last


class Student(nn.Module):
    """Tokens of an image to the scores of classes, at the resolution of patches."""

    def __init__(self, width: int, classes: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, hidden, 1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(hidden, classes, 1),
        )

    def forward(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return (B, classes, *size) scores of (B, width, h, w) tokens."""
        return interpolate(self.layers(tokens), size, mode="bilinear", align_corners=False)


def tokens_of(path: Path | str, backbone: Backbone, size: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the (width, h, w) tokens of an image, and its native (height, width)."""
    image = read_image(path)
    square = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    found = backbone.extract_tensors(square[None], LAYERS).values()
    side = size // backbone.patch_size
    tokens = torch.cat([nn.functional.normalize(layer.float(), dim=-1) for layer in found], -1)
    return tokens[0].T.reshape(-1, side, side).clone(), image.shape[:2]


def train(
    export: Path, backbone: Backbone, *, size: int = 448, epochs: int = 20, batch: int = 8, seed: int = 0
) -> tuple[Student, float]:
    """Return the trained head, and the loss of its last epoch."""
    torch.manual_seed(seed)
    names = yaml.safe_load((export / "data.yaml").read_text(encoding="utf-8"))["names"]
    items = list_images(export / "images" / "train")
    tokens = torch.stack([tokens_of(item.path, backbone, size)[0] for item in items])
    side = 4 * tokens.shape[-1]  # what is learnt from, each way
    masks = torch.from_numpy(
        np.stack(
            [
                np.asarray(
                    Image.fromarray(
                        read_mask(export / "masks" / "train" / Path(item.key).with_suffix(".png"))
                    ).resize((side, side), Image.Resampling.NEAREST),
                    np.int64,
                )
                for item in items
            ]
        )
    )
    student = Student(tokens.shape[1], len(names))
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=0.05)
    steps = epochs * -(-len(items) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    student.train()
    for _ in range(epochs):
        losses = []
        for part in torch.randperm(len(items)).split(batch):
            x, y = tokens[part], masks[part]
            if torch.rand(1) < 0.5:
                x, y = x.flip(-1), y.flip(-1)
            loss = cross_entropy(student(x, (side, side)), y, ignore_index=IGNORED, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return student.eval(), float(np.mean(losses))


@torch.inference_mode()
def predict(
    student: Student, backbone: Backbone, photos: Path, out: Path, ids: np.ndarray, size: int = 448
) -> None:
    """Write a mask of each photograph, with the ids of the classes."""
    for item in list_images(photos):
        tokens, shape = tokens_of(item.path, backbone, size)
        best = student(tokens[None], shape)[0].argmax(0).numpy()
        path = out / Path(item.key).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, ids[best])


def class_ids(export: Path) -> np.ndarray:
    """Return the id in the run's masks of every index of an export without a background."""
    record = yaml.safe_load((export / "export.json").read_text(encoding="utf-8"))
    return np.array([category["class_id"] for category in record["categories"]], np.uint8)


def main() -> None:
    """Train, and predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--predict", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="their masks")
    parser.add_argument("--backbone", help="as of `label`; default: what it takes")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    backbone = load_backbone(args.backbone, cache_dir=cache_dir())
    size = backbone.round_size(args.size)
    student, loss = train(args.export, backbone, size=size, epochs=args.epochs, seed=args.seed)
    predict(student, backbone, args.predict, args.out, class_ids(args.export), size)
    torch.save(student.state_dict(), args.out.parent / f"{args.out.name}.pt")
    print(f"loss {loss:.3f}; masks in {args.out}, weights in {args.out}.pt")


if __name__ == "__main__":
    main()
