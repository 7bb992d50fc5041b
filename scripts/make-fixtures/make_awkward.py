"""Writes unusual and damaged image files, such as those of cameras, broken downloads and animations, and Pillow's result for each.

test/fixtures/images/awkward.safetensors holds the files as bytes. awkward.json holds for each file name the first 16 hex digits of the
SHA-256 of Pillow's `convert('RGB')` bytes, with Exif orientation ignored (`asItLies`) and applied (`upright`), or null if Pillow rejects
the file. NAME.tif.png holds Pillow's pixels of NAME.tif. Images have 42 × 28 pixels, or 28 × 42 with the orientation applied.
"""

import hashlib
import io
import json
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

warnings.simplefilter("ignore")
OUT = Path(__file__).parents[2] / "test" / "fixtures" / "images"
W, H = 42, 28
rng = np.random.default_rng(14)
dice = random.Random(14)
files: dict[str, bytes] = {}


def picture(width=W, height=H, channels=3):
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / (5 + c) + y / (7 + c)) for c in range(channels)]
    noisy = np.stack(waves, -1) + rng.normal(0, 12, (height, width, channels))
    return Image.fromarray(noisy.clip(0, 255).astype("u1"))


def save(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def cut(name, ending, data, last=(1, 2, 3, 4, 8, 12)):
    """Adds a file unchanged, truncated after each eighth of its length, without its last bytes, and with trailing bytes: one file each."""
    files[f"{name}.{ending}"] = data
    for i in range(1, 8):
        files[f"{name}-{i}8.{ending}"] = data[: len(data) * i // 8]
    for count in last:
        files[f"{name}-minus{count}.{ending}"] = data[:-count]
    files[f"{name}-trailing.{ending}"] = data + b"hello" * 9


def flip(name, ending, data, begin, count=10):
    """Adds copies of a file, each with a flipped bit or with missing bytes after offset `begin`."""
    for i in range(count):
        broken = bytearray(data)
        broken[dice.randrange(begin, len(data) - 2)] ^= 1 << dice.randrange(8)
        files[f"{name}-flip{i}.{ending}"] = bytes(broken)
    for i in range(3):
        at = dice.randrange(begin, len(data) - 20)
        files[f"{name}-lost{i}.{ending}"] = data[:at] + data[at + dice.randrange(1, 15) :]


def tiff(kind, values, count=1, little=False):
    """Returns a TIFF directory with an orientation as its only entry."""
    e = "<" if little else ">"
    entry = struct.pack(e + "HHI", 274, kind, count) + (values + bytes(4))[:4] if len(values) <= 4 else None
    if entry is None:
        entry = struct.pack(e + "HHII", 274, kind, count, 26)
    head = (b"II*\0" if little else b"MM\0*") + struct.pack(e + "IH", 8, 1)
    return head + entry + bytes(4) + (values if len(values) > 4 else b"")


picture_rgb = picture()

# JPEG
jpeg = save(picture_rgb, "JPEG", quality=92)
jfif = 2 + 2 + struct.unpack(">H", jpeg[4:6])[0]
bare = jpeg[:2] + jpeg[jfif:]
scan = jpeg.index(b"\xff\xda")
for name, options in {"base": {}, "progressive": {"progressive": True}, "restart": {"restart_marker_blocks": 2}}.items():
    data = save(picture_rgb, "JPEG", quality=92, **options)
    cut(f"jpeg-{name}", "jpg", data)
    flip(f"jpeg-{name}", "jpg", data, data.index(b"\xff\xda") + 16)
for name, mode in {"grey": "L", "cmyk": "CMYK"}.items():
    cut(f"jpeg-{name}", "jpg", save(picture_rgb.convert(mode), "JPEG", quality=92), (1, 2))


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(content)) + content


def camera(content, ahead=b"", data=bare):
    """Inserts Exif data directly after SOI, as cameras write it."""
    return data[:2] + ahead + segment(0xE1, content) + data[2:]


files["bare.jpg"] = bare
files["fill.jpg"] = bare[:2] + b"\xff\xff" + bare[2:]
files["comment.jpg"] = camera(b"Exif\0\0" + tiff(3, b"\0\6"), segment(0xFE, b"hello"))
for orientation in range(10):
    for little in (False, True):
        value = struct.pack("<H" if little else ">H", orientation)
        files[f"camera{orientation}{'-little' if little else ''}.jpg"] = camera(
            b"Exif\0\0" + tiff(3, value, little=little)
        )
thumbnail = save(picture(16, 12), "JPEG")
files["camera-thumbnail.jpg"] = camera(b"Exif\0\0" + tiff(3, b"\0\6") + thumbnail)
files["camera-thumbnail-cut.jpg"] = files["camera-thumbnail.jpg"][:-200]
files["camera-after-jfif.jpg"] = jpeg[:jfif] + segment(0xE1, b"Exif\0\0" + tiff(3, b"\0\6")) + jpeg[jfif:]
files["camera-two-parts.jpg"] = camera(tiff(3, b"\0\6")[12:], data=bare)
half = tiff(3, b"\0\6")
files["camera-two-parts.jpg"] = (
    bare[:2] + segment(0xE1, b"Exif\0\0" + half[:14]) + segment(0xE1, b"Exif\0\0" + half[14:]) + bare[2:]
)
files["camera-makernote.jpg"] = camera(b"Exif\0\0" + tiff(3, b"\0\6") + rng.integers(0, 256, 60000).astype("u1").tobytes())
for kind, values in {
    1: b"\6", 2: b"\6", 4: struct.pack(">I", 6), 5: struct.pack(">II", 6, 1), 6: b"\6", 7: b"\6",
    8: struct.pack(">h", 6), 9: struct.pack(">i", 6), 10: struct.pack(">ii", 12, 2), 11: struct.pack(">f", 6),
    12: struct.pack(">d", 6), 13: struct.pack(">I", 6),
}.items():  # fmt: skip
    files[f"type{kind}.jpg"] = camera(b"Exif\0\0" + tiff(kind, values))
files["type4-little.jpg"] = camera(b"Exif\0\0" + tiff(4, struct.pack("<I", 8), little=True))
files["type4-two.jpg"] = camera(b"Exif\0\0" + tiff(4, struct.pack(">II", 6, 3), 2))
files["type3-two.jpg"] = camera(b"Exif\0\0" + tiff(3, struct.pack(">HH", 6, 3), 2))
files["type3-none.jpg"] = camera(b"Exif\0\0" + tiff(3, b"\0\6", 0))
twice = tiff(3, b"\0\6")
files["twice.jpg"] = camera(b"Exif\0\0" + twice[:8] + b"\0\2" + twice[10:22] + tiff(3, b"\0\x08")[10:])
for name, text in {"attribute": '<x tiff:Orientation="6"/>', "element": "<tiff:Orientation>8</tiff:Orientation>"}.items():
    files[f"xmp-{name}.jpg"] = camera(b"http://ns.adobe.com/xap/1.0/\0" + text.encode())
for name, tail in {
    "soi": b"\xff\xd8", "frame": jpeg[jpeg.index(b"\xff\xc0") :][:19], "table": b"\xff\xc4\0\5abc", "unknown": b"\xff\xf0",
    "thumbnail": thumbnail,
}.items():  # fmt: skip
    files[f"within-{name}.jpg"] = jpeg[: scan + 400] + tail + jpeg[scan + 400 :]
files["app-within.jpg"] = jpeg[:-2] + segment(0xE5, b"abc") + jpeg[-2:]


# PNG
def chunk(name, content, right=True):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content) ^ (not right))


