"""Writes BMPs with every header, bit depth, packing and layout of bit masks, complete and truncated, and Pillow's result for each.

test/fixtures/images/bmp.safetensors and bmp.json have the format of make_awkward.py. All images have 42 × 28 pixels.
"""

import hashlib
import io
import json
import random
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

warnings.simplefilter("ignore")
OUT = Path(__file__).parents[2] / "test" / "fixtures" / "images"
W, H = 42, 28
rng = np.random.default_rng(16)
dice = random.Random(16)
files: dict[str, bytes] = {}

y, x = np.mgrid[0:H, 0:W]
rgb = np.stack([128 + 100 * np.sin(x / (5 + c) + y / (7 - c)) for c in range(3)], -1).astype("u1")
alpha = ((x * 11 + y * 5) % 256).astype("u1")
bgr = rgb[..., ::-1]
bgra = np.dstack([bgr, alpha])
numbers = rgb[..., 0]
palette = rng.integers(0, 256, (256, 3)).astype("u1")
quads = b"".join(bytes(colour) + b"\0" for colour in palette)
triples = palette.tobytes()
greys = bytes(value for i in range(256) for value in (i, i, i, 0))
NO_COMPRESSION, RLE8, RLE4, BITFIELDS = 0, 1, 2, 3


def info(bits, compression=NO_COMPRESSION, size=40, height=H, colours=0, more=b""):
    """Returns a Windows header of `size` bytes."""
    fields = struct.pack("<IiiHHIIiiII", size, W, height, 1, bits, compression, 0, 2835, 2835, colours, 0)
    return fields + (more + bytes(size))[: size - 40]


def core(bits):
    """Returns an OS/2 header."""
    return struct.pack("<IHHHH", 12, W, H, 1, bits)


def bmp(header, colours, data, gap=b"", offset=None):
    begin = 14 + len(header) + len(colours) + len(gap) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 14 + len(header + colours + gap + data), 0, 0, begin) + header + colours + gap + data


def rows(values, top_down=False):
    lines = [row.tobytes() for row in (values if top_down else values[::-1])]
    return b"".join(line + bytes(-len(line) % 4) for line in lines)


def packed(values, bits):
    """Packs several numbers in a byte, row by row."""
    per_byte = 8 // bits
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % per_byte))).astype(int)
    return sum(padded[:, k::per_byte] << (8 - bits * (k + 1)) for k in range(per_byte)).astype("u1")


def masks(*each):
    return struct.pack(f"<{len(each)}I", *each)


def sixteen(red, green, blue):
    bits = rgb.astype(int) >> 3
    green_bits = rgb[..., 1].astype(int) >> (2 if green == 0x7E0 else 3)
    return (bits[..., 0] * (red & -red) | green_bits * (green & -green) | bits[..., 2]).astype("<u2")


