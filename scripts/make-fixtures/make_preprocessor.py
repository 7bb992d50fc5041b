"""Writes test/fixtures/preprocessor/cases.json: the class token that transformers computes for a photograph, with
checkpoints that differ only in their preprocessor_config.json (see test/fixtures/preprocessor/README.md)."""
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import Dinov2Model
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

ROOT = Path(__file__).resolve().parents[2]
PHOTO = "demo/photos/chelsea.png"
DEFAULT = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "BitImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 256},
}
KINDS = {
    "default": {},
    "radiology": dict(crop_size={"height": 518, "width": 518}, size={"shortest_edge": 518}, image_mean=[0.5307] * 3, image_std=[0.2583] * 3),
    "half": dict(image_mean=[0.5] * 3, image_std=[0.5] * 3),
    "pathology": dict(image_mean=[0.7, 0.53, 0.69], image_std=[0.21, 0.28, 0.22], size={"shortest_edge": 224}),
    "square": dict(do_center_crop=False, size={"height": 448, "width": 448}),
    "rectangle": dict(do_center_crop=False, size={"height": 224, "width": 448}),
    "bilinear": dict(resample=2),
    "no crop": dict(do_center_crop=False, size={"shortest_edge": 224}),
    "no multiple of the patch": dict(crop_size={"height": 230, "width": 190}),
    "crop beyond the image": dict(crop_size={"height": 280, "width": 420}),
    "no resize": dict(do_resize=False),
    "no normalization": dict(do_normalize=False),
    "no rescale": dict(do_rescale=False),
}

if __name__ == "__main__":
    model = Dinov2Model.from_pretrained(ROOT / "test/fixtures/reference/tiny-plain", attn_implementation="eager").double().eval()
    image = Image.open(ROOT / PHOTO)
    cases = []
    for name, changes in KINDS.items():
        preprocessor = DEFAULT | changes
        settings = {key: value for key, value in preprocessor.items() if key != "image_processor_type"}
        pixels = BitImageProcessorPil(**settings)(image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            token = model(pixels.double()).last_hidden_state[0, 0].numpy()
        unit = (token / np.linalg.norm(token)).astype(np.float32)
        cases.append({"name": name, "preprocessor": preprocessor, "pixels": list(pixels.shape[2:]), "cls": [float(f"{value:.8g}") for value in unit]})
        print(name, list(pixels.shape))
    text = ",\n".join("  " + json.dumps(case) for case in cases)
    (ROOT / "test/fixtures/preprocessor/cases.json").write_text(f'{{"photo": "{PHOTO}", "cases": [\n{text}\n]}}\n')
