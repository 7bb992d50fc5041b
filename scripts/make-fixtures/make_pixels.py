"""Writes test/fixtures/pixels: unusual images, and their pixels by Pillow and Hugging Face's BitImageProcessor (Pillow backend).

images/*             small images of every kind, 42 x 28 (width x height) unless the name gives another size
expected.safetensors NAME.rgb: `Image.open(NAME).convert("RGB")`; NAME.upright: the same pixels after `ImageOps.exif_transpose`; levels: the processor's
                     float32 of every 8-bit value, (3, 256)
png.safetensors      PNG of every colour type, bit depth and interlacing, every filter among its rows: NAME.png, the file; NAME.rgb as above
cases.json           for each size, the first 16 hex digits of the SHA-256 of the uint8 output (height, width, 3), for noise from formula.py
"""
import hashlib, io, json, struct, zlib
from pathlib import Path
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin
from safetensors.numpy import save_file
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from formula import hash_uniform

FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "pixels"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
W, H = 42, 28
PROFILE = Image.open(FOLDER.parents[2] / "demo" / "photos" / "rocket.jpg").info["icc_profile"]  # a colour profile that is not sRGB


def noise(name: str, *shape: int) -> np.ndarray:
    return np.floor(hash_uniform(name, int(np.prod(shape))) * 256).astype(np.uint8).reshape(shape)


def processor(shortest_edge: int, crop: int, **kw) -> BitImageProcessorPil:
    return BitImageProcessorPil(
        do_resize=True, size={"shortest_edge": shortest_edge}, resample=3, do_center_crop=True, crop_size={"height": crop, "width": crop},
        do_rescale=False, do_normalize=False, do_convert_rgb=True, rescale_factor=0.00392156862745098, image_mean=MEAN, image_std=STD, **kw)


def crop(image: Image.Image, shortest_edge: int, size: int) -> np.ndarray:
    return np.asarray(processor(shortest_edge, size)(image)["pixel_values"][0]).transpose(1, 2, 0).astype(np.uint8)


