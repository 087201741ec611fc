"""Findings of the data doctor about what the parts of a data set share: twins and videos."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from crackutils.inspection import Facts
from crackutils.layouts import UNDIVIDED
from crackutils.mask_checks import Finding

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
