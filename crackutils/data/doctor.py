"""The data doctor finds what is wrong with a folder of pictures and masks before a training.

`examine(folder)` returns findings, and `str(finding)` is its text. An error would stop a training,
a warning makes its result doubtful, a note is a fact to know.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import scipy.fft
from PIL import Image
from tqdm import tqdm

from crackutils.data import split
from crackutils.data.decoding import decode, describe_masks, memory_of, stored_values
from crackutils.data.folders import (
    NAMES_SHOWN,
    SUFFIXES,
    UNDIVIDED,
    UNREAD,
    files_below,
    first_names,
)
from crackutils.data.layouts import Layout, recognise
from crackutils.data.masks import MaskValuesError
from crackutils.data.picture_cache import decode_in_order
from crackutils.data.samples import DataError, Files, file_errors, printable
from crackutils.files import resolve
from crackutils.protocol import Protocol, preset

LEVELS = ("error", "warning", "note")
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
    files: Sequence[str]
    what: str
    why: str = ""
    advice: str = ""

    def __str__(self) -> str:
        named = f" ({first_names(self.files)})" if self.files else ""
        sentences = [f"{self.level}: {self.what.rstrip('.')}{named}.", self.why, self.advice]
        return printable(" ".join(sentence for sentence in sentences if sentence))


warning = partial(Finding, "warning")


@dataclass
class PairFacts:
    """What is measured of one pair; for a pair that can't be read, only `error` is known.

    How well a mask fits the dark lines of its picture are correlations from -1 to 1: `here` where
    the mask is (within a pixel), `best` the highest at any shift, which is `down` and `right`
    pixels, and `turned` the highest of the mask turned or mirrored.
    """

    name: str
    part: str
    error: str | None = None
    unclear: bool = False  # whether the error is that it isn't known which values are positive
    oversize: tuple[int, int] | None = None  # rows and columns of a mask beyond its image's
    size: tuple[int, int] = (0, 0)  # (height, width)
    share: float = 0.0  # of positive pixels
    lower: float = 0.0  # the same of a grey mask, if it were cut at OTHER_THRESHOLDS ...
    higher: float = 0.0
    grey: float = 0.0  # share of a grey mask's pixels that are neither black nor white
    width: float = np.nan  # px: mean width of the cracks
    dark: float = np.nan  # share of a wide mask's width below which the picture is dark
    here: float = np.nan
    best: float = np.nan
    down: int = 0
    right: int = 0
    turned: float = np.nan
    appearance: split.Appearance | None = None


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
            findings = list(unused_pictures(folder, parts))
    except DataError as error:
        return [Finding("error", "folder", (), str(error), "Nothing can be read.",
                        "Correct this first, then examine the folder again.")]
    jobs = [(part, files) for part, members in parts.items() for files in members]
    overlaps = overlaps and protocol.task == "cracks"
    with_details = overlaps and len(jobs) <= SEARCH_OVERLAPS_UP_TO
    inspected = decode_in_order(jobs, lambda job: inspect(*job, layout, protocol, with_details),
                                lambda job: memory_of(job[1]))
    pairs = list(tqdm(inspected, "examining", len(jobs), unit="pair", file=sys.stdout,
                      mininterval=2, delay=2))
    readable = [pair for pair in pairs if pair.error is None]
    unclear = [pair for pair in pairs if pair.unclear]
    findings += unreadable_pairs([pair for pair in pairs if pair.error and not pair.unclear])
    if unclear or readable and not any(pair.share for pair in readable):
        first = unclear[0].error if unclear else "No mask has a positive pixel."
        sentence = describe_masks(folder, [files for _, files in jobs], protocol, first)
        findings.append(Finding("error", "masks", tuple(pair.name for pair in unclear), sentence))
    if readable:
        facts, groups, videos = compared(readable)
        for check in CHECKS[protocol.task]:
            findings += check(facts)
        if UNDIVIDED in parts and len(readable) == len(jobs):
            try:
                split.divide(folder, parts[UNDIVIDED], groups, videos)
            except DataError as error:
                findings.append(Finding("error", "split", (), str(error)))
    if overlaps and not with_details:
        findings.append(Finding(
            "note", "overlaps", (), "overlapping photographs were not looked for: there are more "
            f"than {SEARCH_OVERLAPS_UP_TO:,} pairs",
            advice="The division into parts looks for them." if UNDIVIDED in parts else ""))
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def inspect(part: str, files: Files, layout: Layout, protocol: Protocol,
            with_details: bool) -> PairFacts:
    """Measure one pair; if it can't be read, the facts hold the error."""
    try:
        with file_errors():
            contents = files.contents()
        sample = decode(files, contents, layout, protocol)
        look = split.appearance(files.image, contents[0], with_details)
        values = None
        if files.mask is not None and not layout.labels:
            values = stored_values(files.mask, contents[1], protocol)
    except DataError as error:
        return PairFacts(files.name, part, str(error), isinstance(error, MaskValuesError),
                         oversize_of(files))
    cracks = (sample.mask == 1).astype(np.uint8)  # without ignored pixels
    facts = PairFacts(files.name, part, size=sample.mask.shape, share=float(cracks.mean()),
                      appearance=look)
    if values is not None and values.kind == "level" and protocol.positive is None:
        shares = np.bincount(values.array.reshape(-1), minlength=256) / values.array.size
        facts.grey = float(shares[16:240].sum())
        facts.lower, facts.higher = (float(shares[level:].sum()) for level in OTHER_THRESHOLDS)
    if protocol.task == "cracks" and 0 < facts.share < HALF:
        facts.width = mean_width(cracks)
        if min(sample.mask.shape) >= SMALLEST_FOR_FIT:
            grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
            measure_fit(facts, grey, cracks)
            if facts.width >= LEAST_WIDTH:
                facts.dark = dark_share(grey, cracks, facts.width)
    return facts


