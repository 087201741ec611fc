"""Division of a data set into training, validation and test part, so that no content leaks.

A test picture that shows what a training picture shows is not new to the network, and its score is
too high. A duplicate pair is one photograph twice: turned by right angles, mirrored, brighter or
compressed again. Perceptual hashes find candidates, and the correlation of their pixels decides. An
overlapping pair is two photographs of one place: one shift, rotation and scale maps details of one
onto those of the other. Pictures that are connected by such pairs form a content group, and a group
lies in one part. The frames of a video are connected only where neighbouring frames overlap enough.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import scipy.fft
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from crackutils.data.decoding import eight_bits, memory_of, open_picture, reading, upright
from crackutils.data.folders import LISTS, PART_OF, UNDIVIDED
from crackutils.data.layouts import recognise
from crackutils.data.picture_cache import decode_in_order
from crackutils.data.samples import DataError, Files, note, progress
from crackutils.device import usable_cores
from crackutils.files import write_atomically
from crackutils.protocol import Protocol

THUMBNAIL_SIDE = 64  # px: duplicates are compared at this size
MOST_DIFFERENT_BITS = 14  # of a hash's 63: pictures further apart are no duplicates
LEAST_CORRELATION = 0.6  # of the fine structure of duplicates, at the best shift

DETAIL_SIDE = 512  # px: details are searched in pictures reduced to at most this
MOST_DETAILS = 2_000  # of a picture: about 280 kB
QUICK_DETAILS, QUICK_AGREEING = 1_000, 4  # the strongest details must agree in this many ...
LEAST_AGREEING = 8  # ... and all details in this many; in 30,000 other pairs at most 6 do
TOLERANCE = 0.012  # of the longer side: how far from its place a detail may lie
LEAST_DISTANCE = 0.03  # of the longer side: nearer details say little of a rotation
LARGEST_SCALE = 2  # between two photographs of one place

ALL_PAIRS_UP_TO = 500  # pictures; in larger sets only promising pairs are compared by details
PROMISING = 20  # partners of each picture in such a set
INDEXED_DETAILS, NEIGHBOURS = 500, 8  # details of a picture, and neighbours of each, that vote

FRAME_NAME = re.compile(r"^(.*\D)(\d{3,})$")  # a number of three digits or more at the end
LEAST_FRAMES = 20  # of a video
LEAST_LINKED = 0.05  # of the frames of a video must show what another video shows, as pairs

METHOD = [3, cv2.__version__]  # of finding groups; the number is raised when code or limits change

VALIDATION_SHARE, TEST_SHARE = 0.12, 0.2  # of a data set without parts of its own
LEAST_PICTURES = 5  # that can be divided


class Details(NamedTuple):
    """Distinctive points of a picture, the strongest first.

    `points` are complex64 positions x + iy in units of the picture's longer side; `frames` are
    complex64, their absolute value is a point's size in the same unit and their angle its
    orientation; `descriptors` are uint8 N x 128.
    """

    points: np.ndarray
    frames: np.ndarray
    descriptors: np.ndarray

    def strongest(self, count: int) -> "Details":
        return Details(*(array[:count] for array in self))


class Appearance(NamedTuple):
    """What pictures are compared by: `thumbnail` is float32 64 x 64, `details` may be left out."""

    thumbnail: np.ndarray
    details: Details | None


def appearance(path: Path, content: bytes, with_details: bool = True) -> Appearance:
    """The appearance of a picture from its file's bytes; a JPEG is decoded at a reduced size.
    Raises `DataError` if the picture can't be read."""
    with reading(path):
        picture = open_picture(path, content)
        side = DETAIL_SIDE if with_details else 2 * THUMBNAIL_SIDE
        picture.draft("L", (side, side))
        grey = np.asarray(eight_bits(path, upright(path, picture)).convert("L"))
    return Appearance(thumbnail(grey), find_details(grey) if with_details else None)


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """A grey picture as float32 64 x 64, averaged over areas; its aspect ratio is lost."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def perceptual_hash(picture: np.ndarray) -> np.uint64:
    """63 bits: which of the 8 x 8 lowest frequencies, without the constant, exceed their median.
    This is the "pHash" of Zauner, "Implementation and benchmarking of perceptual image hash
    functions", 2010, on a thumbnail."""
    lowest = scipy.fft.dctn(picture)[:8, :8].reshape(-1)[1:]
    return np.packbits(np.append(lowest > np.median(lowest), False)).view(np.uint64)[0]


