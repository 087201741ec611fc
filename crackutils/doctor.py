"""What is wrong with a folder of pictures and masks, said before hours are lost on it.

`examine(folder)` gives findings; `str(finding)` is the sentence. Errors would stop a training,
warnings make its result doubtful, notes are facts to know.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from crackutils.datasets import divided
from crackutils.duplicates import alike, groups_of
from crackutils.inspection import Facts, inspect
from crackutils.layouts import UNDIVIDED, recognise
from crackutils.pairing import SUFFIXES, DataError, Files, told
from crackutils.protocol import Protocol, preset

SHOWN = 5  # names in a sentence
INVERTED_FROM = 0.5  # cracks never cover half a picture
PAPER_SHARES = "4.1 % of paper A's evaluation set, and at most 1.6 % of a fine-crack image"
SEQUENCE = re.compile(r"^(.*\D)(\d{3,})$")  # a video's name, a frame's number


@dataclass(frozen=True)
class Finding:
    """`level` is "error", "warning" or "note"; `files` are the names it is about."""

    level: str
    kind: str
    files: tuple[str, ...]
    what: str
    why: str
    advice: str

    def __str__(self) -> str:
        more = len(self.files) - SHOWN
        names = ", ".join(self.files[:SHOWN]) + (f" and {more} more" if more > 0 else "")
        named = f" ({names})" if names else ""
        sentences = [f"{self.level}: {self.what}{named}.", self.why, self.advice]
        return " ".join(filter(None, sentences))


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
    found = [Finding("error", "unreadable", (one.name,), one.error.rstrip("."),
                     "A training would stop at it.", "")
             for one in facts if one.error is not None]
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


def unused(folder: Path, parts: dict[str, list[Files]]) -> list[Finding]:
    """Pictures below the folder that no part has: without a mask, in no list, or of other use."""
    used = {path for some in parts.values() for files in some for path in files[1:] if path}
    spare = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")
                   if path.suffix.lower() in SUFFIXES and path not in used)
    return [Finding("note", "unused", tuple(spare), f"pictures that are not used: {len(spare)} "
                    f"beside {len(used)}", "They have no mask, stand in no list, or serve another "
                    "purpose.", "If that is not meant, look whether an archive was unpacked whole."
                    )] if spare else []


def group(facts: Sequence[Facts]) -> None:
    """Tell those that show the same thing."""
    for one, number in zip(facts, groups_of(len(facts), alike([one.picture for one in facts]))):
        one.group = int(number)


def names_where(facts: Sequence[Facts], holds: Callable[[Facts], bool]) -> tuple[str, ...]:
    return tuple(one.name for one in facts if holds(one))


def extremes(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Masks without positives, and masks of nothing else."""
    empty = names_where(facts, lambda one: one.share == 0)
    full = names_where(facts, lambda one: one.share == 1)
    if facts and len(empty) == len(facts):
        yield Finding("warning", "empty", (), f"all masks are empty: {len(facts)}",
                      "There is nothing to learn.",
                      "Look at their levels: white must mean crack (or road).")
    elif empty:
        yield Finding("warning", "empty", empty, f"empty masks: {len(empty)} of {len(facts)}",
                      "Pictures without cracks teach only what is none, and an image's own IoU is "
                      "undefined there.", "Check that nothing was forgotten in them.")
    if full:
        yield Finding("warning", "full", full, f"masks that are positive everywhere: {len(full)}",
                      "A loss learns from them to claim all.", "Check them, or leave them out.")


