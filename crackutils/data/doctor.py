"""The data doctor finds what is wrong with a folder of pictures and masks before a training.

`examine(folder)` returns findings, and `str(finding)` is its text. An error would stop a training,
a warning makes its result doubtful, a note is a fact to know.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import scipy.fft
from PIL import Image
from tqdm import tqdm

from crackutils.data import split
from crackutils.data.decoding import decode, describe_masks, memory_of, stored_values
from crackutils.data.folders import SUFFIXES, UNDIVIDED, UNREAD, files_below, first_names
from crackutils.data.layouts import Layout, recognise
from crackutils.data.masks import MaskValuesError
from crackutils.data.picture_cache import decode_in_order
from crackutils.data.samples import DataError, Files, file_errors, printable
from crackutils.files import resolve
from crackutils.protocol import Protocol, preset

LEVELS = ("error", "warning", "note")
NAMES_SHOWN = 5  # in a finding's text
PAPER_SHARES = "4.1 % of paper A's evaluation set, and at most 1.6 % of a fine-crack image"

OTHER_THRESHOLDS = (96, 160)  # levels at which a grey mask might be cut instead
HALF = 0.5  # cracks never cover this share of a picture ...
SHARE_OF_REGIONS = 0.15  # ... nor this share of most pictures
FIT_SIDE = 256  # px: a mask's fit is measured in pictures reduced to at most this
SMALLEST_FOR_FIT = 100  # px: in smaller pictures a few dark pixels decide
FARTHEST_SHIFT = 0.15  # of the side
LEAST_FIT = 0.1  # of the median mask: correct masks have .5, masks of other pictures .02
LEAST_DARK = 0.5  # of a mask's width: correct masks have .7 to 1, masks of three times that .4
LEAST_WIDTH = 6  # px: narrower masks are not examined for being too wide
SEARCH_OVERLAPS_UP_TO = 1_000  # pictures: with more of them the search takes many minutes


@dataclass(frozen=True)
class Finding:
    """What was found, why it matters, and what to do about it.

    `level` is "error", "warning" or "note", `kind` identifies the finding for programs, `files` are
    the names of the pairs or files concerned.
    """

    level: str
    kind: str
    files: tuple[str, ...]
    what: str
    why: str
    advice: str

    def __str__(self) -> str:
        named = ""
        if self.files:
            named = f" ({', '.join(self.files[:NAMES_SHOWN])}"
            if len(self.files) > NAMES_SHOWN:
                named += f" and {len(self.files) - NAMES_SHOWN} more"
            named += ")"
        sentences = [f"{self.level}: {self.what}{named}.", self.why, self.advice]
        return printable(" ".join(sentence for sentence in sentences if sentence))


@dataclass
class Fit:
    """How well a mask fits the dark lines of its picture, as correlations from -1 to 1.

    `here` is the correlation where the mask is (within a pixel), `best` the highest at any shift,
    found at `shift` (rows, columns; px), `turned` the highest of the mask turned or mirrored.
    """

    here: float
    best: float
    shift: tuple[int, int]
    turned: float


@dataclass
class PairFacts:
    """What is measured of one pair; for a pair that can't be read, only `error` is known."""

    name: str
    part: str
    error: str | None = None
    unclear: bool = False  # whether the error is that it isn't known which values are positive
    oversize: tuple[int, int] | None = None  # rows and columns of a mask beyond its image's
    size: tuple[int, int] = (0, 0)  # (height, width)
    share: float = 0.0  # of positive pixels
    other_shares: tuple[float, ...] = ()  # of a grey mask, if it were cut at OTHER_THRESHOLDS
    grey: float = 0.0  # share of a grey mask's pixels that are neither black nor white
    width: float = np.nan  # px: mean width of the cracks
    fit: Fit | None = None
    dark: float = np.nan  # share of a wide mask's width below which the picture is dark
    appearance: split.Appearance | None = field(default=None, repr=False)
    duplicate_group: int = -1  # the same for the copies of one photograph
    content_group: int = -1  # the same for pictures that show the same place
    video: int = -1  # the same for the frames of one video