def eight_positions(picture: np.ndarray) -> list[np.ndarray]:
    """The picture turned by 0, 90, 180 and 270 degrees, then the same of its mirror image."""
    return [np.rot90(side, turns) for side in (picture, np.fliplr(picture)) for turns in range(4)]


def normalised(picture: np.ndarray) -> np.ndarray:
    """The picture shifted and scaled to mean 0 and norm 1."""
    picture = picture - picture.mean()
    return picture / max(float(np.linalg.norm(picture)), 1e-6)


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The circular cross-correlation of two normalised pictures at each shift, from -1 to 1."""
    product = scipy.fft.rfft2(first) * scipy.fft.rfft2(second).conj()
    return scipy.fft.irfft2(product, s=first.shape)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """The highest correlation of the fine structures of two thumbnails over all shifts. Light and
    shade are similar in many photographs; their grain is not."""
    first, second = (normalised(picture - cv2.GaussianBlur(picture, (0, 0), 4))
                     for picture in (first, second))
    return float(correlations(first, second).max())


def duplicate_pairs(thumbnails: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, of thumbnails of one photograph, which may be turned or mirrored."""
    hashes = np.array([[perceptual_hash(position) for position in eight_positions(picture)]
                       for picture in thumbnails], np.uint64).reshape(-1, 8)
    pairs = []
    for first, upright_hash in enumerate(hashes[:, 0]):
        different_bits = np.bitwise_count(hashes[first + 1:] ^ upright_hash)
        candidates = different_bits.min(axis=1, initial=64) <= MOST_DIFFERENT_BITS
        for offset in np.flatnonzero(candidates):
            second = first + 1 + int(offset)
            near = np.flatnonzero(different_bits[offset] <= MOST_DIFFERENT_BITS)
            if are_duplicates(thumbnails[first], thumbnails[second], near):
                pairs.append((first, second))
    return pairs


def are_duplicates(first: np.ndarray, second: np.ndarray, positions: Iterable[int]) -> bool:
    """Whether the first thumbnail equals the second in one of these `eight_positions` of it."""
    if np.array_equal(first, second):  # one colour has no structure that could be correlated
        return True
    turned = eight_positions(second)
    return any(correlation(first, turned[index]) >= LEAST_CORRELATION for index in positions)


def find_details(grey: np.ndarray) -> Details:
    """The SIFT points of a grey picture, at most one at each pixel.

    Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60(2), 2004. The
    descriptors are the square roots of SIFT's (Arandjelovic and Zisserman, CVPR 2012) in 8 bits, so
    that their products are whole numbers and the same on every machine.
    """
    factor = DETAIL_SIDE / max(grey.shape)
    if factor < 1:
        size = [max(1, round(factor * length)) for length in grey.shape[::-1]]
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create(MOST_DETAILS, contrastThreshold=0.02)
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    at_pixel = {}
    for index in sorted(range(len(keypoints)), key=lambda index: -keypoints[index].response):
        at_pixel.setdefault(tuple(map(round, keypoints[index].pt)), index)
    if not keypoints:
        descriptors = np.zeros((0, 128), np.float32)
    kept = list(at_pixel.values())
    points = np.array([complex(*keypoints[index].pt) for index in kept], complex)
    angles = np.radians([keypoints[index].angle for index in kept])
    frames = [keypoints[index].size for index in kept] * np.exp(1j * angles)
    shares = descriptors[kept] / np.maximum(descriptors[kept].sum(axis=1, keepdims=True), 1)
    side = max(grey.shape)
    return Details((points / side).astype(np.complex64), (frames / side).astype(np.complex64),
                   (255 * np.sqrt(shares)).round().astype(np.uint8))