def oversize_of(files: Files) -> tuple[int, int] | None:
    """The rows and columns that a mask has more than its image, as stored; None if not known."""
    with suppress(OSError, ValueError), Image.open(files.image) as image, \
            Image.open(files.mask or files.image) as mask:
        return mask.height - image.height, mask.width - image.width
    return None


def compared(pairs: list[PairFacts]) -> tuple[pd.DataFrame, np.ndarray, list[list[int]]]:
    """The facts as a table, each pair's group in a division, and the indices of videos' frames.

    Copies of one photograph share a `duplicate_group`, pictures of one place a `content_group`
    (without details the same); `video` and `frame` are numbers, and -1 for pictures of no video.
    """
    names, looks = [pair.name for pair in pairs], [pair.appearance for pair in pairs]
    duplicates, overlaps, videos = split.related(names, looks)
    facts = pd.DataFrame([vars(pair) for pair in pairs]).drop(columns="appearance")
    facts["duplicate_group"] = split.connected(len(pairs), duplicates)
    facts["content_group"] = split.connected(len(pairs), duplicates + overlaps)
    facts["video"] = facts["frame"] = -1
    for number, frames in enumerate(videos):
        facts.loc[frames, "video"], facts.loc[frames, "frame"] = number, range(len(frames))
    together = duplicates + overlaps + split.neighbours(videos)
    return facts, split.connected(len(pairs), together), videos


def mean_width(mask: np.ndarray) -> float:
    """The approximate mean width of a mask's bands in px.

    The pixels of a band of width w lie on average w / 4 from its edge. For a band of 1 px the
    result is 2; from 2 px on its error is below a sixth.
    """
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(4 * (distance[distance > 0] - 0.5).mean())