def examine(folder: str | Path, protocol: Protocol | None = None,
            overlaps: bool = True) -> list[Finding]:
    """The findings of a data folder, errors first; the folder is not changed.

    `protocol` (default: paper A's) gives the task, the layout if one was chosen, and the level from
    which a grey mask is positive. Without `overlaps`, pictures are not compared for views of the
    same place, which takes most of the time.
    """
    protocol, folder = protocol or preset("paper"), resolve(folder)
    try:
        layout = recognise(folder, protocol.layout)
        with file_errors():
            parts = layout.parts(folder)
            unused = unused_pictures(folder, parts)
    except DataError as error:
        return [Finding("error", "folder", (), str(error).rstrip("."), "Nothing can be read.",
                        "Correct this first, then examine the folder again.")]
    jobs = [(part, files) for part, members in parts.items() for files in members]
    with_overlaps = overlaps and protocol.task == "cracks" and len(jobs) <= SEARCH_OVERLAPS_UP_TO
    inspected = decode_in_order(jobs, lambda job: inspect(*job, layout, protocol, with_overlaps),
                                lambda job: memory_of(job[1]))
    facts = list(tqdm(inspected, "examining", len(jobs), unit="pair", file=sys.stdout,
                      mininterval=2, delay=2))
    readable = [one for one in facts if one.error is None]
    set_groups(readable)
    findings = [*unreadable_pairs([one for one in facts if one.error and not one.unclear]), *unused]
    unclear = names_where(facts, lambda one: one.unclear)
    if unclear or (readable and not any(one.share for one in readable)):
        first = next((one.error for one in facts if one.unclear), "No mask has a positive pixel.")
        sentence = describe_masks(folder, [files for _, files in jobs], protocol, first)
        findings.append(Finding("error", "masks", unclear, sentence.rstrip("."), "", ""))
    for check in CHECKS[protocol.task]:
        findings += check(readable)
    if overlaps and protocol.task == "cracks" and not with_overlaps:
        findings.append(Finding(
            "note", "overlaps", (), "overlapping photographs were not looked for: there are more "
            f"than {SEARCH_OVERLAPS_UP_TO:,} pairs", "",
            "The division into parts looks for them." if UNDIVIDED in parts else ""))
    if UNDIVIDED in parts and len(readable) == len(jobs):
        try:
            videos_here = indices_by(facts, "video")
            together = split.neighbours([*videos_here, *indices_by(facts, "content_group")])
            split.divide(folder, parts[UNDIVIDED], split.connected(len(facts), together),
                         videos_here)
        except DataError as error:
            findings.append(Finding("error", "split", (), str(error).rstrip("."), "", ""))
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def inspect(part: str, files: Files, layout: Layout, protocol: Protocol,
            with_details: bool) -> PairFacts:
    """Measure one pair; if it can't be read, the facts hold the error."""
    try:
        with file_errors():
            contents = files.contents()
        sample = decode(files, contents, layout, protocol)
        look = split.appearance(files.image, contents[0], with_details)
        values = None if layout.labels else stored_values(files.mask, contents[1], protocol)
    except DataError as error:
        return PairFacts(files.name, part, str(error), isinstance(error, MaskValuesError),
                         oversize_of(files))
    cracks = (sample.mask == 1).astype(np.uint8)  # without ignored pixels
    share = float(cracks.mean())
    facts = PairFacts(files.name, part, size=sample.mask.shape, share=share, appearance=look)
    if values is not None and values.kind == "level" and protocol.positive is None:
        shares = np.bincount(values.array.reshape(-1), minlength=256) / values.array.size
        facts.grey = float(shares[16:240].sum())
        facts.other_shares = tuple(float(shares[level:].sum()) for level in OTHER_THRESHOLDS)
    if protocol.task == "cracks" and 0 < share < HALF:
        facts.width = mean_width(cracks)
        if min(sample.mask.shape) >= SMALLEST_FOR_FIT:
            grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
            facts.fit = fit_of(grey, cracks)
            if facts.width >= LEAST_WIDTH:
                facts.dark = dark_share(grey, cracks, facts.width)
    return facts


def oversize_of(files: Files) -> tuple[int, int] | None:
    """The rows and columns that a mask has more than its image, as stored; None if not known."""
    with suppress(OSError, ValueError), Image.open(files.image) as image, \
            Image.open(files.mask) as mask:
        return mask.height - image.height, mask.width - image.width
    return None


