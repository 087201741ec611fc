"""What the data doctor finds on photographs of cracks: as they are, and with a fault in each pair.

Usage: doctor_photographs.py FOLDER [FOLDER ...], each with images/ and masks/ (PNG). They are not
changed: the faults are planted in copies.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from crackutils.data.doctor import examine
from crackutils.data.split import eight_positions

FAULTS = {  # kind of the finding: what happens to each mask
    "shifted": lambda mask: np.roll(mask, (12, -9), (0, 1)),
    "turned": lambda mask: np.rot90(mask, 2),
    "inverted": lambda mask: 255 - mask}


def names_found(folder: Path, kind: str) -> set[str]:
    """The files that findings of a kind name."""
    return {name for finding in examine(folder) if finding.kind == kind for name in finding.files}


def with_fault(folder: Path, to: Path, fault: Callable) -> Path:
    """The folder's photographs with changed masks."""
    (to / "masks").mkdir(parents=True)
    (to / "images").symlink_to(folder.resolve() / "images")
    for path in (folder / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(to / "masks" / path.name), np.ascontiguousarray(fault(mask)))
    return to


def with_other_masks(folder: Path, to: Path) -> Path:
    """Each photograph with the next one's mask."""
    (to / "masks").mkdir(parents=True)
    (to / "images").symlink_to(folder.resolve() / "images")
    paths = sorted((folder / "masks").iterdir())
    for path, other in zip(paths, paths[1:] + paths[:1]):
        (to / "masks" / path.name).write_bytes(other.read_bytes())
    return to


def with_duplicates(folder: Path, to: Path) -> tuple[Path, set[str]]:
    """Each pair twice: the second turned or mirrored, brighter, and compressed anew."""
    copies = set()
    for kind in ("images", "masks"):
        (to / kind).mkdir(parents=True)
        for number, path in enumerate(sorted((folder / kind).iterdir())):
            picture = cv2.imread(str(path))
            copied = np.ascontiguousarray(np.dstack([
                eight_positions(channel)[1 + number % 7] for channel in cv2.split(picture)]))
            quality = []
            if kind == "images":
                copied = np.clip(copied * 1.1 + 8, 0, 255).astype(np.uint8)
                quality = [cv2.IMWRITE_JPEG_QUALITY, 60]
            cv2.imwrite(str(to / kind / path.name), picture)
            cv2.imwrite(str(to / kind / f"copy-{path.name}"), copied, quality)
            copies.add(f"{path.stem} = copy-{path.stem}")
    return to, copies


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
            for kind, fault in FAULTS.items():
                found = names_found(with_fault(folder, Path(scratch) / kind, fault), kind)
                row[f"{kind}_found"] = round(len(found) / pairs, 3)
            others = with_other_masks(folder, Path(scratch) / "others")
            row["other_masks_found"] = any(one.kind == "misfit" for one in examine(others))
            duplicated, copies = with_duplicates(folder, Path(scratch) / "duplicates")
            found = names_found(duplicated, "duplicates")
            row |= {"duplicates_found": round(len(found & copies) / pairs, 3),
                    "false_duplicates": len(found - copies)}
        rows.append(row)
    given.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(given.out / "doctor_photographs.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
