"""Writes DINOv2 as ONNX graphs without weights, for the benchmarks. models.mjs computes the weights by a formula.

    python make_onnx.py FOLDER [--model small,base,large] [--px 224,518] [--dtype fp32,fp16] [--form plain,fused] [--blocks N]

The graphs are exported by torch from Hugging Face's Dinov2Model (needs scripts/make-fixtures/requirements.txt, and onnx
and onnxscript). `plain`: attention is matrix products and a softmax, as in models on the hub. `fused`: attention is the
operator MultiHeadAttention of ONNX Runtime, for which its WebGPU engine has flash attention. The faster form is the peer.

For each graph, FOLDER gets NAME.onnx, whose initializers refer to NAME.bin, and NAME.json, the layout of NAME.bin. Equal
arguments give equal files.
"""
import argparse, hashlib, json, os, sys, tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "make-fixtures"))
from formula import tensor  # noqa: E402

SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
INLINE_BYTES = 256  # smaller initializers (shapes, scalars) stay in the graph


def multi_head_attention(module, query, key, value, attention_mask, scaling, **_):
    """Attention by ONNX Runtime's operator: (batch, heads, tokens, head_dim) each → (batch, tokens, heads, head_dim)."""
    batch, heads, tokens, dim = query.shape
    flat = [t.transpose(1, 2).reshape(batch, tokens, heads * dim) for t in (query, key, value)]
    out = torch.onnx.ops.symbolic("com.microsoft::MultiHeadAttention", flat, {"num_heads": heads, "scale": float(scaling)}, dtype=query.dtype, shape=flat[0].shape, version=1)
    return out.reshape(batch, tokens, heads, dim), None


def products(module, query, key, value, attention_mask, scaling, **_):
    """Attention as two matrix products and a softmax. (The export of transformers' `eager` adds a mask of zeros.)"""
    weights = torch.softmax(query @ key.transpose(2, 3) * scaling, dim=-1)
    return (weights @ value).transpose(1, 2), None


FORMS = {"plain": products, "fused": multi_head_attention}
for form, function in FORMS.items():
    ALL_ATTENTION_FUNCTIONS.register(form, function)


class LastHiddenState(torch.nn.Module):
    """The model with float32 input and output, for any type of weights."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        dtype = self.model.embeddings.cls_token.dtype
        return self.model(pixel_values.to(dtype)).last_hidden_state.float()


def build(size, attention, half, blocks=0):
    """The model with weights computed by a formula, and the names and shapes of its tensors. `blocks`: 0 for all."""
    width, layers, heads = SIZES[size]
    layers = blocks or layers
    config = Dinov2Config(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, image_size=518, patch_size=14)
    with tempfile.TemporaryDirectory() as folder, torch.device("cpu"):
        Dinov2Model(config).save_pretrained(folder)
        path = os.path.join(folder, "model.safetensors")
        shapes = {name: tuple(value.shape) for name, value in load_file(path).items()}
        save_file({name: torch.from_numpy(tensor(name, shape)) for name, shape in shapes.items()}, path, {"format": "pt"})
        model = Dinov2Model.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32).eval()
    return (model.half() if half else model), shapes


def digest(array):
    return hashlib.sha1(np.ascontiguousarray(array).tobytes()).hexdigest()


def recipes(shapes, half):
    """For the hash of each tensor's bytes: how to compute the tensor. The exporter only transposes matrices."""
    made = {}
    for name, shape in shapes.items():
        value = tensor(name, shape)
        if half:
            value = value.astype(np.float16)
        made.setdefault(digest(value), {"tensor": name, "shape": list(shape), "transposed": False})
        if value.ndim == 2:
            made.setdefault(digest(value.T), {"tensor": name, "shape": list(shape), "transposed": True})
    return made


def export(folder, size, px, dtype, form, blocks):
    name = f"dinov2-{size}-{px}-{dtype}-{form}" + (f"-{blocks}" if blocks else "")
    half = dtype == "fp16"
    model, shapes = build(size, form, half, blocks)
    pixels = torch.from_numpy(tensor(f"pixel_values.{px}x{px}", (1, 3, px, px)))
    with torch.no_grad():
        program = torch.onnx.export(LastHiddenState(model), (pixels,), input_names=["pixel_values"], output_names=["last_hidden_state"], opset_version=20, dynamo=True, verbose=False)
    proto = program.model_proto
    known = recipes(shapes, half)
    entries, offset = [], 0
    for initializer in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        if values.nbytes < INLINE_BYTES:
            continue
        recipe = known.get(digest(values))
        if recipe is None:
            raise SystemExit(f"{name}: {initializer.name} {list(values.shape)} is neither a tensor of the formula nor a transposed one. The exporter has changed: check which constants it folds.")
        entries.append({**recipe, "offset": offset, "bytes": values.nbytes})
        initializer.ClearField("raw_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        del initializer.external_data[:]
        for key, value in (("location", f"{name}.bin"), ("offset", str(offset)), ("length", str(values.nbytes))):
            initializer.external_data.add(key=key, value=value)
        offset += (values.nbytes + 4095) // 4096 * 4096
    for field in ("doc_string", "producer_version"):
        proto.ClearField(field)
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del proto.graph.value_info[:]
    (folder / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))
    (folder / f"{name}.json").write_text(json.dumps({"dtype": dtype, "bytes": offset, "tensors": entries}))
    operators = sorted({node.op_type for node in proto.graph.node})
    print(f"{name}: {len(proto.graph.node)} nodes ({', '.join(operators)}), {os.path.getsize(folder / f'{name}.onnx')} bytes without weights", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for option, values in {"model": "small,base,large", "px": "224,518", "dtype": "fp32,fp16", "form": "plain,fused"}.items():
        parser.add_argument(f"--{option}", default=values, type=lambda text: text.split(","))
    parser.add_argument("--blocks", type=int, default=0, help="only so many blocks (capture.mjs)")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for size in args.model:
        for px in map(int, args.px):
            for dtype in args.dtype:
                for form in args.form:
                    export(args.folder, size, px, dtype, form, args.blocks)
