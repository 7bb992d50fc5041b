"""Writes test/fixtures/preprocessing/transformers.json: pixels of noise images by AutoImageProcessor (Pillow backend) for many preprocessor_config.json files.

configs  preprocessor_config.json, parsed
refused  configs with which Python fails for every image, and the class of Python's error
cases    [config, width, height, output height, output width, first 16 digits of the SHA-256 of pixel_values as float32 (3, height, width)];
         the image is noise from formula.py
arrays   some complete pixel_values, in arrays.safetensors, by the index of the case
"""
import hashlib, itertools, json, tempfile, warnings
from pathlib import Path
import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from transformers import AutoImageProcessor
from formula import hash_uniform

warnings.simplefilter("ignore")
FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "preprocessing"
BIT, VIT, CLIP, DPT = (f"{name}ImageProcessor" for name in ("Bit", "ViT", "CLIP", "DPT"))
IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
SIZES = [(1, 1), (1, 7), (7, 1), (2, 3), (13, 13), (28, 28), (37, 28), (28, 41), (64, 47), (53, 200), (300, 5), (3, 301), (5, 700), (255, 256)]
FEW = [(64, 47), (29, 90)]


def noise_image(w: int, h: int) -> Image.Image:
    return Image.fromarray(np.floor(hash_uniform(f"{w}x{h}", w * h * 3) * 256).astype(np.uint8).reshape(h, w, 3))


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, np.float32).tobytes()).hexdigest()[:16]


