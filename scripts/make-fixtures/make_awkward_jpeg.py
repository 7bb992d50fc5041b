"""Writes unusual and damaged JPEGs: truncated, without an end marker, with misplaced segments, in many codings.

test/fixtures/images/jpeg.safetensors and jpeg.json have the format of make_awkward.py. All images have 42 × 28 pixels.
ends.safetensors holds larger JPEGs. ends.json holds for each JPEG one digit per pair of ENDS: 1 if Pillow reads the file with
the last bytes removed or replaced as the pair says. Needs jpegtran and cjpeg (libjpeg-turbo) on the path.
"""

import hashlib
import io
import json
import random
import struct
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

warnings.simplefilter("ignore")
OUT = Path(__file__).parents[2] / "test" / "fixtures" / "images"
W, H = 42, 28
rng = np.random.default_rng(15)
dice = random.Random(15)
files: dict[str, bytes] = {}
SOF, DHT, SOI, EOI, SOS, DQT, DNL, DRI, COM, DAC = 0xC0, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, 0xCC


def picture(width=W, height=H, channels=3, noise=5):
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / (5 + c) + y / (7 + c)) for c in range(channels)]
    noisy = np.stack(waves, -1) + rng.normal(0, noise, (height, width, channels))
    return noisy.clip(0, 255).astype("u1")


