"""Prints the difference between the resize of torchvision and of Pillow, for docs/guide/parity.md. transformers uses torchvision's resize if torchvision is installed.

Needs torchvision (`pip install --no-deps`). If torchvision's compiled kernels do not load, the stub below suffices, because nothing uses them.
"""
from pathlib import Path
import numpy as np, torch
from PIL import Image

try:
    torch.ops.torchvision.nms
except (AttributeError, RuntimeError):
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"): OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision.transforms.v2 import InterpolationMode as Mode, functional as F

PHOTOS = Path(__file__).resolve().parents[2] / "demo" / "photos"
MODES = dict(nearest=(Mode.NEAREST_EXACT, 0), bilinear=(Mode.BILINEAR, 2), bicubic=(Mode.BICUBIC, 3), lanczos=(Mode.LANCZOS, 1), box=(Mode.BOX, 4), hamming=(Mode.HAMMING, 5))

if __name__ == "__main__":
    images = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.iterdir()) if path.suffix in (".png", ".jpg")]
    for name, (mode, resample) in MODES.items():
        for edge in (224, 256, 518):
            most, share = 0, 0.0
            for image in images:
                w, h = image.size
                size = [edge * h // min(w, h), edge * w // min(w, h)]
                try:
                    theirs = F.resize(torch.from_numpy(np.array(image)).permute(2, 0, 1), size, interpolation=mode, antialias=True).permute(1, 2, 0).numpy()
                except NotImplementedError:
                    most = None
                    break
                away = np.abs(theirs.astype(int) - np.asarray(image.resize(size[::-1], resample)).astype(int))
                most, share = max(most, away.max()), max(share, (away > 0).mean())
            print(name, edge, "not implemented by torchvision" if most is None else f"at most {most} of 255, in at most {share:.2%} of the values of a photograph")
    for mean, std in (([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5] * 3, [0.5] * 3)):
        factor = 0.00392156862745098
        plain = ((np.arange(256) * factor).astype(np.float32)[None] - np.float32(mean)[:, None]) / np.float32(std)[:, None]
        m, s = (torch.tensor(values) * (1.0 / factor) for values in (mean, std))
        fused = ((torch.arange(256, dtype=torch.float32)[None] - m[:, None]) / s[:, None]).numpy()
        print("levels", mean, np.abs(plain - fused).max(), f"{(plain != fused).mean():.0%}")
