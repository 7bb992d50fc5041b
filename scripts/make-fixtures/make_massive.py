"""Writes test/fixtures/massive: outputs of `transformers` for tiny models with massive activations in the residual stream, like those of the
published checkpoints. Large elements in two biases raise three channels of every token to several hundred. test/fixtures/massive/README.md gives the values.
"""
import os, tempfile
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel
from formula import tensor
from make_reference import forward

FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "massive"
# (tensor on disk, channel) -> value of that element. The layer scale that follows the bias is between 0.05 and 0.55.
def massive(kind):
    second = "encoder.layer.1.mlp." + ("weights_out" if kind == "swiglu" else "fc2") + ".bias"
    return {("encoder.layer.0.attention.output.dense.bias", 17): 3000.0, (second, 5): -2000.0, (second, 90): 900.0}

def build(kind, **kw):
    cls, cfg = (Dinov2WithRegistersModel, Dinov2WithRegistersConfig) if kind == "registers" else (Dinov2Model, Dinov2Config)
    model = cls(cfg(patch_size=14, attn_implementation="eager", **kw)).eval()
    with tempfile.TemporaryDirectory() as d:
        model.save_pretrained(d)
        path = os.path.join(d, "model.safetensors")
        state = {k: torch.from_numpy(tensor(k, tuple(v.shape))) for k, v in load_file(path).items()}
        for (name, channel), value in massive(kind).items():
            state[name][channel] = value
        save_file(state, path, {"format": "pt"})
        return cls.from_pretrained(d, attn_implementation="eager").eval()

if __name__ == "__main__":
    TINY = dict(hidden_size=128, num_hidden_layers=4, num_attention_heads=2, image_size=70)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind, extra in {"plain": {}, "registers": {"num_register_tokens": 4}, "swiglu": {"use_swiglu_ffn": True}}.items():
        model = build(kind, **TINY, **extra)
        got = forward(model, 56, 98, batch=2, everything=True)
        keep = {"last_hidden_state": got["last_hidden_state"], "hidden_states.4": got["hidden_states.4"]}
        save_file(keep, str(FOLDER / f"{kind}.expected.56x98.b2.safetensors"))