def save(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def tool(data, *command):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def scans(data, script):
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(script)
        file.flush()
        return tool(data, "jpegtran", "-scans", file.name)


def marker(kind):
    return bytes([0xFF, kind])


def segment(kind, content):
    return marker(kind) + struct.pack(">H", 2 + len(content)) + content


def segments(data):
    """Returns kind, begin and end of each segment up to the header of the first scan."""
    at, found = 2, []
    while not found or found[-1][0] != SOS:
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        found.append((data[at + 1], at, end))
        at = end
    return found


def insert(data, at, content):
    return data[:at] + content + data[at:]


def change(data, at, change):
    return data[:at] + bytes([change(data[at]) & 255]) + data[at + 1 :]


def awkward(name, data):
    """Adds damaged variants of a JPEG."""
    all_segments = segments(data)
    _, scan, begin = all_segments[-1]
    frame = next(at for kind, at, _ in all_segments if SOF <= kind <= 0xCF and kind not in (DHT, DAC))
    body, end = data[begin:-2], len(data) - 2
    within = [dice.randrange(begin, end) for _ in range(40)]
    rows, columns = data[frame + 5 : frame + 7], struct.unpack(">H", data[frame + 7 : frame + 9])[0]
    tables = [data[at:to] for kind, at, to in all_segments if kind == DHT]
    quantization = [data[at:to] for kind, at, to in all_segments if kind == DQT]
    open_end = data[:-2]
    made = {
        "whole": data,
        # The end of the file is missing or replaced.
        "end-1": data[:-1],
        "end-2": open_end,
        "end-5": data[:-5],
        "end-zeros-1": open_end + bytes(1),
        "end-zeros-6": open_end + bytes(6),
        "end-zeros-9": open_end + bytes(9),
        "end-cut-zeros": data[:-4] + bytes(20),
        "end-fill": open_end + b"\xff" * 3,
        "end-text": open_end + b"hello",
        "end-comment": open_end + segment(COM, b"hi"),
        "end-half-segment": open_end + segment(0xE5, b"hello")[:6],
        "end-half-marker": open_end + marker(0xE1),
        "end-restart": open_end + marker(0xD3) + bytes(9),
        "end-thumbnail": open_end + segment(0xE2, b"MPF\0") + data[:200],
        # The data is damaged.
        "cut-1": data[: within[0]],
        "cut-2": data[: within[1]],
        "cut-end": data[: within[2]] + data[-2:],
        "cut-zeros-end": data[: within[3]] + bytes(99) + data[-2:],
        "flip-1": change(data, within[4], lambda byte: byte ^ 4),
        "flip-2": change(data, within[5], lambda byte: byte ^ 64),
        "lost": data[: within[6]] + data[within[6] + 3 :],
        "more": insert(data, within[7], b"\1\2\3\4"),
        "within-restart": insert(data, within[8], marker(0xD0 + dice.randrange(8))),
        "within-tem": insert(data, within[9], marker(1)),
        "within-unknown": insert(data, within[10], marker(0xA4)),
        "within-soi": insert(data, within[11], marker(SOI)),
        "within-eoi": insert(data, within[12], marker(EOI)),
        "within-fill": insert(data, within[13], b"\xff\xff\0"),
        "within-segment": insert(data, within[14], segment(0xE5, b"abc")),
        # Segments are misplaced.
        "behind-comment": insert(data, end, segment(COM, b"x")),
        "behind-tables": insert(data, end, (tables or [b""])[0]),
        "behind-quantization": insert(data, end, quantization[0]),
        "behind-restarts": insert(data, end, segment(DRI, b"\0\3")),
        "behind-lines": insert(data, end, segment(DNL, rows)),
        "behind-scan": insert(data, end, data[scan:-2]),
        "behind-file": insert(data, end, data),
        "behind-bounds": insert(data, end, segment(DAC, b"\0\x10")),
        "behind-wrong-bounds": insert(data, end, segment(DAC, b"\0\1")),
        "trailing": data + b"\xff\xd8\xff",
        "ahead-junk": insert(data, scan, b"abc"),
        "ahead-fill": insert(data, scan, b"\xff\xff"),
        "ahead-zero": insert(data, scan, b"\0\xff\0"),
        "ahead-tem": insert(data, scan, marker(1)),
        "ahead-restart": insert(data, scan, marker(0xD3)),
        "ahead-eoi": insert(data, scan, marker(EOI)),
        "ahead-soi": insert(data, 2, marker(SOI)),
        "ahead-unknown": insert(data, scan, marker(0xF0) + b"\0\4ab"),
        "ahead-bounds": insert(data, scan, segment(DAC, b"\x20\1")),
        "ahead-restarts": insert(data, scan, segment(DRI, b"\0\2")),
        "ahead-wrong-restarts": insert(data, scan, segment(DRI, b"\0\0\1")),
        "ahead-frame": insert(data, scan, data[frame : frame + 2] + data[frame + 2 : frame + 19]),
        "adobe-rgb": insert(data, 2, segment(0xEE, b"Adobe\0d\0\0\0\0\0")),
        "adobe-ycc": insert(data, 2, segment(0xEE, b"Adobe\0d\0\0\0\0\1")),
        # Headers are wrong.
        "lines-behind": data[: frame + 5] + bytes(2) + insert(data, end, segment(DNL, rows))[frame + 7 :],
        "no-tables": data[:2] + b"".join(data[at:to] for kind, at, to in all_segments if kind != DHT) + data[begin:],
        "no-quantization": data[:2] + b"".join(data[at:to] for kind, at, to in all_segments if kind != DQT) + data[begin:],
        "other-quantization": change(data, frame + 12, lambda _: 3),
        "other-tables": change(data, scan + 6, lambda _: 0x33),
        "other-component": change(data, frame + 10, lambda byte: byte ^ 4),
        "other-parameters": change(data, begin - 2, lambda byte: byte ^ 4),
        "12-bits": change(data, frame + 4, lambda _: 12),
        "length-0": data[: scan + 2] + bytes(2) + data[scan + 4 :],
        "length-1": data[:4] + bytes(2) + data[6:],
    }
    for kind, content in made.items():
        files[f"{name}-{kind}.jpg"] = content


rgb = Image.fromarray(picture())
bases = {
    "444": save(rgb, quality=80, subsampling=0),
    "420": save(rgb, quality=85),
    "optimized": save(rgb, quality=60, optimize=True),
    "grey": save(rgb.convert("L"), quality=80),
    "restarts": save(rgb, quality=80, restart_marker_blocks=2),
    "progressive": save(rgb, quality=80, progressive=True),
    "rgb": save(rgb, quality=80, keep_rgb=True),
}
ppm = io.BytesIO()
rgb.save(ppm, "PPM")
bases |= {
    "scans": scans(bases["420"], "0;\n1;\n2;\n"),
    "progressive-restarts": tool(ppm.getvalue(), "cjpeg", "-progressive", "-restart", "1"),
    "411": tool(ppm.getvalue(), "cjpeg", "-sample", "4x1"),
    "odd": tool(ppm.getvalue(), "cjpeg", "-sample", "2x2,2x1,1x2"),
}
for name, data in bases.items():
    awkward(name, data)

# CMYK files, which the library decodes itself.
inks = Image.fromarray(picture(channels=4, noise=3), "CMYK")
for subsampling in range(3):
    cmyk = save(inks, quality=85, subsampling=subsampling)
    adobe = cmyk.index(b"Adobe") - 4
    variants = {
        "": cmyk,
        "-ycck": change(cmyk, adobe + 15, lambda _: 2),
        "-plain": cmyk[:adobe] + cmyk[adobe + 16 :],
        "-progressive": tool(cmyk, "jpegtran", "-progressive"),
        "-progressive-restarts": tool(cmyk, "jpegtran", "-progressive", "-restart", "1B"),
        "-restarts": tool(cmyk, "jpegtran", "-restart", "2B"),
        "-scans": scans(cmyk, "0;\n1 2;\n3;\n"),
    }
    for name, data in variants.items():
        files[f"cmyk{subsampling}{name}.jpg"] = data
awkward("cmyk", cmyk)
del files["cmyk-no-tables.jpg"]  # the library leaves this file to the browser, which truncates where Pillow rounds
arithmetic = tool(bases["420"], "jpegtran", "-arithmetic")
files |= {"arithmetic.jpg": arithmetic, "arithmetic-cut.jpg": arithmetic[:-60]}


def look(data):
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception:
        return None
    assert image.size == (W, H), image.size
    return {"asItLies": hashlib.sha256(image.tobytes()).hexdigest()[:16]}


expected = {name: look(data) for name, data in sorted(files.items())}
(OUT / "jpeg.json").write_text(json.dumps(expected, indent=1) + "\n")
save_file({name: np.frombuffer(files[name], "u1") for name in sorted(files)}, OUT / "jpeg.safetensors")
print(len(files), sum(map(len, files.values())), sum(each is None for each in expected.values()))

# Pairs of (number of bytes removed before the end marker, number of zeros appended).
ENDS = [(cut, zeros) for cut in (0, 1, 2, 3, 5) for zeros in range(12)]
ends = {
    "small": bases["420"],
    "444": save(Image.fromarray(picture(260, 200, noise=25)), quality=93, subsampling=0),
    "420": save(Image.fromarray(picture(360, 250, noise=25)), quality=93),
    "optimized": save(Image.fromarray(picture(90, 70)), quality=93, optimize=True),
    "restarts": save(Image.fromarray(picture(90, 70)), quality=93, restart_marker_blocks=7),
    "grey": save(Image.fromarray(picture(90, 70, 1)[..., 0]), quality=93),
}


def reads(data):
    try:
        Image.open(io.BytesIO(data)).load()
    except OSError:
        return False
    return True


verdicts = {
    name: "".join(str(int(reads(data[: len(data) - 2 - cut] + bytes(zeros)))) for cut, zeros in ENDS)
    for name, data in ends.items()
}
(OUT / "ends.json").write_text(json.dumps({"ends": ENDS, "verdicts": verdicts}) + "\n")
save_file({name: np.frombuffer(data, "u1") for name, data in sorted(ends.items())}, OUT / "ends.safetensors")
print({name: (len(data), verdicts[name].count("1")) for name, data in ends.items()})
