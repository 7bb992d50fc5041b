"""Writes test/fixtures/pixels: what Pillow and Hugging Face's BitImageProcessor (Pillow backend) make of awkward images.

images/*             small images of every kind, 42 x 28 (width x height) where the name says nothing else
expected.safetensors NAME.rgb: `Image.open(NAME).convert("RGB")`; NAME.upright: the same after `ImageOps.exif_transpose`; levels: the processor's
                     float32 of every 8-bit value, (3, 256)
cases.json           sizes: the first 16 digits of the SHA-256 of the uint8 output (height, width, 3), for noise by formula (formula.py)
"""
import hashlib, json, struct, zlib
from pathlib import Path
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin
from safetensors.numpy import save_file
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from formula import hash_uniform

FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "pixels"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
W, H = 42, 28


def noise(name: str, *shape: int) -> np.ndarray:
    return np.floor(hash_uniform(name, int(np.prod(shape))) * 256).astype(np.uint8).reshape(shape)


def processor(shortest_edge: int, crop: int, **kw) -> BitImageProcessorPil:
    return BitImageProcessorPil(
        do_resize=True, size={"shortest_edge": shortest_edge}, resample=3, do_center_crop=True, crop_size={"height": crop, "width": crop},
        do_rescale=False, do_normalize=False, do_convert_rgb=True, rescale_factor=0.00392156862745098, image_mean=MEAN, image_std=STD, **kw)


def crop(image: Image.Image, shortest_edge: int, size: int) -> np.ndarray:
    return np.asarray(processor(shortest_edge, size)(image)["pixel_values"][0]).transpose(1, 2, 0).astype(np.uint8)


def fit(image: Image.Image, longest_side: int) -> np.ndarray:
    """resize: 'fit' of src/image/geometry.ts; halves are rounded up."""
    w, h = image.size
    side = lambda s: max(1, (2 * s * longest_side + max(w, h) * 14) // (2 * max(w, h) * 14)) * 14
    return np.asarray(image.resize((side(w), side(h)), Image.Resampling.BICUBIC))


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
    fits += [(2, 3000, 518), (3000, 2, 518), (3, 300, 210), (3, 301, 210), (3, 301, 308), (1, 4096, 42)]  # Pillow goes vertically first beyond 1 : 100
    fits += [tuple(int(v) for v in (*np.exp(rng.uniform(0, np.log(700), 2)), rng.integers(14, 300))) for _ in range(50)]
    for w, h, side in fits:
        out = fit(Image.fromarray(noise(f"{w}x{h}", h, w, 3)), side)
        cases.append(dict(width=w, height=h, resize="fit", longestSide=side, outputHeight=out.shape[0], outputWidth=out.shape[1], sha256=digest(out)))
    return cases


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def png16(path: Path, samples: np.ndarray, colour_type: int) -> None:
    """Pillow cannot write 16 bits a channel in colour."""
    h, w = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples.reshape(h, -1))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", w, h, 16, colour_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


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
    png16(folder / "rgb16.png", noise("rgb16", H, W, 6).view(np.uint16), 2)
    png16(folder / "grey16.png", noise("grey16", H, W, 2).view(np.uint16)[..., 0], 0)
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.gif")
    rgb.save(folder / "rgb.bmp")
    rgb.save(folder / "lossless.webp", lossless=True)
    rgb.save(folder / "exif8.webp", lossless=True, exif=exif(8))
    rgba.save(folder / "alpha.webp", lossless=True, exact=True)
    smooth.save(folder / "lossy.webp", quality=80)
    smooth.save(folder / "444.jpg", quality=90, subsampling=0)
    smooth.save(folder / "420.jpg", quality=90, subsampling=2)
    smooth.save(folder / "progressive.jpg", quality=90, progressive=True)
    smooth.convert("L").save(folder / "grey.jpg", quality=90)
    smooth.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    for orientation in range(1, 9):
        smooth.save(folder / f"exif{orientation}.jpg", quality=90, subsampling=0, exif=exif(orientation))
    Image.fromarray(noise("1x1", 1, 1, 3)).save(folder / "1x1.png")
    Image.fromarray(noise("300x1", 1, 300, 3)).save(folder / "300x1.png")


if __name__ == "__main__":
    images = FOLDER / "images"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.iterdir(): old.unlink()
    write_images(images)
    expected = {}
    for path in sorted(images.iterdir()):
        expected[f"{path.name}.rgb"] = np.asarray(Image.open(path).convert("RGB")).copy()
        upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).copy()
        if path.name == "grey16.png":  # Pillow clips 16 bits to 8 and gives a white image; the high byte is what everybody else shows
            expected[f"{path.name}.rgb"] = np.repeat((np.asarray(Image.open(path)) >> 8).astype(np.uint8)[..., None], 3, 2)
        if "exif" in path.name: expected[f"{path.name}.upright"] = upright
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    full = processor(1, 1)
    full.do_resize = full.do_center_crop = False
    full.do_rescale = full.do_normalize = True
    expected["levels"] = np.ascontiguousarray(np.asarray(full(Image.fromarray(ramp))["pixel_values"][0])[:, 0, :])
    save_file(expected, str(FOLDER / "expected.safetensors"))
    cases = size_cases()
    (FOLDER / "cases.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    print(len(cases), "sizes,", len(expected), "tensors,", sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()), "bytes")
