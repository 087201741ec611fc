"""What the data doctor finds on photographs of cracks: as they are, and with harm in each pair.

Usage: doctor_photographs.py FOLDER [FOLDER ...], each with images/ and masks/ (PNG). They are not
changed: harm is planted in copies.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from crackutils.data.doctor import examine
from crackutils.data.split import positions

HARMS = {  # kind of the finding: what happens to each mask
    "shifted": lambda mask: np.roll(mask, (12, -9), (0, 1)),
    "turned": lambda mask: np.rot90(mask, 2),
    "inverted": lambda mask: 255 - mask}


def named(folder: Path, kind: str) -> set[str]:
    """The files that findings of a kind name."""
    return {name for finding in examine(folder) if finding.kind == kind for name in finding.files}


def copy(folder: Path, to: Path, harm: Callable) -> Path:
    """The folder's photographs with harmed masks."""
    (to / "masks").mkdir(parents=True)
    (to / "images").symlink_to(folder.resolve() / "images")
    for path in (folder / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(to / "masks" / path.name), np.ascontiguousarray(harm(mask)))
    return to


def with_other_masks(folder: Path, to: Path) -> Path:
    """Each photograph with the next one's mask."""
    (to / "masks").mkdir(parents=True)
    (to / "images").symlink_to(folder.resolve() / "images")
    paths = sorted((folder / "masks").iterdir())
    for path, other in zip(paths, paths[1:] + paths[:1]):
        (to / "masks" / path.name).write_bytes(other.read_bytes())
    return to


def with_twins(folder: Path, to: Path) -> tuple[Path, set[str]]:
    """Each pair twice: the second turned or mirrored, brighter, and compressed anew."""
    twins = set()
    for kind in ("images", "masks"):
        (to / kind).mkdir(parents=True)
        for number, path in enumerate(sorted((folder / kind).iterdir())):
            picture = cv2.imread(str(path))
            copied = np.ascontiguousarray(np.dstack([
                positions(channel)[1 + number % 7] for channel in cv2.split(picture)]))
            quality = []
            if kind == "images":
                copied = np.clip(copied * 1.1 + 8, 0, 255).astype(np.uint8)
                quality = [cv2.IMWRITE_JPEG_QUALITY, 60]
            cv2.imwrite(str(to / kind / path.name), picture)
            cv2.imwrite(str(to / kind / f"twin-{path.name}"), copied, quality)
            twins.add(f"{path.stem} = twin-{path.stem}")
    return to, twins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    given, rows = parser.parse_args(), []
    for folder in given.folders:
        pairs = len(list((folder / "masks").iterdir()))
        row = {"folder": folder.name, "pairs": pairs, "findings_as_it_is": len(
            [one for one in examine(folder) if one.level != "note"])}
        with tempfile.TemporaryDirectory() as scratch:
            for kind, harm in HARMS.items():
                found = named(copy(folder, Path(scratch) / kind, harm), kind)
                row[f"{kind}_found"] = round(len(found) / pairs, 3)
            others = with_other_masks(folder, Path(scratch) / "others")
            row["other_masks_found"] = any(one.kind == "misfit" for one in examine(others))
            harmed, twins = with_twins(folder, Path(scratch) / "twins")
            found = named(harmed, "twins")
            row |= {"twins_found": round(len(found & twins) / pairs, 3),
                    "false_twins": len(found - twins)}
        rows.append(row)
    given.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(given.out / "doctor_photographs.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