def chunks_of(data):
    at, found = 8, []
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png(chunks, wrong=()):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content, name not in wrong) for name, content in chunks)


alpha = np.array(picture_rgb.convert("RGBA"))
alpha[..., 3] = rng.integers(0, 256, (H, W))
picture_rgba = Image.fromarray(alpha)
modes = {"rgb": picture_rgb, "palette": picture_rgb.quantize(40), "rgba": picture_rgba, "grey": picture_rgb.convert("L")}
for mode, image in modes.items():
    data = save(image, "PNG")
    cut(f"png-{mode}", "png", data)
    flip(f"png-{mode}", "png", data, 45, 6)
    chunks = chunks_of(data)
    before = [each for each in chunks if each[0] not in (b"IDAT", b"IEND")]
    after = [(b"IEND", b"")]
    raw = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
    packed = zlib.compress(raw)
    exif = tiff(3, b"\0\6")
    profile = b"\nexif\n%8d\n%s\n" % (len(exif) + 6, (b"Exif\0\0" + exif).hex().encode())
    idat = [(b"IDAT", packed)]
    made = {
        "split": before + [(b"IDAT", packed[i : i + 50]) for i in range(0, len(packed), 50)] + after,
        "empty-idat": before + [(b"IDAT", b"")] + idat + [(b"IDAT", b"")] + after,
        "stored": before + [(b"IDAT", zlib.compress(raw, 0))] + after,
        "short-stream": before + [(b"IDAT", zlib.compress(raw[: len(raw) * 2 // 3]))] + after,
        "long-stream": before + [(b"IDAT", zlib.compress(raw + bytes(99)))] + after,
        "cut-stream": before + [(b"IDAT", packed[: len(packed) // 2])] + after,
        "no-adler": before + [(b"IDAT", packed[:-4])] + after,
        "half-adler": before + [(b"IDAT", packed[:-1])] + after,
        "wrong-adler": before + [(b"IDAT", packed[:-1] + bytes([packed[-1] ^ 1]))] + after,
        "junk-behind-stream": before + [(b"IDAT", packed + b"junk")] + after,
        "no-iend": before + idat,
        "filter7": before + [(b"IDAT", zlib.compress(b"\7" + raw[1:]))] + after,
        "gap": before + [(b"IDAT", packed[:99]), (b"tEXt", b"a\0b"), (b"IDAT", packed[99:])] + after,
        "unknown-critical": before + [(b"ABCD", b"xx")] + idat + after,
        "name-of-signs": before + [(b"a%$d", b"xx")] + idat + after,
        "profile-ztxt": before + [(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))] + idat + after,
        "profile-text": before + [(b"tEXt", b"Raw profile type exif\0" + profile)] + idat + after,
        "profile-itxt": before + [(b"iTXt", b"Raw profile type exif\0\0\0\0\0" + profile)] + idat + after,
        "profile-itxt-packed": before
        + [(b"iTXt", b"Raw profile type exif\0\1\0\0\0" + zlib.compress(profile))]
        + idat
        + after,
        "profile-behind": before + idat + [(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))] + after,
        "profile-app1": before + [(b"tEXt", b"Raw profile type APP1\0" + profile)] + idat + after,
        "xmp": before + [(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')] + idat + after,
        "exif-behind": before + idat + [(b"eXIf", exif)] + after,
        "exif-and-profile": before + [(b"eXIf", tiff(3, b"\0\3")), (b"tEXt", b"Raw profile type exif\0" + profile)] + idat + after,
        "exif-long": before + [(b"eXIf", tiff(4, struct.pack(">I", 6)))] + idat + after,
    }
    for name, each in made.items():
        files[f"png-{mode}-{name}.png"] = png(each)
    for name in {each[0] for each in chunks}:
        files[f"png-{mode}-wrong-sum-{name.decode()}.png"] = png(chunks, (name,))
    text = [(b"tEXt", b"a\0b" + b"b" * 50)]
    files[f"png-{mode}-wrong-sum-ahead.png"] = png(before + text + idat + after, (b"tEXt",))
    files[f"png-{mode}-wrong-sum-behind.png"] = png(before + idat + text + after, (b"tEXt",))
    files[f"png-{mode}-cut-text.png"] = png(before + idat + text)[:-30]
    if mode != "palette":
        more = [picture().convert(image.mode) for _ in range(2)]
        for name, default in {"default": True, "frames": False}.items():
            data = save(image, "PNG", save_all=True, default_image=default, append_images=more)
            cut(f"apng-{mode}-{name}", "png", data, (1, 13, 40))

# WebP
webp = {
    "lossy": save(picture_rgb, "WEBP", quality=80),
    "lossless": save(picture_rgb, "WEBP", lossless=True),
    "lossy-alpha": save(picture_rgba, "WEBP", quality=80, exact=True),
    "lossless-alpha": save(picture_rgba, "WEBP", lossless=True, exact=True),
    "frames": save(picture_rgb, "WEBP", save_all=True, append_images=[picture()], lossless=True),
    "frames-alpha": save(picture_rgba, "WEBP", save_all=True, append_images=[picture()], lossless=True, exact=True),
    "frames-lossy": save(picture_rgba, "WEBP", save_all=True, append_images=[picture()], quality=80, exact=True),
}
for name, data in webp.items():
    cut(f"webp-{name}", "webp", data, (1, 2, 4, 12))
    flip(f"webp-{name}", "webp", data, 60, 5)
    for change in (-20, -1, 20):
        files[f"webp-{name}-length{change}.webp"] = data[:4] + struct.pack("<I", len(data) - 8 + change) + data[8:]


def u24(value):
    return struct.pack("<I", value)[:3]


def riff(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def inner(data):
    at, found = 12, b""
    while at + 8 <= len(data):
        length = struct.unpack("<I", data[at + 4 : at + 8])[0]
        length += length % 2
        if data[at : at + 4] in (b"VP8 ", b"VP8L", b"ALPH"):
            found += data[at : at + 8 + length]
        at += 8 + length
    return found


def animation(frames, flags=0x12, width=W, height=H):
    head = riff(b"VP8X", bytes([flags, 0, 0, 0]) + u24(width - 1) + u24(height - 1)) + riff(b"ANIM", b"\x40\x80\xc0\xff\0\0")
    return riff(b"RIFF", b"WEBP" + head + b"".join(riff(b"ANMF", frame) for frame in frames))


small = picture_rgba.crop((0, 0, 21, 17))
for name, options, image in (
    ("lossless", {"lossless": True, "exact": True}, small),
    ("lossy", {"quality": 80, "exact": True}, small),
    ("opaque", {"quality": 80}, small.convert("RGB")),
):
    data = inner(save(image, "WEBP", **options))
    for flags in (0, 1, 2, 3):
        frame = u24(4) + u24(3) + u24(20) + u24(16) + u24(100) + bytes([flags]) + data
        files[f"webp-small-{name}-{flags}.webp"] = animation([frame, frame])
        files[f"webp-small-{name}-{flags}-no-alpha.webp"] = animation([frame, frame], 0x02)
    files[f"webp-outside-{name}.webp"] = animation([frame], width=24)
    files[f"webp-one-{name}.webp"] = animation([frame])
files["webp-no-frame.webp"] = animation([])

# GIF
palettes = {
    "own": rng.integers(0, 256, 768).astype("u1").tobytes(),
    "other": rng.integers(0, 256, 768).astype("u1").tobytes(),
    "grey": bytes(v for i in range(256) for v in (i, i, i)),
    "none": None,
}
indexed = picture_rgb.quantize(200)
gif = {
    "palette": save(indexed, "GIF", interlace=0),
    "interlaced": save(indexed, "GIF", interlace=1),
    "grey": save(picture_rgb.convert("L"), "GIF"),
    "transparent": save(indexed, "GIF", transparency=5),
    "frames": save(indexed, "GIF", save_all=True, append_images=[picture().quantize(100)]),
    "few": save(picture_rgb.quantize(7), "GIF"),
}
for name, data in gif.items():
    cut(f"gif-{name}", "gif", data)
    flip(f"gif-{name}", "gif", data, 790 if len(data) > 1200 else 60)


def gif_file(width, height, frames, palette=None, background=0):
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x87 if palette else 0, background, 0) + (palette or b"")
    return head + b"".join(frames) + b";"


def gif_frame(left, top, width, height, palette=None, transparent=None, disposal=0, interlace=0, rows=None):
    data = save(Image.fromarray(rng.integers(0, 256, (rows or height, width)).astype("u1")), "GIF", interlace=interlace)
    at = 13 + (6 << (data[10] & 7) if data[10] & 0x80 else 0)
    while data[at] == 0x21:
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    flags = data[at + 9]
    begin = at + 10 + (6 << (flags & 7) if flags & 0x80 else 0)
    control = b""
    if transparent is not None or disposal:
        control = b"!\xf9\4" + bytes([disposal << 2 | (transparent is not None), 0, 0, transparent or 0, 0])
    flags = flags & 0x40 | (0x87 if palette else 0)
    return control + b"," + struct.pack("<HHHHB", left, top, width, height, flags) + (palette or b"") + data[begin:-1]


count = 0
for place, (left, top, width, height, screen) in {
    "whole": (0, 0, 42, 28, (42, 28)),
    "inside": (7, 5, 20, 13, (42, 28)),
    "sticks-out": (20, 8, 22, 20, (30, 20)),
    "wider": (0, 3, 42, 10, (28, 28)),
    "larger": (0, 0, 42, 28, (14, 14)),
}.items():
    for shared in ("own", "grey", "none"):
        for local in ("other", "grey", "none"):
            for transparent in (None, 7):
                count += 1
                frame = gif_frame(left, top, width, height, palettes[local], transparent, count % 4, count % 2)
                name = f"gif-{place}-{shared}-{local}-{'opaque' if transparent is None else 'transparent'}.gif"
                files[name] = gif_file(*screen, [frame], palettes[shared], count % 3 * 4)
own = palettes["own"]
whole = gif_frame(0, 0, W, H)
files["gif-no-frame.gif"] = gif_file(W, H, [], own)
files["gif-too-few-rows.gif"] = gif_file(W, H, [gif_frame(0, 0, W, H, rows=14)], own)
files["gif-too-many-rows.gif"] = gif_file(W, H, [gif_frame(0, 0, W, H, rows=40)], own)
files["gif-no-screen.gif"] = gif_file(0, 0, [whole], own)
files["gif-extensions.gif"] = gif_file(W, H, [b"!\xfe\5hello\0", b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0", gif_frame(0, 0, W, H, None, 3)], own)
files["gif-junk.gif"] = gif_file(W, H, [b"\1\2\3", whole], own)
files["gif-no-end.gif"] = gif_file(W, H, [whole], own)[:-1]
files["gif-no-terminator.gif"] = gif_file(W, H, [whole], own)[:-2]
files["gif-short-palette.gif"] = b"GIF89a" + struct.pack("<HHBBB", W, H, 0x81, 0, 0) + own[:12] + whole + b";"

# BMP and AVIF
for name, image in {"rgb": picture_rgb, "palette": indexed, "grey": picture_rgb.convert("L"), "bit": picture_rgb.convert("1")}.items():
    cut(f"bmp-{name}", "bmp", save(image, "BMP"))
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[274] = orientation
    files[f"avif{orientation}.avif"] = save(picture_rgb, "AVIF", quality=90, subsampling="4:4:4", exif=exif)
cut("avif", "avif", save(picture_rgb, "AVIF", quality=90, subsampling="4:4:4"), (1, 4))
files["avif-alpha.avif"] = save(picture_rgba, "AVIF", quality=90, subsampling="4:4:4")
files["avif-frames.avif"] = save(picture_rgb, "AVIF", save_all=True, append_images=[picture()], subsampling="4:4:4")
files["avif-frames-alpha.avif"] = save(picture_rgba, "AVIF", save_all=True, append_images=[picture_rgba.rotate(180)], subsampling="4:4:4")


def digest(image):
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:16]


def look(data):
    try:
        image = Image.open(io.BytesIO(data))
        size = image.convert("RGB").size
    except Exception:
        return None
    assert size == (W, H), size
    try:
        turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    except Exception:  # Pillow cannot read the Exif data
        return {"asItLies": digest(image)}
    return {"asItLies": digest(image), "upright": digest(turned)}


OUT.mkdir(parents=True, exist_ok=True)
expected = {name: look(data) for name, data in sorted(files.items())}
(OUT / "awkward.json").write_text(json.dumps(expected, indent=1) + "\n")
save_file({name: np.frombuffer(files[name], "u1") for name in sorted(files) if files[name]}, OUT / "awkward.safetensors")
print(len(files), sum(map(len, files.values())), sum(each is None for each in expected.values()))

# TIFF files for the command line, each with Pillow's pixels as a PNG.
for name, image, options in (
    ("rgb", picture_rgb, {"compression": "tiff_lzw"}),
    ("palette", indexed, {}),
    ("alpha", picture_rgba, {}),
    ("turned6", picture_rgb, {"tiffinfo": {274: 6}}),
    ("turned7", picture_rgb.convert("L"), {"tiffinfo": {274: 7}}),
    ("grey16", Image.fromarray((np.arange(W * H).reshape(H, W) * 50).astype("u2")), {}),
):
    image.save(OUT / f"{name}.tif", "TIFF", **options)
    # Opens the file from memory: given a path, Pillow 12.3 maps the file, and then does not always apply the orientation of an uncompressed image.
    Image.open(io.BytesIO((OUT / f"{name}.tif").read_bytes())).convert("RGB").save(OUT / f"{name}.tif.png")

# AVIF with chroma subsampling, which Firefox decodes differently: NAME.avif is the file, NAME.rgb holds Pillow's pixels.
y, x = np.mgrid[0:70, 0:70]
chequers = ((x // 5 + y // 7) % 2)[..., None]
sampled = {
    "chequers": Image.fromarray(np.where(chequers, [255, 0, 0], [0, 0, 255]).astype("u1")),
    "waves": Image.fromarray(np.stack([128 + 120 * np.sin(x / (15 + c) + y / (17 - c)) for c in range(3)], -1).astype("u1")),
    "photograph": Image.open(OUT.parents[2] / "demo" / "photos" / "astronaut.png").convert("RGB").crop((190, 60, 260, 130)),
}
avif = {}
for name, image in sampled.items():
    for sampling in ("4:2:0", "4:2:2", "4:4:4"):
        data = save(image, "AVIF", quality=80, subsampling=sampling)
        key = f"{name}-{sampling.replace(':', '')}"
        avif[f"{key}.avif"] = np.frombuffer(data, "u1")
        avif[f"{key}.rgb"] = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
save_file(dict(sorted(avif.items())), OUT / "avif.safetensors")