def inverted(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Masks of more crack than ground."""
    found = names_where(facts, lambda one: INVERTED_FROM < one.share < 1)
    if found:
        yield Finding("warning", "inverted", found, "masks positive over more than half of their "
                      f"picture: {len(found)}", "A crack never is: black and white are "
                      "probably exchanged, and the network would learn the background.",
                      "Invert them.")


def greys(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Masks with levels between black and white, as JPEG and resizing leave them."""
    grey = [one for one in facts if one.grey > 0.0005 and one.share > 0]
    if grey:
        low, own, high = (100 * np.mean(shares) for shares in zip(
            *((one.other_shares[0], one.share, one.other_shares[1]) for one in grey)))
        yield Finding("warning", "grey", tuple(one.name for one in grey),
                      f"masks with grey levels: {len(grey)}; cut at 96, mask_threshold and 160 they"
                      f" have {low:.2f}, {own:.2f} and {high:.2f} % positive pixels",
                      "The level decides how wide a crack is.",
                      "Choose mask_threshold on purpose and report it.")


def misplaced(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Masks that fit their picture better elsewhere, or turned."""
    known = [one for one in facts if one.fit is not None]
    turned = names_where(known, lambda one: one.fit.turned > 0.3
                         and one.fit.here < one.fit.turned / 2)
    shifted = [one for one in known if one.name not in turned and one.fit.best > 0.3
               and one.fit.here < 0.6 * one.fit.best and max(map(abs, one.fit.shift)) > 3]
    if turned:
        yield Finding("warning", "turned", turned, "masks that fit their picture better turned or "
                      f"mirrored: {len(turned)}", "The network would learn from wrong pixels.",
                      "Compare them by eye; apply the EXIF orientation to both or to none.")
    if shifted:
        shift = np.median([one.fit.shift for one in shifted], axis=0).astype(int)
        yield Finding("warning", "shifted", tuple(one.name for one in shifted),
                      f"masks beside the dark lines of their picture: {len(shifted)}, by "
                      f"{shift[0]} rows and {shift[1]} columns in the median",
                      "Fine cracks are then wholly mislabelled.",
                      "Compare them by eye, and shift or redraw them.")


def twins(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Pictures that show the same thing; across parts that leaks."""
    members = defaultdict(list)
    for one in facts:
        members[one.group].append(one)
    several = [some for some in members.values() if len(some) > 1]
    names = tuple(" = ".join(one.name for one in some) for some in several)
    if not several:
        return
    count, share = sum(map(len, several)), leaked(np.array([one.group for one in facts]))
    if facts[0].part == UNDIVIDED:
        yield Finding("warning", "twins", names, "pictures that show what another shows, turned "
                      f"and mirrored ones included: {count}, in {len(several)} groups",
                      f"A random split of a fifth would leave {share:.0f} % of its test "
                      "pictures with a twin in the training part, known by heart.",
                      "The split made here keeps groups together; so must lists of your own.")
        return
    across = [some for some in several if len({one.part for one in some}) > 1]
    if across:
        yield Finding("warning", "leak", tuple(
            " = ".join(f"{one.part}/{one.name}" for one in some) for some in across),
            f"groups of pictures of the same thing that lie in several parts: {len(across)}",
            "The test part is partly known from training: its scores are too high.",
            "Keep each group in one part, or say so beside the results.")


def leaked(groups: np.ndarray, draws: int = 100) -> float:
    """Percent of a random test fifth that has a twin in the rest: the mean over seeded draws."""
    chance, shares = np.random.default_rng(0), []
    for _ in range(draws):
        test = np.zeros(len(groups), bool)
        test[chance.permutation(len(groups))[:max(1, len(groups) // 5)]] = True
        shares.append(np.isin(groups[test], groups[~test]).mean())
    return 100 * float(np.mean(shares))


def sequences(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Videos whose frames lie in several parts."""
    frames = defaultdict(list)
    for one in facts:
        if (found := SEQUENCE.match(one.name)):
            frames[found[1].rstrip("_-")].append((int(found[2]), one))
    parts_of = {name: Counter(one.part for _, one in some) for name, some in frames.items()}
    cut = {name: parts for name, parts in parts_of.items() if len(parts) > 1 and is_video(
        [one for _, one in sorted(frames[name], key=lambda frame: frame[0])])}
    if cut:
        yield Finding("warning", "sequence", tuple(
            f"{name}: {', '.join(f'{count} {part}' for part, count in parts.items())}"
            for name, parts in sorted(cut.items())),
            f"sequences whose frames lie in several parts: {len(cut)}",
            "Neighbouring frames show the same street: scores on the test part are too high.",
            "Divide by sequence, or say so beside the results.")


def is_video(frames: Sequence[Facts]) -> bool:
    """Whether neighbours are more alike than frames that are far apart (20 frames, at least)."""
    def likeness(apart: int) -> float:
        levels = [frame.picture.reshape(-1) for frame in frames]
        return float(np.median([np.corrcoef(one, other)[0, 1]
                                for one, other in zip(levels, levels[apart:])]))

    return len(frames) >= 20 and likeness(1) > likeness(len(frames) // 2) + 0.08


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
    yield Finding("note", "shares", (), f"{len(facts)} pairs, {often} of them {height} x {width}; "
                  f"positive pixels: {shares.mean():.2f} % in the mean, {np.median(shares):.2f} % "
                  f"in the median picture{wide}", f"The papers: {PAPER_SHARES}."
                  if np.isfinite(widths).any() else "", "Scores are comparable only between sets "
                  "of like shares.")


CHECKS = {"cracks": (extremes, inverted, greys, misplaced, twins, facts_to_know),
          "roads": (extremes, greys, twins, sequences, facts_to_know)}