def processor(config: dict):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(config))
        (Path(folder) / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
        return AutoImageProcessor.from_pretrained(folder, backend="pil")


def run(config: dict, w: int, h: int) -> np.ndarray:
    pixels = np.asarray(processor(config)(noise_image(w, h))["pixel_values"][0])
    assert pixels.ndim == 3 and pixels.shape[0] == 3 and np.isfinite(pixels).all(), pixels.shape
    return pixels.astype(np.float32)


def bit(**kw) -> dict:
    return dict(**{"image_processor_type": BIT, **IMAGENET, "size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "resample": 3, **kw})


def geometries() -> list[dict]:
    """Returns configs with small outputs: every size rule with every filter, for all image sizes."""
    rules = [{}, dict(size={"shortest_edge": 17}, crop_size=29), dict(size={"height": 30, "width": 45}, do_center_crop=False),
             dict(size={"shortest_edge": 28, "longest_edge": 60}, do_center_crop=False), dict(size={"max_height": 45, "max_width": 61}, crop_size={"height": 42, "width": 31}),
             dict(do_resize=False, crop_size={"height": 44, "width": 29})]
    return [bit(**rule, resample=resample) for rule, resample in itertools.product(rules, range(6))]


def settings() -> list[dict]:
    """Returns configs with the processor classes and their defaults, their alternative names, and every field in every form."""
    made = [{}, dict(image_processor_type=None), dict(feature_extractor_type="ViTFeatureExtractor"), dict(feature_extractor_type="CLIPFeatureExtractor", size=40, crop_size=33),
            dict(feature_extractor_type="ViTFeatureExtractor", image_processor_type=BIT, size=40, crop_size=33)]
    for name in (BIT, VIT, CLIP, DPT): made += [dict(image_processor_type=name + ending) for ending in ("", "Fast", "Pil")]
    made += [dict(image_processor_type=name, size=size) for name in (BIT, VIT, CLIP, DPT) for size in (50, [50, 61], {"height": 33, "width": 50})]
    made += [dict(image_processor_type=name, size=40, default_to_square=square) for name in (BIT, VIT) for square in (True, False, None)]
    made += [dict(image_processor_type=VIT, size=40, do_center_crop=True, crop_size=size) for size in (30, [28, 43], {"height": 50, "width": 20})]
    made += [dict(image_processor_type=CLIP, use_square_size=True, size=50), dict(image_processor_type=VIT, use_square_size=True, size=50)]
    made += [dict(image_processor_type=DPT, size=size, ensure_multiple_of=multiple, keep_aspect_ratio=keep, resample=resample, do_center_crop=True, crop_size=20)
             for size, multiple, keep, resample in ((56, 14, True, 3), (56, 14, False, 2), ({"height": 50, "width": 90}, 14, True, 1), (41, 1, True, 3), (70, 32, True, 4), (35, 14, True, 0))]
    steps = [dict(zip(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), flags)) for flags in itertools.product((True, False), repeat=4)]
    made += [bit(**step) for step in steps] + [bit(**{name: None}) for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_pad")]
    made += [bit(rescale_factor=factor, do_normalize=normalize) for factor in (0.00392156862745098, 1 / 127.5, 1, 0.017) for normalize in (True, False)]
    made += [bit(image_mean=mean, image_std=std) for mean, std in (([0.5307] * 3, [0.2583] * 3), (0.5, 0.25), ([0, 0, 0], [1, 1, 1]), (0, 1), ([-0.1, 123.675, 1e-3], [-2, 58.395, 1e-3]),
             ([0.70722, 0.578729, 0.703617], [0.211883, 0.230117, 0.177517]))]
    made += [bit(do_pad=True), bit(do_flip_channel_order=True, do_thumbnail=True, do_reduce_labels=True), bit(keep_aspect_ratio=True, ensure_multiple_of=14, crop_pct=0.5),
             bit(image_processor_type=DPT, do_pad=True, size=30), bit(do_convert_rgb=False), bit(size={"shortest_edge": 32, "longest_edge": None}), bit(resample="bilinear"), bit(input_data_format="channels_last")]
    return made


def refused() -> list[dict]:
    made = [bit(**{name: None}) for name in ("size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std")]
    made += [bit(size=size) for size in (0, [50], "50", {"longest_edge": 5}, {"height": 20}, {"shortest_edge": 20, "height": 3}, {"min_pixels": 5, "max_pixels": 9}, {"shortest_edge": None, "longest_edge": 9})]
    made += [bit(crop_size=size) for size in ({"shortest_edge": 30}, {"foo": 30}, [30])] + [bit(resample=value) for value in (6, -1)]
    made += [bit(image_mean=mean) for mean in ([0.5], [0.5, 0.5], [0.5] * 4, "0.25")] + [bit(rescale_factor="0.1"), bit(input_data_format="channels_first")]
    made += [dict(image_processor_type=DPT, size=size) for size in ({"shortest_edge": 50}, {"max_height": 9, "max_width": 9})] + [dict(image_processor_type=DPT, ensure_multiple_of=None), dict(image_processor_type=VIT, do_center_crop=True)]
    return made


def public_cases() -> list[dict]:
    """Returns configs of the kinds found in public repositories, with their real sizes."""
    made = [dict(), dict(crop_size={"height": 518, "width": 518}, size={"shortest_edge": 518}, image_mean=[0.5307] * 3, image_std=[0.2583] * 3), dict(image_mean=[0.5] * 3, image_std=[0.5] * 3),
            dict(do_center_crop=False, size={"height": 448, "width": 448}), dict(resample=2), dict(do_center_crop=False, size={"shortest_edge": 224}), dict(size={"shortest_edge": 224}), dict(do_normalize=False),
            dict(do_rescale=False), dict(do_center_crop=False, size={"height": 224, "width": 448})]
    return [bit(**{"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_convert_rgb": True, "rescale_factor": 0.00392156862745098, **kind}) for kind in made]


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    configs, cases, arrays = [], [], {}
    for group, sizes in ((geometries(), SIZES), (settings(), FEW), (public_cases(), [(420, 300), (187, 333)])):
        for config in group:
            configs.append(config)
            for w, h in sizes:
                try:
                    pixels = run(config, w, h)
                except Exception as error:
                    # For an extreme image, the size rule gives a side of 0.
                    cases.append([len(configs) - 1, w, h, type(error).__name__])
                    continue
                if (w, h) == (37, 28) and len(cases) % 60 == 6: arrays[str(len(cases))] = np.ascontiguousarray(pixels)
                cases.append([len(configs) - 1, w, h, *pixels.shape[1:], digest(pixels)])
    failing = []
    for config in refused():
        try:
            run(config, 40, 30)
        except Exception as error:
            failing.append([config, type(error).__name__])
        else:
            raise SystemExit(f"expected Python to refuse this config, but Python accepts it: {config}")
    line = lambda values: "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]"
    (FOLDER / "transformers.json").write_text(f'{{"configs": {line(configs)},\n"refused": {line(failing)},\n"cases": {line(cases)}}}\n')
    save_file(arrays, str(FOLDER / "arrays.safetensors"))
    print(len(configs), "configs,", len(cases), "cases,", [c for c in cases if len(c) == 4], list(arrays), sum(p.stat().st_size for p in FOLDER.iterdir()), "bytes")
