"""Writes test/fixtures/heads/timm.json: logits of a timm VisionTransformer with its own `head`, which reads the class token.

Computed in float64. Weights and pixels are synthetic (formula.py, with timm's names), so only logits are stored.
"""
import json
from pathlib import Path
import torch
from timm.models.vision_transformer import VisionTransformer
from formula import tensor

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "heads" / "timm.json"
SIZE, CLASSES = 70, 4

model = VisionTransformer(img_size=SIZE, patch_size=14, embed_dim=128, depth=3, num_heads=2, init_values=1.0, num_classes=CLASSES).eval()
state = model.state_dict()
model.load_state_dict({name: torch.from_numpy(tensor(name, tuple(value.shape))) for name, value in state.items()})
x = torch.from_numpy(tensor(f"pixel_values.{SIZE}x{SIZE}", (1, 3, SIZE, SIZE))).double()
with torch.no_grad():
    logits = model.double()(x)[0].tolist()
shapes = {name: list(value.shape) for name, value in state.items()}
OUT.write_text(json.dumps({"height": SIZE, "width": SIZE, "logits": logits, "tensors": shapes}) + "\n")