def agreeing_details(first: Details, second: Details, enough: int) -> int:
    """The largest number of matching details that one shift, rotation and scale maps onto another.

    Details match that are each other's nearest neighbours. Every two matches whose sizes and
    orientations fit give such a mapping. All of these are tried, until `enough` details agree;
    nothing is random. A match at the same place in both pictures does not count: it may be a date
    that the camera wrote.
    """
    if min(len(first.points), len(second.points)) < 2:
        return 0
    similarity = first.descriptors.astype(np.float32) @ second.descriptors.astype(np.float32).T
    nearest = similarity.argmax(axis=1)
    largest = similarity[np.arange(len(nearest)), nearest]
    indices = np.flatnonzero(largest == similarity.max(axis=0)[nearest])
    partners = nearest[indices]
    here, there = first.points[indices], second.points[partners]
    moved = np.abs(here - there) > TOLERANCE
    turn = (second.frames[partners] / first.frames[indices])[moved]  # scale and rotation
    here, there = here[moved], there[moved]
    one, other = np.triu_indices(len(here), 1)
    apart = np.abs(here[one] - here[other]) > LEAST_DISTANCE
    one, other = one[apart], other[apart]
    mapping = (there[one] - there[other]) / (here[one] - here[other])
    fits = (np.abs(mapping / turn[one] - 1) < 0.5) & (np.abs(mapping / turn[other] - 1) < 0.5)
    fits &= np.abs(np.log2(np.abs(mapping) + 1e-9)) < np.log2(LARGEST_SCALE)
    mapping = mapping[fits, None]
    shift = there[one[fits], None] - mapping * here[one[fits], None]
    most = 0
    for start in range(0, len(mapping), 256):  # bounds the memory
        some = slice(start, start + 256)
        agree = np.abs(mapping[some] * here + shift[some] - there) < TOLERANCE
        agree &= np.abs(mapping[some] / turn - 1) < 0.5
        most = max(most, int(agree.sum(axis=1).max()))
        if most >= enough:
            break
    return most


def overlap(first: Details, second: Details) -> bool:
    """Whether two pictures show details of one place."""
    quick = [details.strongest(QUICK_DETAILS) for details in (first, second)]
    return (agreeing_details(*quick, QUICK_AGREEING) >= QUICK_AGREEING
            and agreeing_details(first, second, LEAST_AGREEING) >= LEAST_AGREEING)


def overlapping_pairs(details: Sequence[Details]) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, of pictures that show details of one place. All pairs are compared
    up to `ALL_PAIRS_UP_TO` pictures: 5 ms a pair on one core. In larger sets only the promising
    ones are, because of the time; small overlaps may then be missed."""
    every = len(details) <= ALL_PAIRS_UP_TO
    pairs = list(combinations(range(len(details)), 2)) if every else promising_pairs(details)
    with ThreadPoolExecutor(usable_cores()) as pool:  # matrix products have threads of their own
        compared = pool.map(lambda pair: overlap(details[pair[0]], details[pair[1]]), pairs)
        bar = progress(compared, "comparing photographs", len(pairs), "pair")
        return [pair for pair, is_overlap in zip(pairs, bar) if is_overlap]


def promising_pairs(details: Sequence[Details]) -> list[tuple[int, int]]:
    """Pairs of each picture with those that hold the most neighbours of its details. The neighbours
    come from randomized k-d trees (Muja and Lowe, VISAPP 2009) over all pictures."""
    strongest = [picture.strongest(INDEXED_DETAILS).descriptors for picture in details]
    owner = np.repeat(np.arange(len(details)), [len(rows) for rows in strongest])
    if len(owner) < NEIGHBOURS:
        return []
    cv2.setRNGSeed(0)  # the trees are drawn
    kd_trees = 1  # FLANN's number for them
    index = cv2.flann.Index(np.concatenate(strongest).astype(np.float32),
                            {"algorithm": kd_trees, "trees": 4})
    pairs = set()
    for picture, rows in enumerate(strongest):
        if len(rows):
            nearest, _ = index.knnSearch(rows.astype(np.float32), NEIGHBOURS, params={"checks": 64})
            votes = np.bincount(owner[nearest.reshape(-1)], minlength=len(details))
            votes[picture] = 0
            partners = np.argsort(-votes, kind="stable")[:PROMISING]
            pairs |= {(min(picture, partner), max(picture, partner))
                      for partner in partners[votes[partners] > 0].tolist()}
    return sorted(pairs)


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """The group number of each of `count` pictures; the pictures of a pair share a group."""
    first, second = np.array(list(pairs), int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def content_groups(files: Sequence[Files], runs: Path) -> list[int]:
    """The number of each file's content group; kept in `runs/cache` for the next time."""
    images = [("", one._replace(mask=None, width=None)) for one in files]
    cached = runs / "cache" / f"content-groups-{version_of(images, METHOD)}.json"
    with suppress(FileNotFoundError, ValueError, TypeError):  # a damaged file is made again
        groups = json.loads(cached.read_text())
        if len(groups) == len(files):
            return groups
    looks = list(decode_in_order(
        [image for _, image in images],
        lambda image: appearance(image.image, image.contents()[0]), memory_of))
    pairs = chain(*related([one.name for one in files], looks))
    groups = connected(len(files), pairs).tolist()
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cached, json.dumps(groups).encode())
    return groups


