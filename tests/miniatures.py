"""Each published layout in miniature: its names, encodings and quirks, and the masks they mean."""

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

SIZE = (24, 32)  # height, width
ORIENTATION = 0x0112


def pixels(index: int, size=SIZE) -> np.ndarray:
    return np.random.default_rng(index).integers(256, size=(*size, 3), dtype=np.uint8)


def crack(index: int, size=SIZE) -> np.ndarray:
    """A mask of 0 and 1."""
    mask = np.zeros(size, np.uint8)
    mask[2 + index % 9:5 + index % 9, 3:-4] = 1
    return mask


def save(path: Path, array: np.ndarray, mode: str | None = None, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def plain(folder: Path, count: int = 10) -> dict[str, np.ndarray]:
    for index in range(count):
        save(folder / "images" / f"p{index}.jpg", pixels(index), quality=95)
        save(folder / "masks" / f"p{index}.png", crack(index) * 255)
    return {f"p{index}": crack(index) for index in range(count)}


def metu(folder: Path, count: int = 10) -> dict[str, np.ndarray]:
    """`.JPG` beside `.jpg`, three EXIF orientations, JPEG-grey masks; 3's mask lies as it shows,
    4's as it is stored."""
    masks = {}
    for index in range(count):
        name, ending = f"{index + 1:03d}", ".JPG" if index % 2 else ".jpg"
        orientation = {3: 6, 4: 6, 5: 3}.get(index, 1)
        options = {"exif": turned(orientation)} if orientation > 1 else {}
        save(folder / "rgb" / (name + ending), pixels(index), quality=95, **options)
        mask = crack(index, SIZE[::-1] if index == 3 else SIZE)
        save(folder / "BW" / (name + ".jpg"), mask * 255, quality=90)
        masks[name] = np.rot90(mask, -1) if index == 4 else mask
    return masks


def crackforest(folder: Path, count: int = 10) -> dict[str, np.ndarray]:
    """2 is crack; 3, an enclosed slab, and 4 are not. Two images lack their ground truth."""
    masks = {}
    for index in range(count):
        name, labels = f"{index + 1:03d}", crack(index) + np.uint8(1)
        labels[-3:, :9], labels[-1, -1] = 3, 4
        save(folder / "image" / f"{name}.jpg", pixels(index))
        (folder / "groundTruth").mkdir(exist_ok=True)
        scipy.io.savemat(folder / "groundTruth" / f"{name}.mat", {"groundTruth": {
            "Segmentation": labels, "Boundaries": crack(index)}})
        masks[name] = crack(index)
    for name in ("201", "329"):
        save(folder / "image" / f"{name}.jpg", pixels(99))
    return masks


def deepcrack(folder: Path) -> dict[str, np.ndarray]:
    for part, numbers in (("train", range(8)), ("test", range(8, 11))):
        for index in numbers:
            save(folder / f"{part}_img" / f"1111-{index}.jpg", pixels(index))
            save(folder / f"{part}_lab" / f"1111-{index}.png", crack(index) * 255)
    return {f"1111-{index}": crack(index) for index in range(11)}


def crack500(folder: Path) -> dict[str, np.ndarray]:
    masks = {}
    for part, numbers in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 9))):
        for index in numbers:
            name = f"20160222_08101{index}_1281_721"
            save(folder / f"{part}crop" / f"{name}.jpg", pixels(index))
            save(folder / f"{part}crop" / f"{name}.png", crack(index) * 255)
            masks[name] = crack(index)
    return masks


def lanes(index: int) -> np.ndarray:
    """0 direct, 1 alternative, 2 background."""
    return np.random.default_rng(index).integers(3, size=SIZE, dtype=np.uint8)


def bdd100k(folder: Path, legacy: bool = False) -> dict[str, np.ndarray]:
    """Both encodings of the same lanes; the legacy one's colour maps lie beside it."""
    masks = {}
    for part, numbers in (("train", range(8)), ("val", range(8, 10))):
        for index in numbers:
            name = f"{index:08x}-{index + 7:08x}"
            save(folder / "images" / "100k" / part / f"{name}.jpg", pixels(index))
            if legacy:
                labels = np.array([1, 2, 0], np.uint8)[lanes(index)]
                maps = folder / "drivable_maps"
                save(maps / "labels" / part / f"{name}_drivable_id.png", labels)
                save(maps / "color_labels" / part / f"{name}_drivable_color.png", pixels(index))
            else:
                save(folder / "labels" / "drivable" / "masks" / part / f"{name}.png", lanes(index))
            masks[name] = (lanes(index) < 2).astype(np.uint8)
    save(folder / "images" / "100k" / "train" / "unlabelled.jpg", pixels(50))
    return masks


def bdd100k_legacy(folder: Path) -> dict[str, np.ndarray]:
    return bdd100k(folder, legacy=True)


def camvid(folder: Path) -> dict[str, np.ndarray]:
    """Palette PNGs whose index is the class, and SegNet's lists; one train frame is in none."""
    masks = {}
    for part, numbers in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 11))):
        lines = []
        for index in numbers:
            name = f"0001TP_{6690 + 30 * index:06d}"
            labels = np.random.default_rng(index).integers(12, size=SIZE, dtype=np.uint8)
            picture = Image.fromarray(labels, "P")
            picture.putpalette([(37 * level) % 256 for level in range(768)])
            save(folder / part / f"{name}.png", pixels(index))
            (folder / f"{part}annot").mkdir(exist_ok=True)
            picture.save(folder / f"{part}annot" / f"{name}.png")
            if index != 5:
                lines.append(f"/SegNet/CamVid/{part}/{name}.png /SegNet/CamVid/{part}annot/{name}"
                             ".png\n")
                masks[name] = (labels == 3).astype(np.uint8)
        (folder / f"{part}.txt").write_text("".join(lines))
    return masks


def drive(folder: Path, name: str, count: int) -> None:
    """Pairs whose images are frames of a drive along a street, each from a little further along.
    The frames have grain of their own."""
    chance = np.random.default_rng([0, *name.encode()])
    street = np.kron(chance.integers(60, 200, (12, 4 + count)), np.ones((8, 8)))
    for index in range(count):
        view = street[:, 6 * index:6 * index + 64]
        grain = np.random.default_rng(index).normal(0, 12, view.shape)
        frame = np.clip(view + grain, 0, 255).astype(np.uint8)
        save(folder / "images" / f"{name.format(index)}.png", np.dstack([frame] * 3))
        save(folder / "masks" / f"{name.format(index)}.png", crack(index, view.shape) * 255)


MINIATURES = {write.__name__: write for write in (
    plain, metu, crackforest, deepcrack, crack500, bdd100k, bdd100k_legacy, camvid)}
