"""What is wrong with a folder of pictures and masks, said before hours are lost on it.

`examine(folder)` gives findings; `str(finding)` is the sentence. Errors would stop a training,
warnings make its result doubtful, notes are facts to know.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from crackutils.datasets import divided
from crackutils.duplicates import alike, groups_of
from crackutils.inspection import Facts, inspect
from crackutils.layouts import UNDIVIDED, recognise
from crackutils.leak_checks import sequences, twins
from crackutils.mask_checks import SHOWN, Finding, extremes, greys, inverted, misplaced, regions
from crackutils.pairing import SUFFIXES, DataError, Files, told
from crackutils.protocol import Protocol, preset

UNREAD = {".webp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".pgm", ".npy", ".dng"}
PAPER_SHARES = "4.1 % of paper A's evaluation set, and at most 1.6 % of a fine-crack image"


def examine(folder: str | Path, protocol: Protocol | None = None) -> list[Finding]:
    """The findings of a data folder, errors first; the folder is not changed.

    `protocol` (default: the paper's on cracks) says the task, the layout if it was asked for, and
    the level from which a grey mask is positive.
    """
    protocol, folder = protocol or preset("paper"), Path(folder).expanduser().resolve()
    try:
        layout = recognise(folder, protocol.layout)
        with told():
            parts = layout.parts(folder)
            spare = unused(folder, parts)
    except DataError as error:
        return [Finding("error", "folder", (), str(error).rstrip("."), "Nothing can be read.",
                        "Mend this first, then examine again.")]
    jobs = [(part, files) for part, some in parts.items() for files in some]
    with ThreadPoolExecutor() as pool:
        facts = list(tqdm(pool.map(lambda job: inspect(*job, layout, protocol), jobs), "examining",
                          len(jobs), unit="pair", file=sys.stdout, mininterval=2, delay=2))
    whole = [one for one in facts if one.error is None]
    found = unreadable([one for one in facts if one.error is not None])
    group(whole)
    for check in CHECKS[protocol.task]:
        found += check(whole)
    if UNDIVIDED in parts and len(whole) == len(jobs):
        try:
            divided(folder, parts[UNDIVIDED], [one.group for one in facts])
        except DataError as error:
            found.append(Finding("error", "split", (), str(error).rstrip("."), "", ""))
    found += spare
    return sorted(found, key=lambda one: ("error", "warning", "note").index(one.level))


def unreadable(facts: Sequence[Facts]) -> list[Finding]:
    """The first pairs that can't be read with their reasons, the others by name."""
    why = "A training would stop at it."
    rest = tuple(one.name for one in facts[SHOWN:])
    return [Finding("error", "unreadable", (one.name,), one.error.rstrip("."), why, "")
            for one in facts[:SHOWN]] + [
        Finding("error", "unreadable", rest, f"pairs that can't be read either: {len(rest)}", why,
                "Mend the cause of the first ones, then examine again.")] * bool(rest)


def unused(folder: Path, parts: dict[str, list[Files]]) -> list[Finding]:
    """Pictures below the folder that no part has: without a mask, in no list, or of other use."""
    used = {path for some in parts.values() for files in some for path in files[1:] if path}
    spare = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")
                   if path.suffix.lower() in SUFFIXES | UNREAD and path not in used)
    finding = Finding(
        "note", "unused", tuple(spare), f"pictures that are not used: {len(spare)} beside "
        f"{len(used)}", "They have no mask, stand in no list, are of a kind that is not read "
        "(convert them to PNG), or serve another purpose.",
        "If that is not meant, look whether an archive was unpacked whole.")
    return [finding] if spare else []


def group(facts: Sequence[Facts]) -> None:
    """Tell those that show the same thing."""
    for one, number in zip(facts, groups_of(len(facts), alike([one.picture for one in facts]))):
        one.group = int(number)


def facts_to_know(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Shares, widths and sizes: beside the paper's."""
    if not facts:
        return
    shares = 100 * np.array([one.share for one in facts])
    widths = np.array([one.width for one in facts])
    wide = f"; cracks are about {np.nanmedian(widths):.1f} px wide in the median picture" if (
        np.isfinite(widths).any()) else ""
    sizes = Counter(one.size for one in facts)
    (height, width), often = sizes.most_common(1)[0]
    parts = Counter(one.part for one in facts)
    lie = "parts will be cut" if UNDIVIDED in parts else ", ".join(
        f"{count} {part}" for part, count in parts.items())
    yield Finding("note", "shares", (), f"{len(facts)} pairs ({lie}), {often} of them {height} x "
                  f"{width}; "
                  f"positive pixels: {shares.mean():.2f} % in the mean, {np.median(shares):.2f} % "
                  f"in the median picture{wide}", f"The papers: {PAPER_SHARES}."
                  if np.isfinite(widths).any() else "", "Scores are comparable only between sets "
                  "of like shares.")


CHECKS = {"cracks": (extremes, inverted, greys, regions, misplaced, twins, facts_to_know),
          "roads": (extremes, greys, twins, sequences, facts_to_know)}
