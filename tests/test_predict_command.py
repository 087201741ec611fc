"""`crackutils predict` and `crackutils export`, as a user calls them."""

import csv
import html
import io
import json
import os
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from tiny_records import THRESHOLD, write_record

from crackutils import cli
from crackutils.cracks import export, photographs, report
from crackutils.cracks.prediction import CrackModel
from crackutils.data.samples import DataError

SIZE = (40, 56)  # height, width
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return write_record(tmp_path_factory.mktemp("records"))


def picture(size=SIZE) -> np.ndarray:
    """A grey wall with a dark line."""
    image = np.full((*size, 3), 170, np.uint8)
    image += np.random.default_rng(0).integers(30, size=image.shape, dtype=np.uint8)
    cv2.line(image, (3, 5), (size[1] - 4, size[0] - 6), (30, 30, 30), 2)
    return image


def saved(mode: str = "RGB", kind: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(exif=exif)


def of_array(array: np.ndarray, kind: str = "TIFF", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def by_opencv(suffix: str, array: np.ndarray) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


def frames(kind: str) -> bytes:
    stream = io.BytesIO()
    first = Image.fromarray(picture())
    first.save(stream, kind, save_all=True, append_images=[first.rotate(180)])
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a huge picture."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(1_000)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks)


GREY16 = picture()[..., 0].astype(np.uint16) * 257
# name: content, and the (width, height) that is read or a part of the sentence that refuses it
UPRIGHT, SIDEWAYS = (56, 40), (40, 56)
ODD = {
    "plain.jpg": (saved(), UPRIGHT), "CAPITAL.JPG": (saved(), UPRIGHT),
    "grey.jpg": (saved("L"), UPRIGHT), "cmyk.jpg": (saved("CMYK"), UPRIGHT),
    "progressive.jpeg": (saved(progressive=True), UPRIGHT),
    "turned_3.jpg": (turned(3), UPRIGHT), "turned_5.jpg": (turned(5), SIDEWAYS),
    "turned_6.jpg": (turned(6), SIDEWAYS), "turned_8.jpg": (turned(8), SIDEWAYS),
    "no_such_turn.jpg": (turned(9), UPRIGHT), "two_frames.jpg": (frames("MPO"), UPRIGHT),
    "alpha.png": (saved("RGBA", "PNG"), UPRIGHT), "grey_alpha.png": (saved("LA", "PNG"), UPRIGHT),
    "palette.png": (saved("P", "PNG"), UPRIGHT), "two_levels.png": (saved("1", "PNG"), UPRIGHT),
    "grey16.png": (of_array(GREY16, "PNG"), UPRIGHT),
    "rgb16.png": (by_opencv(".png", picture().astype(np.uint16) * 257), UPRIGHT),
    "rgb16.tif": (by_opencv(".tif", picture().astype(np.uint16) * 257), UPRIGHT),
    "float.tif": (of_array(picture()[..., 0].astype(np.float32) / 255), UPRIGHT),
    "not_finite.tif": (of_array(np.full(SIZE, np.nan, np.float32)), "expected grey levels"),
    "compressed.tiff": (saved(kind="TIFF", compression="tiff_lzw"), UPRIGHT),
    "big.tif": (saved(kind="TIFF", big_tiff=True), UPRIGHT),
    "cmyk.tif": (saved("CMYK", "TIFF"), UPRIGHT), "lab.tif": (saved("RGB", "TIFF"), UPRIGHT),
    "several_pages.tif": (frames("TIFF"), UPRIGHT), "phone.heic": (saved(kind="HEIF"), UPRIGHT),
    "web.webp": (saved(kind="WEBP"), UPRIGHT), "windows.bmp": (saved(kind="BMP"), UPRIGHT),
    "narrow.png": (of_array(picture()[:, :1], "PNG"), (1, 40)),
    "low.png": (of_array(picture()[:1], "PNG"), (56, 1)),
    "one_pixel.png": (of_array(picture()[:1, :1], "PNG"), (1, 1)),
    "truncated.jpg": (saved()[:-400], "can't be read as a picture"),
    "truncated.png": (saved(kind="PNG")[:-900], "can't be read as a picture"),
    "truncated.heic": (saved(kind="HEIF")[:-300], "can't be read"),
    "empty.jpg": (b"", "its format is unknown"), "text.jpg": (b"no picture\n", "format is unknown"),
    "bomb.png": (bomb(60_000, 60_000), "at most 537 million are read"),
    "long_bomb.png": (bomb(2**31 - 1, 1), "can't be read|at most 537 million are read"),
    "png_named.jpg": (saved(kind="PNG"), UPRIGHT),
    "moving.gif": (frames("GIF"), "is a .gif file, which is not read"),
    "raw.dng": (saved(kind="TIFF"), "is a .dng file, which is not read"),
    "균열 ü%20#?&'\".jpg": (saved(), UPRIGHT), "line\nbreak.jpg": (saved(), UPRIGHT),
    "=1+1, <b>.jpg": (saved(), UPRIGHT), "two.dots.jpg": (saved(), UPRIGHT)}


@pytest.fixture(scope="module")
def model(record):
    return CrackModel(record, "cpu")


@pytest.mark.parametrize("name", ODD)
def test_odd_photographs_are_read_or_refused_in_a_sentence(tmp_path, capsys, model, name):
    content, expected = ODD[name]
    folder, out = tmp_path / "photographs", tmp_path / "out"
    folder.mkdir()
    (folder / name).write_bytes(content)
    failures = photographs.predict_photographs([folder], out, settings(model))
    errors = capsys.readouterr().err
    if isinstance(expected, str):
        assert failures == 1 and re.search(expected, errors) and len(errors.splitlines()) == 1
        assert list(out.glob("*.png")) == [] and b"Not read" in (out / "index.html").read_bytes()
        return
    assert (failures, errors) == (0, "")
    entry = json.loads((out / f"{name}.json").read_bytes())
    assert tuple(entry["size"]) == expected
    for kind in ("mask.png", "overlay.jpg"):
        assert Image.open(out / f"{name}.{kind}").size == expected


def settings(model, threshold=THRESHOLD, **fields):
    return photographs.Settings(model, threshold, **fields)


# The command

@pytest.fixture
def walls(tmp_path):
    """Two photographs of one name in two folders, a third in another format, and a text."""
    folder = tmp_path / "walls"
    for place, shape in (("a/p.jpg", SIZE), ("b/p.jpg", (90, 70)), ("b/p.png", (64, 32))):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(shape)).save(folder / place)
    (folder / "notes.txt").write_text("dry weather")
    return folder


def status_of(*words) -> int:
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as leaving:
        return leaving.code


def middle_of(record, folder) -> float:
    """A threshold between the predictions of a photograph, so that some of it is crack."""
    image = np.array(Image.open(folder / "a" / "p.jpg"))
    return float(np.quantile(CrackModel(record, "cpu").predict(image), 0.9))


def test_predict_writes_masks_overlays_tables_and_a_page(record, walls, tmp_path, capsys):
    out, threshold = tmp_path / "out", middle_of(record, walls)
    assert status_of("predict", walls, out, "--model", record, "--threshold", threshold,
                     "--probabilities", "--scale", "100mm=842px", "--device", "cpu") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "index.html")
    model = CrackModel(record, "cpu")
    for name in ("a/p.jpg", "b/p.jpg", "b/p.png"):
        probabilities = model.predict(np.array(Image.open(walls / name)))
        mask = np.array(Image.open(out / f"{name}.mask.png"))
        assert (mask == 255 * (probabilities >= np.float32(threshold))).all()
        levels = cv2.imread(str(out / f"{name}.probability.png"), cv2.IMREAD_UNCHANGED)
        assert levels / 65535 == pytest.approx(probabilities, abs=1e-5)
        assert Image.open(out / f"{name}.overlay.jpg").size == mask.shape[::-1]
    rows = list(csv.DictReader((out / "cracks.csv").read_text().splitlines()))
    assert rows and {row["photograph"] for row in rows} <= {"a/p.jpg", "b/p.jpg", "b/p.png"}
    for row in rows:
        assert float(row["length_mm"]) == pytest.approx(float(row["length_px"]) * 100 / 842, 0.01)
        mask = np.array(Image.open(out / f"{row['photograph']}.mask.png")) > 0
        box = np.s_[int(row["top"]):int(row["bottom"]), int(row["left"]):int(row["right"])]
        assert mask[box].sum() >= int(row["area_px"])
    features = json.loads((out / "cracks.geojson").read_bytes())["features"]
    assert [feature["properties"]["length_px"] for feature in features] \
        == [float(row["length_px"]) for row in rows]
    assert {feature["geometry"]["type"] for feature in features} == {"MultiLineString"}
    listed = list(csv.DictReader((out / "photographs.csv").read_text().splitlines()))
    assert [row["photograph"] for row in listed] == ["a/p.jpg", "b/p.jpg", "b/p.png"]
    assert [int(row["cracks"]) for row in listed] \
        == [sum(row["photograph"] == name for row in rows) for name in ("a/p.jpg", "b/p.jpg",
                                                                        "b/p.png")]
    assert not list(out.rglob("*.part"))