def measure_fit(facts: PairFacts, grey: np.ndarray, mask: np.ndarray) -> None:
    """Correlate a mask, also shifted, turned or mirrored, with what is darker than around it."""
    factor = min(1.0, FIT_SIDE / max(grey.shape))
    size = tuple(max(8, round(length * factor)) for length in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    lines = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    dark = np.maximum(cv2.GaussianBlur(small, (0, 0), 6) - small, 0)
    dark = split.normalised(cv2.GaussianBlur(dark, (0, 0), 1))
    lines = split.normalised(cv2.GaussianBlur(lines, (0, 0), 1))
    product = scipy.fft.rfft2(dark) * scipy.fft.rfft2(lines).conj()
    by_shift = scipy.fft.irfft2(product, s=dark.shape)
    most = [max(1, round(FARTHEST_SHIFT * length)) for length in dark.shape]
    near = np.roll(by_shift, most, (0, 1))[:2 * most[0] + 1, :2 * most[1] + 1]
    row, column = np.unravel_index(near.argmax(), near.shape)
    facts.down, facts.right = round((row - most[0]) / factor), round((column - most[1]) / factor)
    facts.here = float(near[most[0] - 1:most[0] + 2, most[1] - 1:most[1] + 2].max())
    facts.best = float(near.max())
    facts.turned = max(float((dark * turned).sum()) for turned in split.eight_positions(lines)[1:]
                       if turned.shape == dark.shape)


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


def unreadable_pairs(pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """A finding for each of the first reasons why pairs can't be read, and one for all others.
    Errors that differ in paths of pictures and in numbers alone have the same reason."""
    suffixes = "|".join(map(re.escape, SUFFIXES | {".mat"}))
    alike = defaultdict(list)
    for pair in pairs:
        reason = re.sub(rf"/.*?(?:{suffixes})\b", "FILE", pair.error, flags=re.IGNORECASE)
        alike[re.sub(r"\d+", "0", reason)].append(pair)
    unreadable = partial(Finding, "error", "unreadable", why="A training would stop there.")
    ordered = sorted(alike.values(), key=len, reverse=True)
    for same in ordered[:NAMES_SHOWN]:
        what, advice = same[0].error, ""
        if len(same) > 1:
            what = f"{len(same)} pairs can't be read for one reason: {what}"
            advice = "Correct what made them so, not each file."
        sizes = {pair.oversize for pair in same}
        if len(sizes) == 1 and sizes - {None, (0, 0)}:
            rows, columns = sizes.pop()
            advice = (f"The masks differ from their images by {rows:+} rows and {columns:+} "
                      "columns: add a missing edge in black or cut off one too many; export masks "
                      "that were scaled again at their images' size.")
        yield unreadable(tuple(pair.name for pair in same), what, advice=advice)
    others = tuple(pair.name for same in ordered[NAMES_SHOWN:] for pair in same)
    if others:
        yield unreadable(others, f"{len(others)} more pairs can't be read", advice="Correct the "
                         "cause of the first ones, then examine the folder again.")


def unused_pictures(folder: Path, parts: dict[str, list[Files]]) -> Iterator[Finding]:
    """Pictures below the folder that belong to no part."""
    used = {path for members in parts.values() for files in members for path in files[1:] if path}
    unused = [path for path in files_below(folder)
              if path.suffix.lower() in SUFFIXES | UNREAD and path not in used]
    if unused:
        names = tuple(path.relative_to(folder).as_posix() for path in unused)
        kinds = Counter(path.suffix.lower() for path in unused)
        counts = ", ".join(f"{number} {suffix}" + (" (not read)" if suffix in UNREAD else "")
                           for suffix, number in sorted(kinds.items()))
        yield Finding("note", "unused", names,
                      f"{len(unused)} pictures are not used, beside {len(used)} that are: {counts}",
                      "They have no mask, are in no list, are of a kind that is not read (convert "
                      "them to PNG), or serve another purpose.",
                      "If you expected them to be used, check that every archive was unpacked.")


def extreme_shares(facts: pd.DataFrame, task: str = "cracks") -> Iterator[Finding]:
    """Masks that are empty, positive everywhere, or (of cracks) on more than half of a picture."""
    empty, full = (tuple(facts.name[facts.share == share]) for share in (0, 1))
    if empty and len(empty) < len(facts):
        yield warning("empty", empty, f"{len(empty)} of {len(facts)} masks are empty",
                      "Pictures without cracks only teach what is no crack, and the IoU of a "
                      "single such image is undefined.",
                      "Check that no crack was forgotten in them.")
    if full:
        yield warning("full", full, f"{len(full)} masks are positive everywhere",
                      "They teach the network to mark everything.",
                      "Check them, or leave them out.")
    inverted = tuple(facts.name[(facts.share > HALF) & (facts.share < 1)])
    if inverted and task == "cracks":
        yield warning("inverted", inverted,
                      f"{len(inverted)} masks are positive on more than half of their picture",
                      "Cracks never cover that much: black and white are probably exchanged, and "
                      "the network would learn the background.", "Invert these masks.")


def grey_masks(facts: pd.DataFrame) -> Iterator[Finding]:
    """Masks with levels between black and white, as JPEG and resizing leave them."""
    grey = facts[(facts.grey > 0.0005) & (facts.share > 0)]
    if len(grey):
        low, chosen, high = 100 * grey[["lower", "share", "higher"]].mean()
        yield warning("grey", tuple(grey.name),
                      f"{len(grey)} masks have grey levels; cut at {OTHER_THRESHOLDS[0]}, "
                      f"mask_threshold and {OTHER_THRESHOLDS[1]} they have {low:.2f}, {chosen:.2f} "
                      f"and {high:.2f} % positive pixels",
                      "The threshold decides how wide a crack is.",
                      "Choose mask_threshold deliberately and report it.")


def crack_masks(facts: pd.DataFrame) -> Iterator[Finding]:
    """Masks of roads, or of something else that is no crack; only others are examined further."""
    if SHARE_OF_REGIONS < facts.share.median() < HALF:
        yield warning("regions", (), "positive pixels cover more than "
                      f"{SHARE_OF_REGIONS:.0%} of most pictures",
                      "Cracks never do: these masks mark regions, such as roads.",
                      "Examine them as roads: crackutils doctor --task roads FOLDER.")
    else:
        yield from misplaced(facts[facts.here.notna()])
        yield from wide_masks(facts[facts.dark.notna() & (facts.here > LEAST_FIT)])


def misplaced(facts: pd.DataFrame) -> Iterator[Finding]:
    """Masks that would fit their picture better if moved or turned, or do not fit at all."""
    is_turned = (facts.turned > 0.3) & (facts.here < facts.turned / 2)
    is_shifted = (~is_turned & (facts.best > 0.3) & (facts.here < 0.6 * facts.best)
                  & (facts[["down", "right"]].abs().max(axis=1) > 3))
    turned, shifted = facts[is_turned], facts[is_shifted]
    explained = len(turned) + len(shifted) >= len(facts) / 2
    if len(facts) >= 5 and facts.here.median() < LEAST_FIT and not explained:
        yield warning("misfit", (), f"most of {len(facts)} masks do not lie on the dark lines of "
                      "their pictures", "They probably belong to other pictures (a different "
                      "numbering), or the cracks are brighter than the ground.",
                      "Compare some by eye.")
        return
    if len(turned):
        yield warning("turned", tuple(turned.name),
                      f"{len(turned)} masks fit their picture better turned or mirrored",
                      "The network would learn from wrong pixels.",
                      "Compare them by eye; apply the EXIF orientation to picture and mask, or to "
                      "neither.")
    if len(shifted):
        rows, columns = shifted[["down", "right"]].median().astype(int)
        yield warning("shifted", tuple(shifted.name),
                      f"{len(shifted)} masks lie beside the dark lines of their picture, by {rows} "
                      f"rows and {columns} columns in the median",
                      "The labels of fine cracks are then entirely wrong.",
                      "Compare them by eye, and shift or redraw the masks.")


def wide_masks(facts: pd.DataFrame) -> Iterator[Finding]:
    """Masks that are far wider than what is dark below them."""
    if len(facts) >= 5 and facts.dark.median() < LEAST_DARK:
        width = facts.width.median()
        yield warning("wide", tuple(facts.name[facts.dark < LEAST_DARK]),
                      f"masks are {width:.0f} px wide in the median picture, of which only about "
                      f"{facts.dark.median() * width:.0f} px are dark",
                      "The network would learn to mark cracks too wide, and scores by pixel would "
                      "be of the ground beside them.",
                      "Compare some by eye: masks that were drawn with a broad brush or made wider "
                      "should be drawn or thinned to the crack's own edges.")


def same_content(facts: pd.DataFrame) -> Iterator[Finding]:
    """Duplicates and overlapping photographs; they matter where they lie in several parts."""
    alike, copies = groups_by(facts, "content_group"), groups_by(facts, "duplicate_group")
    if facts.part[0] != UNDIVIDED:
        leaks = [group.part + "/" + group.name for group in alike if group.part.nunique() > 1]
        if leaks:
            yield warning("leak", tuple(map(" = ".join, leaks)), f"{len(leaks)} groups of pictures "
                          "that show the same lie in several parts",
                          "The network has seen part of the test pictures in training: their "
                          "scores are too high.",
                          "Keep each group in one part, or report it beside the scores.")
        return
    overlaps = [group for group in alike if group.duplicate_group.nunique() > 1]
    for kind, groups, column, what, such in (
            ("duplicates", copies, "duplicate_group", "{} pictures are duplicates, in {} groups; "
             "turned and mirrored ones are included", "a duplicate"),
            ("overlaps", overlaps, "content_group", "{} pictures show a place that another one "
             "shows, in {} groups", "such a picture")):
        groups = [group for group in groups  # frames of one video are kept together in any case
                  if group.video.min() < 0 or group.video.nunique() > 1]
        if groups:
            percent = percent_seen_in_training(facts[column].to_numpy())
            yield warning(kind, tuple(first_names(list(group.name), " = ") for group in groups),
                          what.format(sum(map(len, groups)), len(groups)),
                          f"A random division would leave {percent:.0f} % of the test pictures "
                          f"with {such} in training.", "The division into parts made here keeps "
                          "them together; lists of your own must, too.")


def groups_by(facts: pd.DataFrame, column: str) -> list[pd.DataFrame]:
    """The groups of two pairs or more that a column tells apart, in the order of their numbers."""
    repeated = facts[facts.duplicated(column, keep=False)]
    return [group for _, group in repeated.groupby(column)]


def percent_seen_in_training(groups: np.ndarray, draws: int = 100) -> float:
    """The percentage of a random fifth that shares a group with the rest, on average."""
    generator, size, shares = np.random.default_rng(0), max(1, len(groups) // 5), []
    for _ in range(draws):
        order = generator.permutation(len(groups))
        shares.append(np.isin(groups[order[:size]], groups[order[size:]]).mean())
    return 100 * float(np.mean(shares))


def videos(facts: pd.DataFrame) -> Iterator[Finding]:
    """Videos of a set that is to be divided, and those whose frames lie in several parts."""
    frames = facts[facts.video >= 0].sort_values("frame", kind="stable")
    divided, undivided = [], []
    for _, video in frames.groupby("video", sort=False):
        title, _ = split.video_and_frame(video.name.iloc[0])
        counts = Counter(video.part)
        if UNDIVIDED in counts:
            undivided.append(f"{title}: {len(video)} frames")
        elif len(counts) > 1:
            listed = ", ".join(f"{count} {part}" for part, count in counts.items())
            divided.append(f"{title}: {listed}")
    if undivided:
        with_two_neighbours = 1 - 2 * len(undivided) / len(frames)  # first and last frames have one
        percent = 100 * (0.96 * with_two_neighbours + 0.8 * (1 - with_two_neighbours))
        yield warning("videos", tuple(undivided), f"{len(frames)} pictures are frames of videos",
                      f"A random division would leave {percent:.0f} % of the test frames beside a "
                      "frame of the training part.",
                      "The division into parts made here keeps a video in one part, or cuts it "
                      "into three stretches; lists of your own should, too.")
    if divided:
        yield warning("sequence", tuple(divided),
                      f"{len(divided)} videos have frames in several parts",
                      "Neighbouring frames show the same place: scores on the test part are too "
                      "high.", "Divide by video, or report it beside the scores.")


def shares_and_sizes(facts: pd.DataFrame) -> Iterator[Finding]:
    """Numbers of pairs, sizes, shares of positive pixels and widths, beside the papers'."""
    shares, why = 100 * facts.share, ""
    (height, width), number = Counter(facts["size"]).most_common(1)[0]
    parts = Counter(facts.part)
    division = ", ".join(f"{count} {part}" for part, count in parts.items())
    what = (f"{len(facts)} pairs ({'to be divided' if UNDIVIDED in parts else division}), {number} "
            f"of them {height} x {width}; positive pixels: {shares.mean():.2f} % in the mean, "
            f"{shares.median():.2f} % in the median picture")
    if facts.width.notna().any():
        what += f"; cracks are about {facts.width.median():.1f} px wide in the median picture"
        why = f"The papers: {PAPER_SHARES}."
    yield Finding("note", "shares", (), what, why,
                  "Scores are comparable only between sets of similar shares.")


CHECKS = {"cracks": (extreme_shares, grey_masks, crack_masks, same_content, videos,
                     shares_and_sizes),
          "roads": (partial(extreme_shares, task="roads"), grey_masks, same_content, videos,
                    shares_and_sizes)}