def related(names: Sequence[str], looks: Sequence[Appearance]) -> tuple[list, list]:
    """The duplicate pairs and the overlapping pairs (none without details) of named pictures."""
    overlaps = []
    if all(look.details is not None for look in looks):
        overlaps = without_chance_links(names, overlapping_pairs([look.details for look in looks]))
    return duplicate_pairs([look.thumbnail for look in looks]), overlaps


def video_and_frame(name: str) -> tuple[str, int]:
    """The video's name and the frame's number in a picture's name; the name itself and 0 where
    there is no number. `Seq05VD_f00120` is frame 120 of Seq05VD, `0001TP_008550` frame 8550 of
    0001TP, `drive1/0003` frame 3 of drive1. A frame's number has at least three digits and stands
    at the end, behind other characters; the folder of a part is no video."""
    match = FRAME_NAME.match(name)
    if match is None:
        return name, 0
    video = re.sub("[_-]+f?$|/$", "", match[1])
    if match[1] == f"{video}/" and video.rpartition("/")[2].lower() in PART_OF:
        return name, 0
    return video, int(match[2])


def without_chance_links(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list:
    """The pairs without those between two videos that have hardly any: of thousands of pairs of
    frames a few agree by chance, and each would tie whole videos together. Numbered photographs
    that hardly ever overlap one another are no videos."""
    videos = [video_and_frame(name)[0] for name in names]
    frames = Counter(videos)
    between = [frozenset(videos[index] for index in pair) for pair in pairs]
    alike = Counter(videos[index] for index in {
        index for pair, linked in zip(pairs, between) if len(linked) == 1 for index in pair})
    filmed = {video for video, number in frames.items()
              if number >= LEAST_FRAMES and alike[video] >= LEAST_LINKED * number}
    chance = {linked for linked, number in Counter(between).items()
              if len(linked) == 2 and linked <= filmed
              and number < LEAST_LINKED * min(frames[video] for video in linked)}
    return [pair for pair, linked in zip(pairs, between) if linked not in chance]


def version_of(jobs: Sequence[tuple[str, Files]], how: list) -> str:
    """A hash of (part, files) pairs, by path, size and time of change, and of how they are read."""
    stats = [[part, files.name, *(path and [str(path), path.stat().st_size, path.stat().st_mtime_ns]
                                  for path in files[1:])] for part, files in jobs]
    return hashlib.sha256(json.dumps([stats, how]).encode()).hexdigest()[:16]


def parts_of(folder: Path, protocol: Protocol, runs: Path,
             validation: int | None = None) -> dict[str, list[Files]]:
    """The files of a folder by part: `train`, `validation`, `test`.

    An undivided data set is divided here; a content group stays in one part. If only validation is
    missing, it is taken from train: `validation` pictures, or 12 %. `protocol.subset` limits the
    numbers of train and test pictures; a note says if there are fewer. Hashes of the names, and
    `subset_seed`, decide which are taken. Raises `DataError` if there are too few to divide.
    """
    parts = recognise(folder, protocol.layout).parts(folder)
    if UNDIVIDED in parts:
        files = parts[UNDIVIDED]
        parts = divide(folder, files, content_groups(files, runs))
    train, test = (in_hash_order(parts[part], protocol.subset_seed) for part in ("train", "test"))
    most_train, most_test = protocol.subset or (len(train), len(test))
    if "validation" not in parts:
        held_out = validation or max(1, round(VALIDATION_SHARE * min(len(train), most_train)))
        if held_out >= len(train):
            raise DataError(f"{folder} holds {len(train)} train images: too few to hold some out "
                            "for validation. Give 2 or more.")
        parts["validation"], train = train[:held_out], train[held_out:]
        parts["train"] = train
    if protocol.subset and (len(train) < most_train or len(test) < most_test):
        note(f"subset asks for {most_train:,} training and {most_test:,} test images; {folder} has "
             f"{len(train[:most_train]):,} and {len(test[:most_test]):,} for them, and no more are "
             "used.")
    kept = {*train[:most_train], *test[:most_test], *parts["validation"]}
    return {part: [files for files in parts[part] if files in kept] for part in LISTS}


def divide(folder: Path, files: Sequence[Files], groups: Sequence[int]) -> dict[str, list[Files]]:
    """All three parts of an undivided data set: each content group goes to one part. A group goes
    to the first of test (20 %) and validation (12 %) that has room for it, else to train; the order
    of the groups is that of their smallest hash of a name. If none has fitted into one of them, it
    gets the smallest group of train.

    A group of half of the set or more that is one video is cut: its first frames are for train, its
    last for test, and between these lie those for validation.
    """
    members, parts = defaultdict(list), {"test": [], "validation": [], "train": []}
    for one, group in zip(files, groups, strict=True):
        members[group].append(one)
    for group, frames in list(members.items()):
        frames = sorted(frames, key=lambda one: video_and_frame(one.name))
        titles = {video_and_frame(one.name)[0] for one in frames}
        if 2 * len(frames) >= max(len(files), 2 * LEAST_FRAMES) and len(titles) == 1:
            note(f"{folder}: {len(frames)} pictures are frames of the video {titles.pop()}, which "
                 "is cut: its first frames are for training, the next for validation, and the last "
                 "for the test.")
            first_test = len(frames) - round(TEST_SHARE * len(frames))
            first_held_out = first_test - round(VALIDATION_SHARE * len(frames))
            parts["test"] += frames[first_test:]
            parts["validation"] += frames[first_held_out:first_test]
            parts["train"] += frames[:first_held_out]
            del members[group]
    ordered = sorted(map(in_hash_order, members.values()),
                     key=lambda group: hash_of_name(group[0].name))
    room = {"test": round(TEST_SHARE * len(files)),
            "validation": round(VALIDATION_SHARE * len(files))}
    for_train = []
    for group in ordered:
        fitting = [part for part, most in room.items() if len(parts[part]) + len(group) <= most]
        if fitting:
            parts[fitting[0]] += group
        else:
            for_train.append(group)
    for part in room:
        if not parts[part] and len(for_train) > 1 and len(files) >= LEAST_PICTURES:
            parts[part] = min(for_train, key=len)
            for_train.remove(parts[part])
    parts["train"] += chain(*for_train)
    if not all(parts.values()):
        raise DataError(f"{folder} holds {len(files)} pairs in {len(ordered)} content groups "
                        "(pictures that show the same): too few to hold some out for validation "
                        f"and test. Give {LEAST_PICTURES} or more pairs in 3 or more groups, or "
                        "train.txt, val.txt and test.txt.")
    return parts


def in_hash_order(files: Iterable[Files], seed: int = 0) -> list[Files]:
    """The files in an order that depends on their names and a seed, but not on the alphabet."""
    prefix = f"{seed}/" if seed else ""
    return sorted(files, key=lambda one: hash_of_name(prefix + one.name))


def hash_of_name(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