def test_photographs_without_a_crack_and_unread_ones_are_listed(record, walls, tmp_path):
    (walls / "a" / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert status_of("predict", walls, out, "--model", record, "--threshold", "0.999") == 1
    assert (out / "cracks.csv").read_text() == "photograph,crack\n"
    listed = list(csv.DictReader((out / "photographs.csv").read_text().splitlines()))
    assert [row["photograph"] for row in listed] == ["a/broken.jpg", "a/p.jpg", "b/p.jpg",
                                                     "b/p.png"]
    assert "broken.jpg" in listed[0]["note"] and listed[0]["cracks"] == ""
    assert {row["cracks"] for row in listed[1:]} == {"0"} and listed[1]["note"] == ""


def test_the_longest_cracks_of_an_overlay_have_their_numbers():
    image = np.full((400, 400, 3), 128, np.uint8)
    short = [np.array([[10.0, 200.0], [20.0, 200.0]])]
    cracks = [SimpleNamespace(number=1, length=50, lines=[np.array([[250.0, 380], [200, 300]])])]
    cracks += [SimpleNamespace(number=number, length=10, lines=short)
               for number in range(2, report.NUMBERED + 10)]
    report.number_cracks(image, cracks)
    label = image[285:302, 200:215]
    assert (label < 60).any() and (label == 255).any()
    assert (image[310:] == 128).all() and (image[:180] == 128).all()
    image[:] = 128
    report.number_cracks(image, [SimpleNamespace(number=7, length=50, lines=[np.zeros((2, 2))])])
    assert (image[:30, :30] < 60).any()  # not above the picture
    image[:] = 128
    report.number_cracks(image, [])
    assert (image == 128).all()


class Links(HTMLParser):
    """The addresses in a page, and the text of its second headings."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses, self.headings, self.tag = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        self.addresses += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        if self.tag == "h2" and data.strip():
            self.headings.append(data)


def test_the_page_leads_to_every_file_and_begins_with_the_largest_area(record, walls, tmp_path):
    (walls / "a" / "p.jpg").rename(walls / "a" / "<b>&%20#?ü.jpg")
    out = tmp_path / "out"
    assert status_of("predict", walls, out, "--model", record, "--threshold", "0.5") == 0
    links = Links((out / "index.html").read_text())
    for address in links.addresses:
        assert (out / os.fsdecode(unquote_to_bytes(address))).is_file(), address
    entries = [json.loads(path.read_bytes()) for path in out.rglob("*.json")]
    assert len(links.headings) == len(entries) == 3
    areas = {entry["photograph"]: sum(row["area_px"] for row in entry["cracks"])
             for entry in entries}
    assert [areas[name] for name in links.headings] == sorted(areas.values(), reverse=True)
    assert "http" not in (out / "index.html").read_text()  # nothing from elsewhere


def test_a_photograph_that_was_not_measured_stands_first_on_the_page():
    files = dict.fromkeys(("overlay", "mask", "thumbnail"), "a.png")
    entry = {"photograph": "cracked.jpg", "size": (9, 9), "files": files, "note": "", "cracks": [
        {"area_px": 9, "length_px": 9, "greatest_width_px": 1}]}
    flooded = entry | {"photograph": "flooded.jpg", "note": "95% is marked", "cracks": []}
    assert Links(report.page([entry, flooded], {}, "").decode()).headings == [
        "flooded.jpg", "cracked.jpg"]
    assert "Cracks in 1 photograph<" in report.page([entry], {}, "").decode()


def test_finished_photographs_are_not_done_again_unless_something_changed(record, walls, tmp_path,
                                                                          monkeypatch):
    out, done = tmp_path / "out", []
    first = photographs.predict_photograph

    def counted(name, *rest):
        done.append(name)
        return first(name, *rest)

    monkeypatch.setattr(photographs, "predict_photograph", counted)
    words = ["predict", walls, out, "--model", record, "--device", "cpu"]
    every = ["a/p.jpg", "b/p.jpg", "b/p.png"]

    def made(*more) -> list[str]:
        done.clear()
        assert status_of(*words, *more) == 0
        return done

    assert made() == every
    table = (out / "cracks.csv").read_bytes()
    assert made() == []
    assert (out / "cracks.csv").read_bytes() == table
    Image.fromarray(picture((20, 20))).save(walls / "b" / "p.png")
    assert made() == ["b/p.png"]
    (out / "a" / "p.jpg.mask.png").unlink()
    assert made() == ["a/p.jpg"]
    (out / "a" / "p.jpg.json").write_text("{")
    assert made() == ["a/p.jpg"]
    for more in (["--threshold", "0.6"], ["--mm-per-pixel", "0.1"], ["--probabilities"],
                 ["--missed-costs", "10"]):
        assert made(*more) == every
        assert made(*more) == []


def test_an_interrupted_command_keeps_what_is_done(record, walls, tmp_path, monkeypatch, capsys):
    measure, calls = photographs.measure, []

    def interrupted(mask):
        calls.append(mask)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(mask)

    monkeypatch.setattr(photographs, "measure", interrupted)
    words = ["predict", walls, tmp_path / "out", "--model", record, "--threshold",
             middle_of(record, walls)]
    assert status_of(*words) == 130
    assert "the same command resumes its work" in capsys.readouterr().err
    calls.clear()
    monkeypatch.setattr(photographs, "measure", lambda mask: calls.append(mask) or measure(mask))
    assert status_of(*words) == 0
    assert len(calls) == 2


def test_what_can_not_be_read_is_named_and_the_others_go_on(record, walls, tmp_path, capsys):
    (walls / "a" / "broken.jpg").write_bytes(b"")
    (walls / "c.jpg").symlink_to(walls / "nowhere.jpg")
    assert status_of("predict", walls, tmp_path / "out", "--model", record) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(line.startswith("crackutils predict: ") for line in errors)
    assert "a/broken.jpg" in errors[0] and "c.jpg" in errors[1]
    assert len(list((tmp_path / "out").rglob("*.mask.png"))) == 3


def test_results_inside_the_photographs_folder_are_not_predicted(record, walls):
    words = "--model", record, "--device", "cpu"
    for out in (walls / "results", walls / "more"):
        assert status_of("predict", walls, out, *words) == 0
        assert len(list(out.rglob("*.mask.png"))) == 3
    assert status_of("predict", walls, walls, *words) == 1


def test_masks_beside_images_are_no_photographs(record, walls, tmp_path):
    for name in ("images/a.jpg", "masks/a.png", "more/masks/b.png"):
        (walls / name).parent.mkdir(parents=True)
        Image.fromarray(picture()).save(walls / name)
    found = photographs.find_photographs([walls], tmp_path / "out")
    assert "images/a.jpg" in found and "more/masks/b.png" in found and "masks/a.png" not in found
    assert [*photographs.find_photographs([walls / "masks"], tmp_path / "out")] == ["a.png"]


def test_files_and_folders_together_keep_their_places(record, walls, tmp_path):
    out = tmp_path / "out"
    assert status_of("predict", walls / "a", walls / "b" / "p.jpg", out, "--model", record) == 0
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.json")) \
        == ["a/p.jpg.json", "b/p.jpg.json"]


@pytest.mark.parametrize("words, status, expected", [
    (["--threshold", "1"], 2, "above 0 and below 1, got 1.0"),
    (["--threshold", "nan"], 2, "above 0 and below 1"),
    (["--missed-costs", "0"], 2, "finite and above 0, got 0"),
    (["--mm-per-pixel", "-1"], 2, "above 0, got -1"),
    (["--scale", "842px"], 2, "such as 100mm=842px, got '842px'"),
    (["--threshold", "0.5", "--missed-costs", "3"], 2, "not allowed with argument"),
    (["--scale", "1mm=2px", "--mm-per-pixel", "3"], 2, "not allowed with argument"),
    (["--device", "cuda"], 2, "PyTorch sees no CUDA device"),
    (["--model", "nowhere"], 1, "There is no model nowhere")])
def test_wrong_arguments_are_a_sentence(record, walls, tmp_path, capsys, monkeypatch, words, status,
                                        expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert status_of("predict", walls, tmp_path / "out", "--model", record, *words) == status
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_without_photographs_are_a_sentence(record, tmp_path, capsys):
    assert status_of("predict", tmp_path, tmp_path / "out", "--model", record) == 1
    assert "must hold photographs" in capsys.readouterr().err
    assert status_of("predict", tmp_path / "no", tmp_path / "out", "--model", record) == 1
    assert f"{tmp_path}/no is neither a file nor a folder" in capsys.readouterr().err


def test_a_picture_that_is_marked_all_over_is_not_measured(model, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "p.png")
    photographs.predict_photographs([tmp_path / "p.png"], tmp_path / "out", settings(model, 1e-9))
    entry = json.loads((tmp_path / "out" / "p.png.json").read_bytes())
    assert entry["cracks"] == [] and entry["note"].startswith("100% of the picture is marked")
    assert html.escape(entry["note"]) in (tmp_path / "out" / "index.html").read_text()


def test_a_pixel_at_the_threshold_is_marked(model, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "p.png")
    prediction = model.predict(picture())
    threshold = float(np.sort(prediction.ravel())[-50])  # some pixel's own prediction
    photographs.predict_photographs([tmp_path / "p.png"], tmp_path / "out",
                                    settings(model, threshold))
    mask = np.asarray(Image.open(tmp_path / "out" / "p.png.mask.png")) > 0
    assert np.array_equal(mask, prediction >= np.float32(threshold)) and mask.sum() >= 50


def test_a_name_that_is_no_text_is_read(model, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    Image.fromarray(picture()).save(path)
    assert photographs.predict_photographs([path], tmp_path / "out", settings(model)) == 0


# Export

@pytest.mark.parametrize("fields", [{}, {"output": "clipped"}, {"upsampling": "bilinear"},
                                    {"levels": 5, "kernel": 7, "batch_norm": False}])
def test_export_runs_in_onnxruntime_at_any_size(tmp_path, capsys, fields):
    record, path = write_record(tmp_path, **fields), tmp_path / "new" / "model.onnx"
    assert status_of("export", record, path) == 0
    assert str(path) in capsys.readouterr().out
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = CrackModel(record, "cpu")
    for size in ((1, 32, 32), (3, 1, 1), (2, 17, 50), (1, 100, 9)):
        images = np.random.default_rng(0).random((size[0], 3, *size[1:]), dtype=np.float32)
        found, = session.run(None, {"images": images})
        with torch.no_grad():
            logits = model.model(torch.from_numpy(images))
        expected = logits.clamp(0, 1) if fields.get("output") else torch.sigmoid(logits)
        assert found == pytest.approx(expected.numpy(), abs=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["tile_height"], facts["threshold"]) == ("32", str(THRESHOLD))
    assert facts["margin"] == "0"  # 32 px are too few for larger tiles: see `prediction.tiling`


def test_an_export_that_differs_writes_nothing(record, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1)
    assert status_of("export", record, tmp_path / "model.onnx") == 1
    assert "differ by" in capsys.readouterr().err and not list(tmp_path.iterdir())


def example_with(word: str) -> str:
    """The Python code in docs/your-photographs.md that has a word."""
    text = (Path(cli.__file__).parent.parent / "docs" / "your-photographs.md").read_text()
    [code] = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in code]
    return code


def test_the_example_of_the_slider_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture((70, 90))).save("wall.jpg")
    *lines, last = example_with("threshold_slider").rstrip().split("\nthreshold_slider(image")
    namespace = {}
    exec(f"{lines[0]}\nbox = threshold_slider(image{last}", namespace)
    assert "% of the picture is marked" in namespace["box"].children[2].value


def test_the_example_of_the_page_runs_without_pytorch(tmp_path, monkeypatch):
    """The code in docs/your-photographs.md, in twelve tiles, against `predict`."""
    code = example_with("onnxruntime")
    assert len(code.splitlines()) <= 15 and "torch" not in code
    monkeypatch.chdir(tmp_path)
    record = write_record(tmp_path, tile=(64, 64))
    assert status_of("export", record, "model.onnx") == 0
    image = picture((270, 290))
    Image.fromarray(image).save("wall.png")
    namespace = {}
    exec(code.replace("wall.jpg", "wall.png").replace("512", "96"), namespace)
    expected = CrackModel(record, "cpu").predict(image)
    assert namespace["margin"] == 96
    assert namespace["probabilities"] == pytest.approx(expected, abs=1e-4)
    assert Image.open("mask.png").size == (290, 270)


def test_a_fault_of_the_program_is_no_photographs_error(model, tmp_path, monkeypatch):
    def fail(mask):
        raise KeyError("x")

    monkeypatch.setattr(photographs, "measure", fail)
    Image.fromarray(picture()).save(tmp_path / "p.png")
    threshold = float(np.quantile(model.predict(picture()), 0.9))
    with pytest.raises(KeyError):
        photographs.predict_photographs([tmp_path / "p.png"], tmp_path / "out",
                                        settings(model, threshold))
    with pytest.raises(DataError, match="its format is unknown"):
        photographs.decoded(tmp_path / "p.png", b"")
