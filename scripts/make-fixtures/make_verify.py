"""Writes test/fixtures/verify/expected.json, the expected values for `npm run verify -- --expected FILE owner/name`.

Also works for your own checkpoint: pass its folder (or its id on the hub) and a PNG. `Image.open` ignores the Exif orientation, as verify does
unless `pixels` in the file requests the orientation.

    python make_verify.py [CHECKPOINT [IMAGE [FILE]]]
"""
import json, sys
from pathlib import Path
import torch, transformers
from PIL import Image
from transformers import AutoModel, BitImageProcessorPil

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = [ROOT / "test/fixtures/reference/tiny-plain", ROOT / "demo/photos/chelsea.png", ROOT / "test/fixtures/verify/expected.json"]

if __name__ == "__main__":
    checkpoint, image, file = sys.argv[1:] + DEFAULTS[len(sys.argv) - 1:]
    processor = BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    model = AutoModel.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        hidden = model(processor(Image.open(image), return_tensors="pt")["pixel_values"]).last_hidden_state
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps({
        "source": f"transformers {transformers.__version__}",
        "last_hidden_state": [[round(v, 6) for v in token] for token in hidden[0, :4, :4].tolist()],
    }, indent=1) + "\n")
