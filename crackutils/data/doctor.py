"""The data doctor finds what is wrong with a folder of pictures and masks before a training.

`examine(folder)` returns findings, and `str(finding)` is its text. An error would stop a training,
a warning makes its result doubtful, a note is a fact to know.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from crackutils.data import split
from crackutils.data.decoding import decode, describe_masks, memory_of, stored_values
from crackutils.data.folders import SUFFIXES, UNDIVIDED, UNREAD, files_below, first_names
from crackutils.data.layouts import Layout, recognise
from crackutils.data.masks import MaskValuesError
from crackutils.data.picture_cache import decode_in_order
from crackutils.data.samples import DataError, Files, file_errors, printable, progress
from crackutils.files import resolve
from crackutils.protocol import Protocol, preset

LEVELS = ("error", "warning", "note")
PAPER_SHARES = "4.1 % of paper A's evaluation set, and at most 1.6 % of a fine-crack image"
ADVICE = {  # by the kind of a finding: why it matters, and what to do
    "folder": "Nothing can be read. Correct this first, then examine the folder again.",
    "unreadable": "A training would stop there.",
    "unused": "They have no mask, are in no list, are of a kind that is not read (convert them to "
              "PNG), or serve another purpose. If you expected them to be used, check that every "
              "archive was unpacked.",
    "empty": "Pictures without a positive pixel only teach what is background, and the IoU of a "
             "single such image is undefined. Check that no label was forgotten in them.",
    "full": "They teach the network to mark everything. Check them, or leave them out.",
    "inverted": "Cracks never cover that much: black and white are probably exchanged, and the "
                "network would learn the background. Invert these masks.",
    "grey": "The threshold decides how wide a crack is. Choose mask_threshold deliberately and "
            "report it.",
    "regions": "Cracks never do: these masks mark regions, such as roads. Examine them as roads: "
               "crackutils doctor --task roads FOLDER.",
    "misfit": "They probably belong to other pictures (a different numbering), or the cracks are "
              "brighter than the ground. Compare some by eye.",
    "turned": "The network would learn from wrong pixels. Compare them by eye; apply the EXIF "
              "orientation to picture and mask, or to neither.",
    "shifted": "The labels of fine cracks are then entirely wrong. Compare them by eye, and shift "
               "or redraw the masks.",
    "leak": "The network has seen part of the test pictures in training: their scores are too "
            "high. Keep each group in one part, or report it beside the scores.",
    "sequence": "Neighbouring frames show the same place: scores on the test part are too high. "
                "Divide by video, or report it beside the scores.",
    "shares": "Scores are comparable only between sets of similar shares."}
ADVICE["duplicates"] = ADVICE["overlaps"] = (
    "The division into parts made here keeps them together; lists of your own must, too.")

OTHER_THRESHOLDS = (96, 160)  # levels at which a grey mask might be cut instead
HALF = 0.5  # cracks never cover this share of a picture ...
SHARE_OF_REGIONS = 0.15  # ... nor this share of most pictures
FIT_SIDE = 256  # px: a mask's fit is measured in pictures reduced to at most this
SMALLEST_FOR_FIT = 100  # px: in smaller pictures a few dark pixels decide
FARTHEST_SHIFT = 0.15  # of the side
ALIKE_FRAMES = 1 / 3  # of numbered pictures look like another if they are frames of a video
LEAST_FIT = 0.1  # of the median mask: correct masks have .5, masks of other pictures .02
FEW_PICTURES = 10  # of a part: with fewer, its scores say little
SEARCH_OVERLAPS_UP_TO = 1_000  # pictures: with more of them the search takes many minutes


@dataclass(frozen=True)
class Finding:
    """What was found: `level` is "error", "warning" or "note", `kind` identifies the finding for
    programs, `files` are the names of the pairs or files concerned. `why` stands before the kind's
    `ADVICE` in the text."""

    level: str
    kind: str
    files: Sequence[str]
    what: str
    why: str = ""

    def __str__(self) -> str:
        named = f" ({first_names(self.files)})" if self.files else ""
        sentences = [f"{self.level}: {self.what.rstrip('.')}{named}.", self.why,
                     ADVICE.get(self.kind, "")]
        return printable(" ".join(filter(None, sentences)))


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
    reason: str = ""  # the error without names of files and numbers
    unclear: bool = False  # whether the error is that it isn't known which values are positive
    size: tuple[int, int] = (0, 0)  # (height, width)
    share: float = 0.0  # of positive pixels
    lower: float = 0.0  # the same of a grey mask, if it were cut at OTHER_THRESHOLDS ...
    higher: float = 0.0
    grey: float = 0.0  # share of a grey mask's pixels that are neither black nor white
    width: float = np.nan  # px: mean width of the cracks
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
        with file_errors():
            layout = recognise(folder, protocol.layout)
            parts = layout.parts(folder)
            findings = unused_pictures(folder, parts)
    except DataError as error:
        return [Finding("error", "folder", (), str(error))]
    jobs = [(part, files) for part, members in parts.items() for files in members]
    overlaps = overlaps and protocol.task == "cracks"
    with_details = overlaps and len(jobs) <= SEARCH_OVERLAPS_UP_TO
    inspected = decode_in_order(jobs, lambda job: inspect(*job, layout, protocol, with_details),
                                lambda job: memory_of(job[1]))
    pairs = list(progress(inspected, "examining", len(jobs), "pair"))
    readable = [pair for pair in pairs if pair.error is None]
    unclear = [pair for pair in pairs if pair.unclear]
    findings += unreadable_pairs([pair for pair in pairs if pair.error and not pair.unclear])
    if unclear or readable and not any(pair.share for pair in readable):
        first = unclear[0].error if unclear else "No mask has a positive pixel."
        sentence = describe_masks(folder, [files for _, files in jobs], protocol, first)
        findings.append(Finding("error", "masks", tuple(pair.name for pair in unclear), sentence))
    if readable:
        duplicates, views = split.related([pair.name for pair in readable],
                                          [pair.appearance for pair in readable])
        facts = pd.DataFrame([vars(pair) for pair in readable]).drop(columns="appearance")
        facts["duplicate_group"] = split.connected(len(readable), duplicates)
        facts["content_group"] = split.connected(len(readable), duplicates + views)
        warnings = [*extreme_shares(facts, protocol.task), *grey_masks(facts),
                    *same_content(facts), *divided_videos(facts)]
        warnings += misplaced(facts) if protocol.task == "cracks" else []
        findings += [Finding("warning", *warning) for warning in warnings]
        if UNDIVIDED in parts and len(readable) == len(jobs):
            try:
                parts = split.divide(folder, parts[UNDIVIDED], facts.content_group)
            except DataError as error:
                findings.append(Finding("error", "split", (), str(error)))
        findings.append(shares_and_sizes(facts, parts))
    if overlaps and not with_details:
        findings.append(Finding("note", "overlaps", (), "overlapping photographs were not looked "
                                f"for: there are more than {SEARCH_OVERLAPS_UP_TO:,} pairs"))
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
        reason = str(error)
        for path in filter(None, files[1:]):
            reason = reason.replace(printable(str(path)), "")
        return PairFacts(files.name, part, str(error), re.sub(r"\d+", "0", reason),
                         isinstance(error, MaskValuesError))
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
            measure_fit(facts, cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY), cracks)
    return facts


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
    most = [max(1, round(FARTHEST_SHIFT * length)) for length in dark.shape]
    by_shift = np.roll(split.correlations(dark, lines), most, (0, 1))
    near = by_shift[:2 * most[0] + 1, :2 * most[1] + 1]
    row, column = np.unravel_index(near.argmax(), near.shape)
    facts.down, facts.right = round((row - most[0]) / factor), round((column - most[1]) / factor)
    facts.here = float(near[most[0] - 1:most[0] + 2, most[1] - 1:most[1] + 2].max())
    facts.best = float(near.max())
    facts.turned = max(float((dark * turned).sum()) for turned in split.eight_positions(lines)[1:]
                       if turned.shape == dark.shape)


def unreadable_pairs(pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """A finding for each reason why pairs can't be read, the commonest first."""
    alike = defaultdict(list)
    for pair in pairs:
        alike[pair.reason].append(pair)
    for same in sorted(alike.values(), key=len, reverse=True):
        what, why = same[0].error, ""
        if len(same) > 1:
            what = f"{len(same)} pairs can't be read for one reason: {what}"
            why = "Correct what made them so, not each file."
        yield Finding("error", "unreadable", tuple(pair.name for pair in same), what, why)


