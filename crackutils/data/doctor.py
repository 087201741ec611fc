"""What is wrong with a folder of pictures and masks, said before hours are lost on it.

`examine(folder)` gives findings; `str(finding)` is the sentence. Errors would stop a training,
warnings make its result doubtful, notes are facts to know.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import scipy.fft
from tqdm import tqdm

from crackutils.data.decoding import decode, stored_grey_levels
from crackutils.data.layouts import SUFFIXES, UNDIVIDED, Layout, recognise
from crackutils.data.samples import DataError, Files, file_errors
from crackutils.data.split import alike, divided, groups_of, positions, reduced
from crackutils.protocol import Protocol, preset

SIDE = 256  # shifts are looked for in pictures reduced to at most this
SMALLEST = 100  # px: in less, a few dark pixels decide
FARTHEST = 0.15  # shifts up to this share of the side
LEVELS = (96, 160)  # where else a grey mask may be cut


@dataclass
class Facts:
    """Of one pair; `error` says why there are no others."""

    name: str
    part: str
    error: str | None = None
    size: tuple[int, int] = (0, 0)  # (height, width)
    share: float = 0.0  # of the positive class
    other_shares: tuple[float, ...] = ()  # of a grey mask, were it cut at LEVELS
    grey: float = 0.0  # share of a grey mask's pixels that are neither black nor white
    group: int = -1  # what shows the same thing has the same
    picture: np.ndarray | None = field(default=None, repr=False)  # reduced
    width: float = np.nan  # mean width of the cracks, px
    fit: "Fit | None" = None


@dataclass
class Fit:
    """How well dark lines lie under the mask: correlations, and the shift (rows, columns) in px
    that fits best; `turned` is the best correlation of the mask in another position."""

    here: float
    best: float
    shift: tuple[int, int]
    turned: float


def inspect(part: str, files: Files, layout: Layout, protocol: Protocol) -> Facts:
    """The facts of a pair."""
    try:
        with file_errors():
            contents = files.contents()
        sample = decode(files, contents, layout, protocol)
        levels = None if layout.labels else stored_grey_levels(files.mask, contents[1])
    except DataError as error:
        return Facts(files.name, part, str(error))
    grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
    facts = Facts(files.name, part, size=sample.mask.shape, share=float((sample.mask > 0).mean()),
                  picture=reduced(grey))
    if levels is not None:
        counts = np.bincount(levels.reshape(-1), minlength=256) / levels.size
        facts.grey = float(counts[16:240].sum())
        facts.other_shares = tuple(float(counts[level:].sum()) for level in LEVELS)
    if protocol.task == "cracks" and 0 < facts.share < 0.5:
        facts.width = mean_width(sample.mask)
        if min(grey.shape) >= SMALLEST:
            facts.fit = fit_of(grey, sample.mask)
    return facts


def mean_width(mask: np.ndarray) -> float:
    """About the mean width of a mask's bands: the pixels of a band of width w lie w / 4 from its
    edge in the mean. Of 1 px it says 2; from 2 px on it errs by less than a sixth."""
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(4 * (distance[distance > 0] - 0.5).mean())


def fit_of(grey: np.ndarray, mask: np.ndarray) -> Fit:
    """Correlate the mask with what is darker than its surroundings, over shifts and positions."""
    factor = min(1.0, SIDE / max(grey.shape))
    size = tuple(max(8, round(length * factor)) for length in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    lines = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    dark = np.maximum(cv2.GaussianBlur(small, (0, 0), 6) - small, 0)
    dark, lines = (unit(cv2.GaussianBlur(one, (0, 0), 1)) for one in (dark, lines))
    spectrum = scipy.fft.rfft2(dark)
    by_shift = scipy.fft.irfft2(spectrum * scipy.fft.rfft2(lines).conj(), s=dark.shape)
    most = [max(1, round(FARTHEST * length)) for length in dark.shape]
    near = np.roll(by_shift, most, (0, 1))[:2 * most[0] + 1, :2 * most[1] + 1]
    row, column = np.unravel_index(near.argmax(), near.shape)
    shift = (round((row - most[0]) / factor), round((column - most[1]) / factor))
    others = [one for one in positions(lines)[1:] if one.shape == dark.shape]
    here = near[most[0] - 1:most[0] + 2, most[1] - 1:most[1] + 2].max()
    return Fit(float(here), float(near.max()), shift,
               max(float((dark * one).sum()) for one in others))


def unit(picture: np.ndarray) -> np.ndarray:
    """Of mean 0 and norm 1."""
    picture = picture - picture.mean()
    return picture / max(float(np.linalg.norm(picture)), 1e-6)


SHOWN = 5  # names in a sentence
INVERTED_FROM = 0.5  # cracks never cover half a picture
SHARE_OF_REGIONS = 0.15  # nor this much of most
LEAST_FIT = 0.1  # right masks: .5 in the median of photographs; other pictures' masks: .02


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


def regions(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Masks of roads, or of something else that is no crack."""
    if are_regions(facts):
        yield Finding("warning", "regions", (), "positive pixels cover more than "
                      f"{SHARE_OF_REGIONS:.0%} of most pictures", "Cracks never do: these look "
                      "like regions, such as roads.", "Examine them as roads: "
                      "examine(folder, preset(\"paper\", \"roads\")), in notebook 01 -p roads.")


def are_regions(facts: Sequence[Facts]) -> bool:
    """Whether most masks are too large for cracks, and not merely inverted."""
    return SHARE_OF_REGIONS < np.median([one.share for one in facts] or [0]) < INVERTED_FROM


def misplaced(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Masks that fit their picture better elsewhere, or turned, or not at all."""
    known = [one for one in facts if one.fit is not None and not are_regions(facts)]
    turned = names_where(known, lambda one: one.fit.turned > 0.3
                         and one.fit.here < one.fit.turned / 2)
    shifted = [one for one in known if one.name not in turned and one.fit.best > 0.3
               and one.fit.here < 0.6 * one.fit.best and max(map(abs, one.fit.shift)) > 3]
    here = np.median([one.fit.here for one in known] or [1])
    if len(known) >= 5 and here < LEAST_FIT and 2 * len(turned + tuple(shifted)) < len(known):
        yield Finding("warning", "misfit", (), "masks do not lie on the dark lines of their "
                      f"pictures in most of {len(known)} pairs", "They are probably other "
                      "pictures' masks (a numbering that differs), or the cracks are brighter "
                      "than the ground.", "Compare some by eye.")
        return
    if turned:
        yield Finding("warning", "turned", turned, "masks that fit their picture better turned or "
                      f"mirrored: {len(turned)}", "The network would learn from wrong pixels.",
                      "Compare them by eye; apply the EXIF orientation to both or to none.")
    if shifted:
        yield shift_of(shifted)


def shift_of(shifted: Sequence[Facts]) -> Finding:
    """What is told of masks that lie beside their cracks."""
    shift = np.median([one.fit.shift for one in shifted], axis=0).astype(int)
    return Finding("warning", "shifted", tuple(one.name for one in shifted),
                   f"masks beside the dark lines of their picture: {len(shifted)}, by {shift[0]} "
                   f"rows and {shift[1]} columns in the median",
                   "Fine cracks are then wholly mislabelled.",
                   "Compare them by eye, and shift or redraw them.")


SEQUENCE = re.compile(r"^(.*\D)(\d{3,})$")  # a video's name, a frame's number


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
        with file_errors():
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
