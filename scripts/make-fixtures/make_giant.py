"""Writes test/fixtures/outputs/hf.giant-*: the last hidden state of the complete ViT-g (SwiGLU, 40 blocks, 1.1 G parameters) by `transformers`, float64.

All weights would take 9 GB in float64, so each block gets its synthetic weights just before it is computed, which takes 1 GB. First, the script computes a tiny model with
SwiGLU both block by block and as loaded by `from_pretrained`. The two results must have the same bits.
"""
import os, tempfile
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel
from make_outputs import pixels, save
from formula import tensor

GIANT = dict(hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, image_size=518)
TINY = dict(hidden_size=128, num_hidden_layers=3, num_attention_heads=2, image_size=70)
SIZE = (70, 98)


def classes(kind: str, **sizes):
    """Returns the classes (model, config) of a kind of model."""
    more = dict(patch_size=14, use_swiglu_ffn=True, attn_implementation="eager", **sizes)
    if kind == "registers": return Dinov2WithRegistersModel, Dinov2WithRegistersConfig(num_register_tokens=4, **more)
    return Dinov2Model, Dinov2Config(**more)


def on_disk(name: str, shape) -> torch.Tensor:
    return torch.from_numpy(tensor(name, tuple(shape))).double()


def by_formula(name: str, shape) -> torch.Tensor:
    """Returns a synthetic parameter by its name in transformers 5, which renames and splits the tensors of the file (conversion_mapping.py, "Dinov2Model")."""
    for new, old in (("q_proj", "attention.query"), ("k_proj", "attention.key"), ("v_proj", "attention.value"), ("o_proj", "output.dense")):
        name = name.replace(f"attention.{new}", f"attention.{old}")
    name = name.replace("mlp.down_proj", "mlp.weights_out")
    for part, half in (("gate_proj", 0), ("up_proj", 1)):
        if f"mlp.{part}" in name:
            both = on_disk(name.replace(f"mlp.{part}", "mlp.weights_in"), (2 * shape[0], *shape[1:]))
            return both.chunk(2)[half].clone()
    return on_disk(name, shape)


def fill(module: torch.nn.Module, prefix: str) -> torch.nn.Module:
    """Converts a module to float64 and fills it with synthetic parameters."""
    module = module.to_empty(device="cpu").double().eval()
    for name, parameter in module.named_parameters(): parameter.data = by_formula(f"{prefix}{name}", parameter.shape)
    return module


def block_by_block(kind: str, h: int, w: int, batch: int, **sizes) -> torch.Tensor:
    model_class, config = classes(kind, **sizes)
    with torch.device("meta"): model = model_class(config)
    x = fill(model.embeddings, "embeddings.")(pixels(h, w, batch))
    for i, layer in enumerate(model.encoder.layer):
        out = fill(layer, f"encoder.layer.{i}.")(x)
        x = out[0] if isinstance(out, tuple) else out
        layer.to("meta")
        if i % 10 == 9: print(f"{kind}: {i + 1} of {config.num_hidden_layers} blocks", flush=True)
    return fill(model.layernorm, "layernorm.")(x)


def as_loaded(kind: str, h: int, w: int, batch: int, **sizes) -> torch.Tensor:
    model_class, config = classes(kind, **sizes)
    with tempfile.TemporaryDirectory() as folder:
        model_class(config).save_pretrained(folder)
        path = os.path.join(folder, "model.safetensors")
        save_file({name: torch.from_numpy(tensor(name, tuple(value.shape))) for name, value in load_file(path).items()}, path, {"format": "pt"})
        model = model_class.from_pretrained(folder, attn_implementation="eager").eval().double()
    return model(pixels(h, w, batch)).last_hidden_state


if __name__ == "__main__":
    with torch.no_grad():
        for kind in ("plain", "registers"):
            assert torch.equal(block_by_block(kind, *SIZE, 2, **TINY), as_loaded(kind, *SIZE, 2, **TINY)), kind
            save(f"hf.giant-{kind}.{SIZE[0]}x{SIZE[1]}.b1", {"last": block_by_block(kind, *SIZE, 1, **GIANT)})
