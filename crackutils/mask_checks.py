"""Findings of the data doctor about masks: what they hold, and whether they fit their pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crackutils.inspection import Facts

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