def set_groups(facts: Sequence[PairFacts]) -> None:
    """Set each picture's duplicate group, content group and video; without details the two groups
    are equal."""
    duplicates, overlaps, videos = split.related([one.name for one in facts],
                                                 [one.appearance for one in facts])
    for number, frames in enumerate(videos):
        for index in frames:
            facts[index].video = number
    duplicate_groups = split.connected(len(facts), duplicates)
    content_groups = split.connected(len(facts), duplicates + overlaps)
    for one, duplicate_group, content_group in zip(facts, duplicate_groups, content_groups):
        one.duplicate_group, one.content_group = int(duplicate_group), int(content_group)


def mean_width(mask: np.ndarray) -> float:
    """The approximate mean width of a mask's bands in px.

    The pixels of a band of width w lie on average w / 4 from its edge. For a band of 1 px the
    result is 2; from 2 px on its error is below a sixth.
    """
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(4 * (distance[distance > 0] - 0.5).mean())


def fit_of(grey: np.ndarray, mask: np.ndarray) -> Fit:
    """Correlate a mask, also shifted, turned or mirrored, with what is darker than around it."""
    factor = min(1.0, FIT_SIDE / max(grey.shape))
    size = tuple(max(8, round(length * factor)) for length in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    lines = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    dark = np.maximum(cv2.GaussianBlur(small, (0, 0), 6) - small, 0)
    dark = normalised(cv2.GaussianBlur(dark, (0, 0), 1))
    lines = normalised(cv2.GaussianBlur(lines, (0, 0), 1))
    product = scipy.fft.rfft2(dark) * scipy.fft.rfft2(lines).conj()
    by_shift = scipy.fft.irfft2(product, s=dark.shape)
    most = [max(1, round(FARTHEST_SHIFT * length)) for length in dark.shape]
    near = np.roll(by_shift, most, (0, 1))[:2 * most[0] + 1, :2 * most[1] + 1]
    row, column = np.unravel_index(near.argmax(), near.shape)
    shift = (round((row - most[0]) / factor), round((column - most[1]) / factor))
    here = near[most[0] - 1:most[0] + 2, most[1] - 1:most[1] + 2].max()
    turned = [float((dark * position).sum()) for position in split.eight_positions(lines)[1:]
              if position.shape == dark.shape]
    return Fit(float(here), float(near.max()), shift, max(turned))


def dark_share(grey: np.ndarray, mask: np.ndarray, width: float) -> float:
    """How dark a picture is below a mask on average, as a share of how dark it is below the mask's
    centre lines; NaN if it is not dark there. Beside the mask is what is not dark."""
    inside = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    centre = inside[1:-1, 1:-1] > 0.375 * width  # the inner quarter of the width
    beside = (outside > 2) & (outside < 2 + width)
    if not centre.any() or not beside.any():
        return float("nan")
    ground = grey[beside].mean()
    darkness = ground - grey[centre].mean()
    return float((ground - grey[mask > 0].mean()) / darkness) if darkness > 0 else float("nan")


def normalised(picture: np.ndarray) -> np.ndarray:
    """The picture shifted and scaled to mean 0 and norm 1."""
    picture = picture - picture.mean()
    return picture / max(float(np.linalg.norm(picture)), 1e-6)


def unreadable_pairs(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """A finding for each of the first reasons why pairs can't be read, and one for all others."""
    why, alike = "A training would stop there.", defaultdict(list)
    for one in facts:
        alike[without_names(one.error)].append(one)
    ordered = sorted(alike.values(), key=len, reverse=True)
    for same in ordered[:NAMES_SHOWN]:
        what, advice = same[0].error.rstrip("."), ""
        if len(same) > 1:
            what = f"{len(same)} pairs can't be read for one reason: {what}"
            advice = "Correct what made them so, not each file."
        sizes = {one.oversize for one in same}
        if len(sizes) == 1 and sizes - {None, (0, 0)}:
            rows, columns = sizes.pop()
            advice = (f"The masks differ from their images by {rows:+} rows and {columns:+} "
                      "columns: add a missing edge in black or cut off one too many; export masks "
                      "that were scaled again at their images' size.")
        yield Finding("error", "unreadable", tuple(one.name for one in same), what, why, advice)
    others = tuple(one.name for same in ordered[NAMES_SHOWN:] for one in same)
    if others:
        yield Finding("error", "unreadable", others, f"{len(others)} more pairs can't be read", why,
                      "Correct the cause of the first ones, then examine the folder again.")


def without_names(error: str) -> str:
    """An error's text without paths of pictures and without numbers."""
    suffixes = "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES | {".mat"}))
    return re.sub(r"\d+", "0", re.sub(rf"/.*?(?:{suffixes})\b", "FILE", error, flags=re.IGNORECASE))


def unused_pictures(folder: Path, parts: dict[str, list[Files]]) -> list[Finding]:
    """Pictures below the folder that belong to no part."""
    used = {path for members in parts.values() for files in members for path in files[1:] if path}
    unused = [path for path in files_below(folder)
              if path.suffix.lower() in SUFFIXES | UNREAD and path not in used]
    if not unused:
        return []
    kinds = Counter(path.suffix.lower() for path in unused)
    counts = ", ".join(f"{number} {suffix}" + (" (not read)" if suffix in UNREAD else "")
                       for suffix, number in sorted(kinds.items()))
    return [Finding("note", "unused", tuple(path.relative_to(folder).as_posix() for path in unused),
                    f"{len(unused)} pictures are not used, beside {len(used)} that are: {counts}",
                    "They have no mask, are in no list, are of a kind that is not read (convert "
                    "them to PNG), or serve another purpose.",
                    "If you expected them to be used, check that every archive was unpacked.")]


def names_where(facts: Sequence[PairFacts], holds: Callable[[PairFacts], bool]) -> tuple[str, ...]:
    return tuple(one.name for one in facts if holds(one))


def empty_or_full(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Masks without positive pixels, and masks that are positive everywhere."""
    empty = names_where(facts, lambda one: one.share == 0)
    full = names_where(facts, lambda one: one.share == 1)
    if empty and len(empty) < len(facts):
        yield Finding("warning", "empty", empty, f"{len(empty)} of {len(facts)} masks are empty",
                      "Pictures without cracks only teach what is no crack, and the IoU of a "
                      "single such image is undefined.",
                      "Check that no crack was forgotten in them.")
    if full:
        yield Finding("warning", "full", full, f"{len(full)} masks are positive everywhere",
                      "They teach the network to mark everything.",
                      "Check them, or leave them out.")


def inverted(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Masks that are positive on more than half of their picture."""
    names = names_where(facts, lambda one: HALF < one.share < 1)
    if names:
        yield Finding("warning", "inverted", names,
                      f"{len(names)} masks are positive on more than half of their picture",
                      "Cracks never cover that much: black and white are probably exchanged, and "
                      "the network would learn the background.", "Invert these masks.")


def grey_masks(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Masks with levels between black and white, as JPEG and resizing leave them."""
    grey = [one for one in facts if one.grey > 0.0005 and one.share > 0]
    if grey:
        low, high = 100 * np.mean([one.other_shares for one in grey], axis=0)
        chosen = 100 * np.mean([one.share for one in grey])
        yield Finding("warning", "grey", tuple(one.name for one in grey),
                      f"{len(grey)} masks have grey levels; cut at {OTHER_THRESHOLDS[0]}, "
                      f"mask_threshold and {OTHER_THRESHOLDS[1]} they have {low:.2f}, {chosen:.2f} "
                      f"and {high:.2f} % positive pixels",
                      "The threshold decides how wide a crack is.",
                      "Choose mask_threshold deliberately and report it.")


def regions(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Masks of roads, or of something else that is no crack."""
    if are_regions(facts):
        yield Finding("warning", "regions", (), "positive pixels cover more than "
                      f"{SHARE_OF_REGIONS:.0%} of most pictures",
                      "Cracks never do: these masks mark regions, such as roads.",
                      "Examine them as roads: crackutils doctor --task roads FOLDER.")


def are_regions(facts: Sequence[PairFacts]) -> bool:
    """Whether most masks are too large for cracks, but not inverted."""
    if not facts:
        return False
    return SHARE_OF_REGIONS < np.median([one.share for one in facts]) < HALF


def misplaced(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Masks that would fit their picture better if moved or turned, or do not fit at all."""
    known = [one for one in facts if one.fit is not None]
    if not known or are_regions(facts):
        return
    turned = names_where(known, lambda one: one.fit.turned > 0.3
                         and one.fit.here < one.fit.turned / 2)
    shifted = [one for one in known if one.name not in turned and one.fit.best > 0.3
               and one.fit.here < 0.6 * one.fit.best and max(map(abs, one.fit.shift)) > 3]
    typical = np.median([one.fit.here for one in known])
    explained = len(turned) + len(shifted) >= len(known) / 2
    if len(known) >= 5 and typical < LEAST_FIT and not explained:
        yield Finding("warning", "misfit", (), f"most of {len(known)} masks do not lie on the dark "
                      "lines of their pictures",
                      "They probably belong to other pictures (a different numbering), or the "
                      "cracks are brighter than the ground.", "Compare some by eye.")
        return
    if turned:
        yield Finding("warning", "turned", turned,
                      f"{len(turned)} masks fit their picture better turned or mirrored",
                      "The network would learn from wrong pixels.",
                      "Compare them by eye; apply the EXIF orientation to picture and mask, or to "
                      "neither.")
    if shifted:
        rows, columns = np.median([one.fit.shift for one in shifted], axis=0).astype(int)
        yield Finding("warning", "shifted", tuple(one.name for one in shifted),
                      f"{len(shifted)} masks lie beside the dark lines of their picture, by {rows} "
                      f"rows and {columns} columns in the median",
                      "The labels of fine cracks are then entirely wrong.",
                      "Compare them by eye, and shift or redraw the masks.")


def same_content(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Duplicates and overlapping photographs; they matter where they lie in several parts."""
    by_content, by_duplicate = defaultdict(list), defaultdict(list)
    for one in facts:
        by_content[one.content_group].append(one)
        by_duplicate[one.duplicate_group].append(one)
    if not facts or facts[0].part != UNDIVIDED:
        leaks = [group for group in by_content.values() if len({one.part for one in group}) > 1]
        if leaks:
            yield Finding("warning", "leak", tuple(
                " = ".join(f"{one.part}/{one.name}" for one in group) for group in leaks),
                f"{len(leaks)} groups of pictures that show the same lie in several parts",
                "The network has seen part of the test pictures in training: their scores are too "
                "high.", "Keep each group in one part, or report it beside the scores.")
        return
    duplicates = [group for group in by_duplicate.values()
                  if len(group) > 1 and not is_of_one_video(group)]
    overlaps = [group for group in by_content.values() if not is_of_one_video(group)
                and len({one.duplicate_group for one in group}) > 1]
    advice = "The division into parts made here keeps them together; lists of your own must, too."
    if duplicates:
        share = percent_seen_in_training([one.duplicate_group for one in facts])
        yield Finding("warning", "duplicates", group_names(duplicates),
                      f"{sum(map(len, duplicates))} pictures are duplicates, in {len(duplicates)} "
                      "groups; turned and mirrored ones are included",
                      f"A random division would leave {share:.0f} % of the test pictures with a "
                      "duplicate in training.", advice)
    if overlaps:
        share = percent_seen_in_training([one.content_group for one in facts])
        yield Finding("warning", "overlaps", group_names(overlaps),
                      f"{sum(map(len, overlaps))} pictures show a place that another one shows, in "
                      f"{len(overlaps)} groups",
                      f"A random division would leave {share:.0f} % of the test pictures with such "
                      "a picture in training.", advice)


def is_of_one_video(group: Sequence[PairFacts]) -> bool:
    """Whether all pictures are frames of the same video."""
    return group[0].video >= 0 and len({one.video for one in group}) == 1


def group_names(groups: Sequence[Sequence[PairFacts]]) -> tuple[str, ...]:
    return tuple(first_names([one.name for one in group], " = ") for group in groups)


def percent_seen_in_training(groups: Sequence[int], draws: int = 100) -> float:
    """The percentage of a random fifth that shares a group with the rest, on average."""
    groups, generator = np.array(groups), np.random.default_rng(0)
    shares = []
    for _ in range(draws):
        order = generator.permutation(len(groups))
        size = max(1, len(groups) // 5)
        shares.append(np.isin(groups[order[:size]], groups[order[size:]]).mean())
    return 100 * float(np.mean(shares))


def videos(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Videos of a set that is to be divided, and those whose frames lie in several parts."""
    divided, undivided, frames = [], [], 0
    for indices in indices_by(facts, "video"):
        title, _ = split.video_and_frame(facts[indices[0]].name)
        counts = Counter(facts[index].part for index in indices)
        if UNDIVIDED in counts:
            undivided.append(f"{title}: {len(indices)} frames")
            frames += len(indices)
        elif len(counts) > 1:
            listed = ", ".join(f"{count} {part}" for part, count in counts.items())
            divided.append(f"{title}: {listed}")
    if undivided:
        with_two_neighbours = 1 - 2 * len(undivided) / frames  # the first and last frames have one
        percent = 100 * (0.96 * with_two_neighbours + 0.8 * (1 - with_two_neighbours))
        yield Finding("warning", "videos", tuple(undivided),
                      f"{frames} pictures are frames of videos",
                      f"A random division would leave {percent:.0f} % of the test frames beside a "
                      "frame of the training part.",
                      "The division into parts made here keeps a video in one part, or cuts it "
                      "into three stretches; lists of your own should, too.")
    if divided:
        yield Finding("warning", "sequence", tuple(divided),
                      f"{len(divided)} videos have frames in several parts",
                      "Neighbouring frames show the same place: scores on the test part are too "
                      "high.", "Divide by video, or report it beside the scores.")


def indices_by(facts: Sequence[PairFacts], group: str) -> list[list[int]]:
    """The indices of the pictures of each group, or of each video, by frame number."""
    indices = defaultdict(list)
    for index, one in enumerate(facts):
        if getattr(one, group) >= 0:
            indices[getattr(one, group)].append(index)
    return [sorted(same, key=lambda index: split.video_and_frame(facts[index].name) or ("", 0))
            for same in indices.values()]


def wide_masks(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Masks that are far wider than what is dark below them."""
    known = [one for one in facts if np.isfinite(one.dark) and one.fit.here > LEAST_FIT]
    if len(known) < 5 or are_regions(facts):
        return
    share = np.median([one.dark for one in known])
    if share < LEAST_DARK:
        width = np.median([one.width for one in known])
        yield Finding("warning", "wide", tuple(one.name for one in known if one.dark < LEAST_DARK),
                      f"masks are {width:.0f} px wide in the median picture, of which only about "
                      f"{share * width:.0f} px are dark",
                      "The network would learn to mark cracks too wide, and scores by pixel would "
                      "be of the ground beside them.",
                      "Compare some by eye: masks that were drawn with a broad brush or made wider "
                      "should be drawn or thinned to the crack's own edges.")


def shares_and_sizes(facts: Sequence[PairFacts]) -> Iterator[Finding]:
    """Numbers of pairs, sizes, shares of positive pixels and widths, beside the papers'."""
    if not facts:
        return
    shares = 100 * np.array([one.share for one in facts])
    widths = np.array([one.width for one in facts])
    (height, width), number = Counter(one.size for one in facts).most_common(1)[0]
    parts = Counter(one.part for one in facts)
    division = ", ".join(f"{count} {part}" for part, count in parts.items())
    if UNDIVIDED in parts:
        division = "to be divided"
    what = (f"{len(facts)} pairs ({division}), {number} of them {height} x {width}; positive "
            f"pixels: {shares.mean():.2f} % in the mean, {np.median(shares):.2f} % in the median "
            "picture")
    why = ""
    if np.isfinite(widths).any():
        what += f"; cracks are about {np.nanmedian(widths):.1f} px wide in the median picture"
        why = f"The papers: {PAPER_SHARES}."
    yield Finding("note", "shares", (), what, why,
                  "Scores are comparable only between sets of similar shares.")


CHECKS = {"cracks": (empty_or_full, inverted, grey_masks, regions, misplaced, wide_masks,
                     same_content, videos, shares_and_sizes),
          "roads": (empty_or_full, grey_masks, same_content, videos, shares_and_sizes)}
