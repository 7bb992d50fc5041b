"""Writes test/fixtures/preprocessing/timm.json: pixels of noise images (PIL) by timm's create_transform(**resolve_data_config(pretrained_cfg=…)).

Needs timm and torchvision (`pip install --no-deps`). If torchvision's compiled kernels do not load, the stub below suffices, because nothing uses them.

configs  pretrained_cfg
cases    [config, width, height, output height, output width, first 16 digits of the SHA-256 of the float32 (3, height, width)]
levels   true if the float32 of every 8-bit value equals that of transformers' rescale and normalize with 1 / 255
"""
import hashlib, itertools, json
from pathlib import Path
import numpy as np, torch
from PIL import Image
from formula import hash_uniform

try:
    torch.ops.torchvision.nms
except (AttributeError, RuntimeError):
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"): OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import torchvision
from timm.data import create_transform, resolve_data_config

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "preprocessing" / "timm.json"
SIZES = [(1, 1), (1, 7), (7, 1), (13, 13), (28, 28), (37, 28), (64, 47), (47, 64), (53, 200), (300, 5), (3, 301), (255, 256)]
FEW = [(420, 300), (187, 333)]


def noise_image(w: int, h: int) -> Image.Image:
    return Image.fromarray(np.floor(hash_uniform(f"{w}x{h}", w * h * 3) * 256).astype(np.uint8).reshape(h, w, 3))


def run(config: dict, image: Image.Image) -> np.ndarray:
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=config), is_training=False)
    return transform(image).numpy()


def check_levels() -> None:
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2))
    for mean, std in (([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5] * 3, [0.5] * 3), ([0.707223, 0.578729, 0.703617], [0.211883, 0.230117, 0.177517])):
        from timm.data.transforms import MaybeToTensor
        ours = torchvision.transforms.Normalize(mean=torch.tensor(mean), std=torch.tensor(std))(MaybeToTensor()(ramp)).numpy()
        plain = (np.arange(256) * (1 / 255)).astype(np.float32)
        theirs = (plain[None] - np.array(mean, np.float32)[:, None]) / np.array(std, np.float32)[:, None]
        assert (ours[:, 0].view(np.uint32) == theirs.view(np.uint32)).all()


if __name__ == "__main__":
    check_levels()
    small = [dict(input_size=[3, *size], crop_pct=pct, crop_mode=mode, interpolation=interpolation)
             for size, pct, mode, interpolation in itertools.product(((28, 28), (29, 42)), (1.0, 0.875, 0.9, 1.1), ("center", "squash", "border"), ("bicubic", "bilinear"))]
    small += [dict(input_size=[3, 28, 28], crop_pct=0.9, crop_mode=mode, interpolation=name, mean=[0.5, 0.1, 0.9], std=[0.5] * 3) for mode in ("center", "border") for name in ("nearest", "box", "hamming", "lanczos")]
    whole = [dict(num_classes=0), dict(input_size=[3, 518, 518], crop_pct=1.0), dict(input_size=[3, 518, 518]), dict(input_size=[3, 98, 98], crop_pct=0.95, crop_mode="border", mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0]),
             dict(input_size=[3, 56, 56], test_input_size=[3, 70, 70], test_crop_pct=1.0, fixed_input_size=True, crop_pct=0), dict(input_size=[3, 42, 42], crop_mode="border", mean=[1.2, -0.3, 0.35], std=[0.2, 0.2, 0.2]),
             dict(input_size=[3, 30, 30], crop_pct=None, crop_mode=None, interpolation=None, mean=None, std=None)]
    cases = []
    for index, config in enumerate(small + whole):
        for w, h in SIZES if index < len(small) else FEW:
            try:
                pixels = run(config, noise_image(w, h))
            except Exception as error:  # for an extreme image, the size rule gives a side of 0
                cases.append([index, w, h, type(error).__name__])
                continue
            cases.append([index, w, h, *pixels.shape[1:], hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]])
    line = lambda values: "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]"
    OUT.write_text(f'{{"configs": {line(small + whole)},\n"cases": {line(cases)}}}\n')
    print(len(small + whole), "configs,", len(cases), "cases,", [c for c in cases if len(c) == 4])