def runs(values, four=False):
    """Run-length encodes rows as a random mixture of runs and literal pixels."""
    out = b""
    for row in values[::-1]:
        at = 0
        while at < W:
            length = min(dice.randrange(1, 12), W - at)
            part = row[at : at + length]
            if length < 3:
                out += b"".join(bytes([1, value << 4 if four else value]) for value in part.tolist())
            elif dice.randrange(3) == 0:
                out += bytes([length, int(part[0]) * 17 if four else int(part[0])])
            else:
                even = part[: length // 2 * 2] if four else part
                content = packed(even[None], 4).tobytes() if four else even.tobytes()
                out += bytes([0, len(even)]) + content + bytes(len(content) % 2) if len(even) > 2 else b""
                length = len(even)
            at += length
        out += b"\0\0"
    return out[:-2] + b"\0\1"


RGB_MASKS = (0xFF0000, 0xFF00, 0xFF)
made = {
    "24": bmp(info(24), b"", rows(bgr)),
    "24-top-down": bmp(info(24, height=-H), b"", rows(bgr, True)),
    "24-gap": bmp(info(24), b"", rows(bgr), b"junkjunk"),
    "24-no-offset": bmp(info(24), b"", rows(bgr), offset=0),
    "24-masks": bmp(info(24, BITFIELDS), masks(*RGB_MASKS), rows(bgr)),
    "24-other-masks": bmp(info(24, BITFIELDS), masks(0xFF, 0xFF00, 0xFF0000), rows(bgr)),
    "32": bmp(info(32), b"", rows(bgra)),
    "16": bmp(info(16), b"", rows(sixteen(0x7C00, 0x3E0, 0x1F))),
    "16-565": bmp(info(16, BITFIELDS), masks(0xF800, 0x7E0, 0x1F), rows(sixteen(0xF800, 0x7E0, 0x1F))),
    "16-555": bmp(info(16, BITFIELDS), masks(0x7C00, 0x3E0, 0x1F), rows(sixteen(0x7C00, 0x3E0, 0x1F))),
    "16-444": bmp(info(16, BITFIELDS), masks(0xF00, 0xF0, 0xF), rows(sixteen(0x7C00, 0x3E0, 0x1F))),
    "8": bmp(info(8), quads, rows(numbers)),
    "8-few": bmp(info(8, colours=100), quads[:400], rows(numbers % 100)),
    "8-beyond": bmp(info(8, colours=100), quads[:400], rows(numbers)),
    "8-many": bmp(info(8, colours=300), quads, rows(numbers), bytes(176)),
    "8-none": bmp(info(8), b"", rows(numbers)),
    "8-no-offset": bmp(info(8), quads, rows(numbers), offset=0),
    "8-header-offset": bmp(info(8), quads, rows(numbers), offset=54),
    "8-grey": bmp(info(8), greys, rows(numbers)),
    "8-few-greys": bmp(info(8, colours=100), greys[:400], rows(numbers)),
    "8-black-white": bmp(info(8, colours=2), greys[:4] + greys[-4:], rows(numbers % 2)),
    "8-masks": bmp(info(8, BITFIELDS), masks(*RGB_MASKS) + quads, rows(numbers)),
    "4": bmp(info(4), quads[:64], rows(packed(numbers % 16, 4))),
    "4-few": bmp(info(4, colours=10), quads[:40], rows(packed(numbers % 10, 4))),
    "4-grey": bmp(info(4), greys[:64], rows(packed(numbers % 16, 4))),
    "2": bmp(info(2), quads[:16], rows(packed(numbers % 4, 2))),
    "1": bmp(info(1), quads[:8], rows(packed(numbers % 2, 1))),
    "1-black-white": bmp(info(1), greys[:4] + greys[-4:], rows(packed(numbers % 2, 1))),
    "1-white-black": bmp(info(1), greys[-4:] + greys[:4], rows(packed(numbers % 2, 1))),
    "runs-8": bmp(info(8, RLE8), quads, runs(numbers // 8)),
    "runs-8-grey": bmp(info(8, RLE8), greys, runs(numbers // 8)),
    "runs-8-top-down": bmp(info(8, RLE8, height=-H), quads, runs(numbers // 8)),
    "runs-8-open": bmp(info(8, RLE8), quads, runs(numbers // 8)[:-2]),
    "runs-8-steps": bmp(info(8, RLE8), quads, b"\5\7\0\2\3\2\6\x09\0\0" + b"\x2a\3\0\0" * 27 + b"\0\1"),
    "runs-8-steps-over": bmp(info(8, RLE8), quads, b"\5\7\0\2\3\x1c\0\1"),
    "runs-8-long": bmp(info(8, RLE8), quads, b"\xff\3\0\0" * H),
    "runs-8-few": bmp(info(8, RLE8), quads, b"\5\7\0\0\6\x09\0\1"),
    "runs-4": bmp(info(4, RLE4), quads[:64], runs(numbers % 16, True)),
    "runs-4-odd": bmp(info(4, RLE4), quads[:64], (b"\0\5\x12\x34\x50\0" + b"\x26\x17\0\0") * H + b"\0\1"),
    "runs-24": bmp(info(24, RLE8), b"", rows(bgr)),
    "jpeg": bmp(info(24, 4), b"", b"\xff\xd8\xff" + bytes(99)),
    "os2-24": bmp(core(24), b"", rows(bgr)),
    "os2-8": bmp(core(8), triples, rows(numbers)),
    "os2-4": bmp(core(4), triples[:48], rows(packed(numbers % 16, 4))),
    "os2-1": bmp(core(1), triples[:6], rows(packed(numbers % 2, 1))),
    "os2-64": bmp(info(24, size=64), b"", rows(bgr)),
    "os2-64-8": bmp(info(8, size=64), quads, rows(numbers)),
    "header-16": bmp(struct.pack("<IIIHH", 16, W, H, 1, 24), b"", rows(bgr)),
}
LAYOUTS = {
    "bgra": (*RGB_MASKS, 0xFF000000),
    "bgrx": (*RGB_MASKS, 0),
    "rgba": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    "rgbx": (0xFF, 0xFF00, 0xFF0000, 0),
    "abgr": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    "xbgr": (0xFF000000, 0xFF0000, 0xFF00, 0),
    "bgxr": (0xFF000000, 0xFF00, 0xFF, 0),
    "bgar": (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
    "none": (0, 0, 0, 0),
}
for name, layout in LAYOUTS.items():
    made[f"32-{name}"] = bmp(info(32, BITFIELDS), masks(*layout[:3]), rows(bgra))
    made[f"32-56-{name}"] = bmp(info(32, BITFIELDS, 56, more=masks(*layout)), b"", rows(bgra))
for size in (52, 56, 108, 124):
    more = masks(*RGB_MASKS, 0xFF000000) + b"BGRs"
    made[f"24-{size}"] = bmp(info(24, size=size, more=more), b"", rows(bgr))
    made[f"32-{size}"] = bmp(info(32, BITFIELDS, size, more=more), b"", rows(bgra))
    made[f"32-{size}-plain"] = bmp(info(32, size=size, more=more), b"", rows(bgra))
    made[f"8-{size}"] = bmp(info(8, size=size, more=more), quads, rows(numbers))
for name, data in made.items():
    files[f"{name}.bmp"] = data
    if "-56-" in name:
        continue
    files[f"{name}-half.bmp"] = data[: len(data) // 2]
    files[f"{name}-minus1.bmp"] = data[:-1]
    files[f"{name}-header.bmp"] = data[: dice.randrange(2, 54)]


def look(data):
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception:
        return None
    assert image.size == (W, H), image.size
    return {"asItLies": hashlib.sha256(image.tobytes()).hexdigest()[:16]}


expected = {name: look(data) for name, data in sorted(files.items())}
(OUT / "bmp.json").write_text(json.dumps(expected, indent=1) + "\n")
save_file({name: np.frombuffer(files[name], "u1") for name in sorted(files)}, OUT / "bmp.safetensors")
print(len(files), sum(map(len, files.values())), sum(each is None for each in expected.values()))
print("refused:", [name for name in made if expected[f"{name}.bmp"] is None])