def fit(image: Image.Image, longest_side: int) -> np.ndarray:
    """Resizes as `resize: 'fit'` of src/image/geometry.ts does. Halves are rounded up."""
    w, h = image.size
    side = lambda s: max(1, (2 * s * longest_side + max(w, h) * 14) // (2 * max(w, h) * 14)) * 14
    return np.asarray(image.resize((side(w), side(h)), Image.Resampling.BICUBIC))


def square(image: Image.Image, size: int) -> np.ndarray:
    resized = BitImageProcessorPil(
        do_resize=True, size={"height": size, "width": size}, resample=3, do_center_crop=False, do_rescale=False, do_normalize=False, do_convert_rgb=True)
    return np.asarray(resized(image)["pixel_values"][0]).transpose(1, 2, 0).astype(np.uint8)


def size_cases() -> list[dict]:
    rng = np.random.default_rng(2024)
    crops = [(1, 1), (1, 7), (7, 1), (2, 3), (255, 256), (256, 256), (257, 255), (224, 224), (3000, 2), (2, 3000), (4096, 3), (1999, 1501), (640, 427), (13, 13)]
    crops = [(w, h, 256, 224) for w, h in crops] + [(300, 300, 224, 224), (517, 700, 592, 518), (40, 30, 592, 518), (90, 80, 15, 14)]
    for _ in range(150):
        w, h = (int(v) for v in np.exp(rng.uniform(0, np.log(700), 2)))
        size = 14 * int(rng.integers(1, 9))
        crops.append((w, h, size + int(rng.integers(0, 40)), size))
    cases = []
    for w, h, edge, size in crops:
        image = Image.fromarray(noise(f"{w}x{h}", h, w, 3))
        cases.append(dict(width=w, height=h, resize="crop", shortestEdge=edge, cropSize=size, sha256=digest(crop(image, edge, size))))
    fits = [(1, 1, 518), (1, 500, 518), (500, 1, 518), (640, 427, 518), (427, 640, 518), (518, 518, 518), (517, 519, 518), (30, 2000, 210), (100, 37, 100)]
    fits += [(2, 3000, 518), (3000, 2, 518), (3, 300, 210), (3, 301, 210), (3, 301, 308), (1, 4096, 42)]  # Pillow resizes vertically first beyond a ratio of 1 : 100
    fits += [tuple(int(v) for v in (*np.exp(rng.uniform(0, np.log(700), 2)), rng.integers(14, 300))) for _ in range(50)]
    for w, h, side in fits:
        out = fit(Image.fromarray(noise(f"{w}x{h}", h, w, 3)), side)
        cases.append(dict(width=w, height=h, resize="fit", longestSide=side, outputHeight=out.shape[0], outputWidth=out.shape[1], sha256=digest(out)))
    squares = [(1, 1, 224), (640, 427, 224), (427, 640, 518), (224, 224, 224), (8000, 3, 224), (3, 8000, 224), (8192, 2, 14), (2, 8192, 42), (1, 1401, 14), (5, 7, 98)]
    squares += [(int(w), int(h), 14 * int(k)) for w, h, k in zip(*np.exp(rng.uniform(0, np.log(700), (2, 30))), rng.integers(1, 17, 30))]
    for w, h, size in squares:
        cases.append(dict(width=w, height=h, resize="square", size=size, outputHeight=size, outputWidth=size, sha256=digest(square(Image.fromarray(noise(f"{w}x{h}", h, w, 3)), size))))
    return cases


def pattern(w: int, h: int) -> np.ndarray:
    """Returns a pattern of 0 and 1, small as a PNG with 1 bit per pixel. test/image/large.ts computes the same pattern."""
    x, y = np.arange(w, dtype=np.int64)[None, :], np.arange(h, dtype=np.int64)[:, None]
    return (((x // 48 * 5 + y // 64 * 3 + x * y // 100_003) % 7) < 3).astype(np.uint8)


def large_cases() -> list[dict]:
    """Returns images larger than a texture in one or both dimensions: noise in memory, and files with 1 bit per pixel."""
    cases = []
    for kind, w, h, turns in [("noise", 9000, 300, (1, 6)), ("noise", 300, 9000, (1,)), ("noise", 17000, 60, (1, 5)), ("noise", 60, 17000, (1, 8)),
                              ("file", 20_000, 60, (1,)), ("file", 60, 20_000, (1,)), ("file", 12_000, 9000, (1,))]:
        stored = Image.fromarray(noise(f"{w}x{h}", h, w, 3) if kind == "noise" else np.repeat(pattern(w, h)[..., None] * 255, 3, 2))
        for turn in turns:
            exif = Image.Exif(); exif[0x0112] = turn
            buffer = io.BytesIO(); stored.save(buffer, "PNG", exif=exif, compress_level=1)
            image = ImageOps.exif_transpose(Image.open(buffer)).convert("RGB") if turn > 1 else stored
            cases.append(dict(kind=kind, width=w, height=h, orientation=turn, sha256=digest(crop(image, 256, 224))))
    return cases


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def filtered(rows: np.ndarray, distance: int) -> bytes:
    """Applies PNG filters to rows of packed bytes, with filters 0 to 4 in turn. Each row starts with its filter type."""
    out, above = b"", np.zeros(rows.shape[1], np.int64)
    for y, row in enumerate(rows.astype(np.int64)):
        left, corner = (np.concatenate([np.zeros(distance, np.int64), r])[: len(r)] for r in (row, above))
        p = left + above - corner
        a, b, c = abs(p - left), abs(p - above), abs(p - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
        guess = [0, left, above, (left + above) // 2, paeth][y % 5]
        out += bytes([y % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    return out


def png(samples: np.ndarray, colour_type: int, bits: int, palette: bytes = b"", interlaced: bool = False, extra: tuple = ()) -> bytes:
    """Encodes (height, width, channels) as a PNG. Pillow cannot write 16-bit colour, interlaced files or chosen filters."""
    h, w, channels = samples.shape
    data = b""
    for left, top, step_x, step_y in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::step_y, left::step_x]
        if part.size == 0: continue
        planes = (part.reshape(len(part), -1)[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
        data += filtered(np.packbits(planes.reshape(len(part), -1).astype(np.uint8), axis=1), max(1, channels * bits // 8))
    chunk = lambda kind, content: struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    packed = zlib.compress(data, 9)
    half = len(packed) // 2
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, colour_type, 0, 0, interlaced)), *([(b"PLTE", palette)] if palette else []), *extra]
    chunks += [(b"IDAT", packed[:half]), (b"IDAT", packed[half:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_of(name: str, h: int, w: int, colour_type: int, bits: int, **kw) -> bytes:
    """Returns a PNG of noise."""
    raw = noise(name, h, w, CHANNELS[colour_type], 2).astype(np.int64)
    samples = (raw[..., 0] * 256 + raw[..., 1]) >> (16 - bits)
    if colour_type == 0 and bits == 16: samples[:, : (w + 1) // 2] >>= 8  # half of the image is in the range that Pillow does not clamp
    return png(samples, colour_type, bits, noise(f"{name}.palette", 3 << bits).tobytes() if colour_type == 3 else b"", **kw)


def decoder_cases() -> dict[str, np.ndarray]:
    tensors = {}
    for colour_type, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for bits in depths:
            for interlaced in (False, True):
                for w, h in ((14, 14), (1, 1), (5, 3) if interlaced else (9, 2)):
                    name = f"{colour_type}-{bits}{'-adam7' if interlaced else ''}-{w}x{h}"
                    file = png_of(name, h, w, colour_type, bits, interlaced=interlaced)
                    tensors[f"{name}.png"] = np.frombuffer(file, np.uint8)
                    tensors[f"{name}.rgb"] = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).copy()
    return tensors


def write_images(folder: Path) -> None:
    rgb, rgba = Image.fromarray(noise("rgb", H, W, 3)), Image.fromarray(noise("rgba", H, W, 4))
    alpha = np.array(rgba); alpha[:7, :, 3] = 0; alpha[7:14, :, 3] = 255; rgba = Image.fromarray(alpha)
    y, x = np.mgrid[0:H, 0:W]
    smooth = Image.fromarray(np.stack([x * 6, y * 9, 255 - x * 3 - y * 4], -1).clip(0, 255).astype(np.uint8))
    exif = lambda orientation: (e := Image.Exif(), e.__setitem__(0x0112, orientation))[0]
    gamma = PngImagePlugin.PngInfo(); gamma.add(b"gAMA", struct.pack(">I", 100000))

    rgb.save(folder / "rgb.png")
    rgb.save(folder / "gamma.png", pnginfo=gamma)
    rgb.save(folder / "exif6.png", exif=exif(6))
    rgba.save(folder / "rgba.png")
    rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=200).save(folder / "palette.png")
    rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(folder / "palette-transparency.png", transparency=3)
    rgb.convert("L").save(folder / "grey.png")
    Image.fromarray(noise("la", H, W, 2), "LA").save(folder / "grey-alpha.png")
    rgb.convert("1").save(folder / "bit.png")
    for name, colour_type in (("rgb16", 2), ("grey16", 0), ("grey-alpha16", 4), ("rgba16", 6)):
        (folder / f"{name}.png").write_bytes(png_of(name, H, W, colour_type, 16))
    (folder / "rgb16-interlaced.png").write_bytes(png_of("rgb16", H, W, 2, 16, interlaced=True))
    (folder / "exif7-rgba16.png").write_bytes(png_of("rgba16", H, W, 6, 16, extra=[(b"eXIf", exif(7).tobytes()[6:])]))
    (folder / "interlaced.png").write_bytes(png_of("interlaced", H, W, 2, 8, interlaced=True))
    for bits in (2, 4): (folder / f"grey{bits}.png").write_bytes(png_of(f"grey{bits}", H, W, 0, bits))
    rgb.save(folder / "profile.png", icc_profile=PROFILE)
    rgba.save(folder / "profile-alpha.png", icc_profile=PROFILE)
    rgb.save(folder / "profile.webp", lossless=True, icc_profile=PROFILE)
    rgba.save(folder / "profile-alpha.webp", lossless=True, exact=True, icc_profile=PROFILE)
    smooth.save(folder / "profile.jpg", quality=90, subsampling=0, icc_profile=PROFILE)
    rgba.save(folder / "exif5-alpha.png", exif=exif(5))
    rgba.save(folder / "exif6-alpha.webp", lossless=True, exact=True, exif=exif(6))
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.gif")
    rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(folder / "transparency.gif", transparency=3)
    rgb.save(folder / "rgb.bmp")
    rgb.save(folder / "lossless.webp", lossless=True)
    rgb.save(folder / "exif8.webp", lossless=True, exif=exif(8))
    rgba.save(folder / "alpha.webp", lossless=True, exact=True)
    smooth.save(folder / "lossy.webp", quality=80)
    veiled = smooth.copy(); veiled.putalpha(rgba.getchannel("A")); veiled.save(folder / "lossy-alpha.webp", quality=80, exact=True)
    smooth.save(folder / "444.avif", quality=100, subsampling="4:4:4"); smooth.save(folder / "420.avif", quality=80)
    smooth.save(folder / "444.jpg", quality=90, subsampling=0)
    smooth.save(folder / "420.jpg", quality=90, subsampling=2)
    smooth.save(folder / "progressive.jpg", quality=90, progressive=True)
    smooth.convert("L").save(folder / "grey.jpg", quality=90)
    smooth.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    for orientation in range(1, 9):
        smooth.save(folder / f"exif{orientation}.jpg", quality=90, subsampling=0, exif=exif(orientation))
    Image.fromarray(noise("1x1", 1, 1, 3)).save(folder / "1x1.png")
    Image.fromarray(noise("300x1", 1, 300, 3)).save(folder / "300x1.png")
    for w, h in ((8000, 2), (2, 8000)):  # smooth images give small files
        y, x = np.mgrid[0:h, 0:w]
        Image.fromarray(np.stack([x // 8 + y // 16, x // 40 + y // 32, (x + y) // 64], -1).astype(np.uint8)).save(folder / f"{w}x{h}.png")


if __name__ == "__main__":
    images = FOLDER / "images"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.iterdir(): old.unlink()
    write_images(images)
    expected = {}
    for path in sorted(images.iterdir()):
        expected[f"{path.name}.rgb"] = np.asarray(Image.open(path).convert("RGB")).copy()
        upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).copy()
        if "exif" in path.name: expected[f"{path.name}.upright"] = upright
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    full = processor(1, 1)
    full.do_resize = full.do_center_crop = False
    full.do_rescale = full.do_normalize = True
    expected["levels"] = np.ascontiguousarray(np.asarray(full(Image.fromarray(ramp))["pixel_values"][0])[:, 0, :])
    save_file(expected, str(FOLDER / "expected.safetensors"))
    save_file(decoder_cases(), str(FOLDER / "png.safetensors"))
    (FOLDER / "large.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in large_cases()) + "\n]\n")
    cases = size_cases()
    (FOLDER / "cases.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    print(len(cases), "sizes,", len(expected), "tensors,", sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()), "bytes")
