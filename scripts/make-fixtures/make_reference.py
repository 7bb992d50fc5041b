"""Writes test/fixtures/reference: outputs of Hugging Face `transformers` (scripts/make-fixtures/README.md describes the installation).

Every weight and input is computed from (tensor name, shape, seed), so even a full ViT-L checkpoint needs no file:
test/fixtures/reference/README.md gives the formula, formula.py implements it. The forward pass runs in float64; results are stored as float32.
"""
import json, os, tempfile
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel
from formula import tensor

FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "reference"

def build(kind, **kw):
    """Returns a model with synthetic weights. The formula uses the tensor names of the checkpoint file."""
    cls, cfg = (Dinov2WithRegistersModel, Dinov2WithRegistersConfig) if kind == "registers" else (Dinov2Model, Dinov2Config)
    torch.manual_seed(0)
    model = cls(cfg(patch_size=14, attn_implementation="eager", **kw)).eval()
    with tempfile.TemporaryDirectory() as d:
        model.save_pretrained(d)
        path = os.path.join(d, "model.safetensors")
        state = {k: torch.from_numpy(tensor(k, tuple(v.shape))) for k, v in load_file(path).items()}
        save_file(state, path, {"format": "pt"})
        model = cls.from_pretrained(d, attn_implementation="eager").eval()
        config = json.load(open(os.path.join(d, "config.json")))
    return model, state, config

def forward(model, h, w, batch=1, everything=False, masks=None):
    x = torch.from_numpy(tensor(f"pixel_values.{h}x{w}", (batch, 3, h, w))).double()
    with torch.no_grad():
        kw = {} if masks is None else {"bool_masked_pos": masks}
        out = model.double()(x, output_hidden_states=everything, output_attentions=everything, **kw)
    got = {"last_hidden_state": out.last_hidden_state}
    if everything:
        got |= {f"hidden_states.{i}": t for i, t in enumerate(out.hidden_states)}
        got |= {f"attentions.{i}": t for i, t in enumerate(out.attentions)}
    return {k: t.float().contiguous() for k, t in got.items()}

if __name__ == "__main__":
    TINY = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=70)
    for kind, extra in {"plain": {}, "registers": {"num_register_tokens": 4}, "swiglu": {"use_swiglu_ffn": True}}.items():
        model, state, config = build(kind, **TINY, **extra)
        folder = FOLDER / f"tiny-{kind}"; folder.mkdir(parents=True, exist_ok=True)
        save_file(state, str(folder / "model.safetensors"), {"format": "pt"})
        keep = {k: v for k, v in config.items() if k not in ("dtype", "transformers_version")}
        (folder / "config.json").write_text(json.dumps(keep, indent=2, sort_keys=True) + "\n")
        for h, w, b in [(70, 70, 1), (56, 98, 2), (14, 14, 1), (100, 61, 1)]:
            save_file(forward(model, h, w, b, everything=True), str(folder / f"expected.{h}x{w}.b{b}.safetensors"))
    SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
    for name, (d, layers, heads) in SIZES.items():
        model, _, _ = build("plain", hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads, image_size=518)
        shapes = [(224, 224)] + ([(518, 518), (322, 448)] if name == "small" else [])
        for h, w in shapes:
            save_file(forward(model, h, w), str(FOLDER / f"{name}.expected.{h}x{w}.safetensors"))
            print(name, h, w, flush=True)