def unused_pictures(folder: Path, parts: dict[str, list[Files]]) -> list[Finding]:
    """Pictures below the folder that belong to no part."""
    used = {path for members in parts.values() for files in members for path in files[1:] if path}
    unused = [path for path in files_below(folder)
              if path.suffix.lower() in SUFFIXES | UNREAD and path not in used]
    names = tuple(path.relative_to(folder).as_posix() for path in unused)
    kinds = Counter(path.suffix.lower() for path in unused)
    counts = ", ".join(f"{number} {suffix}" + (" (not read)" if suffix in UNREAD else "")
                       for suffix, number in sorted(kinds.items()))
    what = f"{len(unused)} pictures are not used, beside {len(used)} that are: {counts}"
    return [Finding("note", "unused", names, what)] if unused else []


# The checks below give warnings as (kind, names, what was found), or with why it matters

def extreme_shares(facts: pd.DataFrame, task: str) -> Iterator[tuple]:
    """Masks that are empty, positive everywhere, or (of cracks) on more than half of a picture."""
    empty, full = (tuple(facts.name[facts.share == share]) for share in (0, 1))
    if empty and len(empty) < len(facts):
        yield "empty", empty, f"{len(empty)} of {len(facts)} masks are empty"
    if full:
        yield "full", full, f"{len(full)} masks are positive everywhere"
    inverted = tuple(facts.name[(facts.share > HALF) & (facts.share < 1)])
    if inverted and task == "cracks":
        yield ("inverted", inverted,
               f"{len(inverted)} masks are positive on more than half of their picture")


