"""Pictures of what was found, and the files of photographs: overlay, table, centre lines, page."""

import html
import os
from urllib.parse import quote

import cv2
import numpy as np
import pandas as pd

from crackutils.cracks.measurement import Crack
from crackutils.data.masks import is_positive
from crackutils.data.samples import printable

COLOUR = (255, 40, 0)  # of the cracks, in RGB
OPACITY = 0.6
LARGEST_JPEG = 65_500  # px, a limit of the format
# RGB from 0 to 1; a test holds that the colour-blind can tell them from one another and from a
# pale image
OUTCOMES = {"true positive": (0, 0.51, 0.784), "miss": (0.941, 0.588, 0),
            "false alarm": (0.431, 0, 0.314)}
THUMBNAIL = 480  # px, the longer side
NUMBERED = 30  # cracks of an overlay have their number, the longest first
QUALITY = 90  # of JPEG
STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; padding: 0 1rem;
       color: #222; background: #fff; overflow-wrap: break-word }
ol { list-style: none; padding: 0; display: grid; gap: 1.5rem;
     grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
img { width: 100%; height: auto; display: block }
h2 { font-size: 1rem; margin: .5rem 0 .2rem; overflow-wrap: anywhere }
p { margin: .2rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .1rem .8rem .1rem 0; text-align: right; font-weight: normal }
th { color: #555; text-align: left }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111 } a { color: #8cf }
  th { color: #aaa } }
"""


def encoded(suffix: str, picture: np.ndarray) -> bytes:
    """A picture as the bytes of a `.png` or `.jpg` file: uint8 or uint16, grey or RGB."""
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    # at full resolution in colour too: a crack may be one coloured pixel wide
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
               cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444] if suffix == ".jpg" else []
    return cv2.imencode(suffix, picture, options)[1].tobytes()


def mark_cracks(image: np.ndarray, mask: np.ndarray) -> None:
    """Colour the cracks of a photograph (uint8 H x W x 3) where `mask` is true, in place."""
    colour = OPACITY * np.array(COLOUR)
    image[mask] = ((1 - OPACITY) * image[mask] + colour).astype(np.uint8)


def number_cracks(image: np.ndarray, cracks: list[Crack]) -> None:
    """Write the numbers of the longest cracks at their upper ends, in place: black on white."""
    scale = max(0.5, max(image.shape[:2]) / 2500)
    style = cv2.FONT_HERSHEY_SIMPLEX, scale
    strokes = round(2 * scale)
    for crack in sorted(cracks, key=lambda crack: -crack.length)[:NUMBERED]:
        text = str(crack.number)
        (width, height), _ = cv2.getTextSize(text, *style, strokes)
        end = min(np.concatenate(crack.lines).tolist(), key=lambda point: point[1])
        left, bottom = round(end[0] + 10 * scale), max(round(end[1]), height + 2)
        cv2.rectangle(image, (left - 2, bottom - height - 2), (left + width + 2, bottom + 2),
                      (255, 255, 255), cv2.FILLED)
        cv2.putText(image, text, (left, bottom), *style, (0, 0, 0), strokes, cv2.LINE_AA)


def in_three_colours(image: np.ndarray, mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """An image (uint8 H x W x 3) in pale grey with true positives, misses and false alarms in the
    colours of `OUTCOMES`: uint8 H x W x 3. `mask` (H x W) is positive above 0, but `IGNORED` pixels
    stay grey. `predicted` (H x W) is true or 1 for a predicted crack or road."""
    positive, predicted = is_positive(mask), predicted.astype(bool)
    picture = (0.4 * image.mean(axis=2, keepdims=True) + 153).astype(np.uint8).repeat(3, axis=2)
    pixels = positive & predicted, positive & ~predicted, (mask == 0) & predicted
    for marked, colour in zip(pixels, OUTCOMES.values()):
        picture[marked] = np.round(255 * np.array(colour))
    return picture


def reduced(image: np.ndarray, longest: int) -> np.ndarray:
    """The picture with a longer side of at most `longest` px, each pixel the mean of its area."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def thumbnail(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The photograph at `THUMBNAIL` px; a pixel is coloured if there is any crack in its area."""
    small = reduced(image, THUMBNAIL).copy()
    share = reduced(mask.astype(np.uint8) * 255, THUMBNAIL)
    mark_cracks(small, share > 0)
    return small


def table(rows: list[dict]) -> bytes:
    """The content of `cracks.csv`: a line for each crack, of all photographs."""
    columns = None if rows else ["photograph", "crack"]
    table = pd.DataFrame(rows, columns=columns, dtype=object)  # as the rows have it: 24 or 24.0
    return table.to_csv(index=False, lineterminator="\n").encode()


def table_of_photographs(done: list[dict], failed: dict[str, str]) -> bytes:
    """The content of `photographs.csv`: a line for each photograph, those without a crack and those
    that could not be read too."""
    lines = [{"photograph": printable(entry["photograph"]), "width": entry["size"][0],
              "height": entry["size"][1], "cracks": len(entry["cracks"]),
              "area_px": crack_area(entry), "note": entry["note"]} for entry in done]
    lines += [{"photograph": printable(name), "note": sentence}
              for name, sentence in failed.items()]
    table = pd.DataFrame(lines, columns=["photograph", "width", "height", "cracks", "area_px",
                                         "note"], dtype=object)
    return table.sort_values("photograph").to_csv(index=False, lineterminator="\n").encode()


def feature(crack: Crack, row: dict) -> dict:
    """A crack as a GeoJSON feature: the centre lines of its branches and the table's columns.

    The coordinates are x to the right and y downwards, in px from the picture's upper left corner.
    """
    lines = [np.round(line, 1).tolist() for line in crack.lines]
    return {"type": "Feature", "properties": row,
            "geometry": {"type": "MultiLineString", "coordinates": lines}}


def link(path: str) -> str:
    """A path below the page's folder as the address of a link, whatever its bytes are."""
    return html.escape(quote(os.fsencode(path)))


def page(done: list[dict], failed: dict[str, str], facts: str) -> bytes:
    """The content of `index.html`: first the photographs that were not measured, then the others,
    that with the largest area of cracks first.

    `done` has for each photograph `photograph` (its name), `files` (`overlay`, `mask`, `thumbnail`:
    paths below the page's folder), `size` (width, height), `note` and `cracks` (rows of the table).
    """
    items = []
    for entry in sorted(done, key=lambda entry: (not entry["note"], -crack_area(entry))):
        name, files = html.escape(printable(entry["photograph"])), entry["files"]
        width, height = entry["size"]
        items.append(
            f'<li><a href="{link(files["overlay"])}"><img loading="lazy" '
            f'src="{link(files["thumbnail"])}" alt="{name}, cracks marked" width="{width}" '
            f'height="{height}"></a>\n<h2>{name}</h2>\n{summary(entry)}\n'
            f'<p><a href="{link(files["overlay"])}">overlay</a> · '
            f'<a href="{link(files["mask"])}">mask</a> · {width} × {height} px</p></li>')
    problems = "".join(f"<li>{html.escape(printable(sentence))}</li>"
                       for sentence in failed.values())
    unread = f"<h2>Not read</h2>\n<ul>{problems}</ul>\n" if failed else ""
    number = f"{len(done)} photograph{'s' * (len(done) != 1)}"
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cracks in {number}</title><style>{STYLE}</style></head><body>
<h1>Cracks in {number}</h1>
<p>{html.escape(facts)}</p>
<p>Red is what the network takes for cracks: it misses some, and marks other things too. A crack is
a connected piece of the mask, so one that is marked with gaps is counted several times; the numbers
in an overlay are those of <a href="cracks.csv">cracks.csv</a>. ± is the uncertainty of measuring
the mask, which itself may be some pixels too narrow or too wide. The photograph with the largest
area of cracks comes first. All photographs: <a href="photographs.csv">photographs.csv</a>; lines
for maps: <a href="cracks.geojson">cracks.geojson</a>.</p>
{unread}<ol>
{chr(10).join(items)}
</ol></body></html>
"""
    return text.encode(errors="backslashreplace")


def crack_area(entry: dict) -> int:
    """The pixels of a photograph that belong to cracks."""
    return sum(row["area_px"] for row in entry["cracks"])


def summary(entry: dict) -> str:
    """What a photograph's cracks are together, as HTML."""
    rows = entry["cracks"]
    if entry["note"]:
        return f"<p>{html.escape(entry['note'])}</p>"
    if not rows:
        return "<p>No crack was found.</p>"
    unit = "mm" if "length_mm" in rows[0] else "px"
    length = sum(row[f"length_{unit}"] for row in rows)
    widest = max(rows, key=lambda row: row["greatest_width_px"])
    width = f"{widest[f'greatest_width_{unit}']:.3g}"
    if unit == "mm":
        width += f" ± {widest['greatest_width_uncertainty_mm']:g}"
    share = crack_area(entry) / (entry["size"][0] * entry["size"][1])
    cells = [("cracks", f"{len(rows)}"), ("total length", f"{length:,.0f} {unit}"),
             ("greatest width", f"{width} {unit}"), ("share of the area", f"{share:.2%}")]
    lines = "".join(f"<tr><th>{title}</th><td>{value}</td></tr>" for title, value in cells)
    return f"<table>{lines}</table>"