def grey_masks(facts: pd.DataFrame) -> Iterator[tuple]:
    """Masks with levels between black and white, as JPEG and resizing leave them."""
    grey = facts[(facts.grey > 0.0005) & (facts.share > 0)]
    if len(grey):
        low, chosen, high = 100 * grey[["lower", "share", "higher"]].mean()
        yield ("grey", tuple(grey.name),
               f"{len(grey)} masks have grey levels; cut at {OTHER_THRESHOLDS[0]}, mask_threshold "
               f"and {OTHER_THRESHOLDS[1]} they have {low:.2f}, {chosen:.2f} and {high:.2f} % "
               "positive pixels")


def misplaced(facts: pd.DataFrame) -> Iterator[tuple]:
    """Masks of something that is no crack, and masks that would fit their picture better if moved
    or turned, or do not fit at all."""
    if SHARE_OF_REGIONS < facts.share.median() < HALF:
        yield ("regions", (),
               f"positive pixels cover more than {SHARE_OF_REGIONS:.0%} of most pictures")
        return
    facts = facts[facts.here.notna()]
    is_turned = (facts.turned > 0.3) & (facts.here < facts.turned / 2)
    is_shifted = (~is_turned & (facts.best > 0.3) & (facts.here < 0.6 * facts.best)
                  & (facts[["down", "right"]].abs().max(axis=1) > 3))
    turned, shifted = facts[is_turned], facts[is_shifted]
    explained = len(turned) + len(shifted) >= len(facts) / 2
    if len(facts) >= 5 and facts.here.median() < LEAST_FIT and not explained:
        yield ("misfit", (),
               f"most of {len(facts)} masks do not lie on the dark lines of their pictures")
        return
    if len(turned):
        yield ("turned", tuple(turned.name),
               f"{len(turned)} masks fit their picture better turned or mirrored")
    if len(shifted):
        rows, columns = shifted[["down", "right"]].median().astype(int)
        yield ("shifted", tuple(shifted.name),
               f"{len(shifted)} masks lie beside the dark lines of their picture, by {rows} rows "
               f"and {columns} columns in the median")


def same_content(facts: pd.DataFrame) -> Iterator[tuple]:
    """Duplicates and overlapping photographs; they matter where they lie in several parts."""
    alike, copies = groups_by(facts, "content_group"), groups_by(facts, "duplicate_group")
    if facts.part[0] != UNDIVIDED:
        leaks = [group.part + "/" + group.name for group in alike if group.part.nunique() > 1]
        if leaks:
            yield ("leak", tuple(first_names(list(names), " = ") for names in leaks),
                   f"{len(leaks)} groups of pictures that show the same lie in several parts")
        return
    overlaps = [group for group in alike if group.duplicate_group.nunique() > 1]
    for kind, groups, column, what, such in (
            ("duplicates", copies, "duplicate_group", "are duplicates, in {} groups; turned and "
             "mirrored ones are included", "a duplicate"),
            ("overlaps", overlaps, "content_group", "show a place that another one shows, in {} "
             "groups", "such a picture")):
        if groups:
            percent = percent_seen_in_training(facts[column].to_numpy())
            yield (kind, tuple(first_names(list(group.name), " = ") for group in groups),
                   f"{sum(map(len, groups))} pictures {what.format(len(groups))}",
                   f"A random division would leave {percent:.0f} % of the test pictures with "
                   f"{such} in training.")


def divided_videos(facts: pd.DataFrame) -> Iterator[tuple]:
    """Videos whose frames lie in several parts. A video is missed if few of its frames look alike:
    of CamVid's four, .07 to .61 of the frames do."""
    divided = []
    videos = [split.video_and_frame(name)[0] for name in facts.name]
    for title, frames in facts.groupby(np.array(videos)):
        alike = frames.content_group.duplicated(keep=False).mean()
        if len(frames) >= split.LEAST_FRAMES and frames.part.nunique() > 1 and alike > ALIKE_FRAMES:
            counts = Counter(frames.part).items()
            divided.append(f"{title}: " + ", ".join(f"{count} {part}" for part, count in counts))
    if divided:
        yield "sequence", tuple(divided), f"{len(divided)} videos have frames in several parts"


def groups_by(facts: pd.DataFrame, column: str) -> list[pd.DataFrame]:
    """The groups of two pairs or more that a column tells apart, in the order of their numbers."""
    repeated = facts[facts.duplicated(column, keep=False)]
    return [group for _, group in repeated.groupby(column)]


def percent_seen_in_training(groups: np.ndarray) -> float:
    """The percentage of a random fifth that shares a group with the rest, on average."""
    generator, size, shares = np.random.default_rng(0), max(1, len(groups) // 5), []
    for _ in range(100):
        order = generator.permutation(len(groups))
        shares.append(np.isin(groups[order[:size]], groups[order[size:]]).mean())
    return 100 * float(np.mean(shares))


def shares_and_sizes(facts: pd.DataFrame, divided: dict[str, list]) -> Finding:
    """Numbers of pairs, sizes, shares of positive pixels and widths, beside the papers'. `divided`
    has the pairs of each part as a training would divide them: few of them get a sentence."""
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
    few = [f"{len(divided[part])} are in the {part} part" for part in ("validation", "test")
           if part in divided and len(divided[part]) < FEW_PICTURES]
    if few:
        why += (f" Of these pairs only {' and '.join(few)} (expected {FEW_PICTURES} or more each): "
                "other pictures would give other thresholds and scores, so label more, or train "
                "with several seeds.")
    return Finding("note", "shares", (), what, why)
