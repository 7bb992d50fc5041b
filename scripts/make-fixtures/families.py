"""Helpers of make_families.py and make_families_timm.py: synthetic tensors, and the format of a family's fixture.

A fixture consists of `NAME.json` and `NAME.safetensors`. The JSON file describes a repository (names, shapes and element types of the tensors;
config.json; preprocessor_config.json) and the expected result of loading it. The safetensors file holds Python's outputs. test/families/fixture.ts
reads both files.
"""
import json
from pathlib import Path
import numpy as np, torch
import torch.nn.functional as F
from safetensors.torch import save_file
from formula import tensor

FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "families"
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
NAMES = {kind: name for name, kind in TYPES.items()}

# transformers and timm deliberately interpolate position embeddings in float32. The fixtures need float64 in every step.
_interpolate = F.interpolate
F.interpolate = lambda x, **how: _interpolate(x.double(), **how)

# The formula knows Hugging Face's names, so names in other naming conventions are replaced by Hugging Face's equivalents.
RENAMED = [(".gamma", ".lambda1"), (".scale_factor", ".lambda1"), ("pos_embed", "position_embeddings"), ("reg_token", "register_tokens")]


def by_formula(name: str, shape, kind: torch.dtype = torch.float32) -> torch.Tensor:
    """Returns a synthetic tensor: float32 values, cast to `kind`. F64 values are slightly smaller than a float32 value; rounding to float32 gives that value. I64 values count from 0."""
    shape = tuple(shape)
    if kind == torch.int64: return torch.arange(int(np.prod(shape))).reshape(shape)
    for theirs, ours in RENAMED:
        if name.endswith(theirs): name = name.removesuffix(theirs) + ours
    value = torch.from_numpy(tensor(name, shape) if np.prod(shape) else np.zeros(shape, np.float32))
    return value.double() * (1 - 2.0**-30) if kind == torch.float64 else value.to(kind)


def filled(shapes: dict, kind: str = "F32", prefix: str = "") -> dict:
    """Returns synthetic tensors of one type, from their names and shapes."""
    return {prefix + name: by_formula(prefix + name, shape, TYPES[kind]) for name, shape in shapes.items()}


def pixels(h: int, w: int) -> torch.Tensor:
    return torch.from_numpy(tensor(f"pixel_values.{h}x{w}", (1, 3, h, w))).double()


def picture(h: int, w: int):
    """Returns an image computed with integers only. test/families/fixture.ts computes the same image."""
    from PIL import Image
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)
    planes = [(x * (3 + c) + y * (5 - c) + ((x * y) >> 4) + (((x * 7919 + y * 104729 + c * 1299709) >> 3) & 31)) & 255 for c in range(3)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


PICTURE = (110, 150)


def chosen(tokens: int, registers: int) -> list[int]:
    """Returns indices of cls, the last register, and the first, the middle and the last patch."""
    return sorted({0, registers, 1 + registers, (1 + registers + tokens) // 2, tokens - 1})


def put(name: str, example, state: dict | None, *, weights: dict | None = None, metadata={"format": "pt"}, config=None, preprocessor=None, options=None,
        registers=0, native=0, forward=None, sizes=None, transform=None, look=None, expect=None, refused=None, classifier=None, note=None) -> None:
    """Writes one fixture.

    example     ids of repositories with this structure, or a description
    state       the tensors of model.safetensors. For several files: `weights`, a dict of file names and tensors
    forward     pixels (1, 3, h, w) in float64 -> last hidden state (1, tokens, dim); computed at the size `native` and at a size that is neither native nor square
    transform   PIL image -> pixels, the preprocessing of the family. `look`: options of `features` that select this preprocessing, if the repository's files do not
    expect      expected values of `model.loaded`, `model.config` and `model.preprocessing`
    refused     error class, code and words of the message, if loading must fail
    classifier  pixels -> (logits, scores), run on the output of `transform`
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = weights or {"model.safetensors": state}
    record = {"examples": [example] if isinstance(example, str) else example}
    if note: record["note"] = note
    if options: record["options"] = options
    record["config"] = config
    record["preprocessor"] = preprocessor
    record["metadata"] = metadata
    record["files"] = {
        file: [f"{NAMES[t.dtype]} {','.join(map(str, t.shape))} {key}" for key, t in tensors.items()] for file, tensors in files.items()
    }
    outputs = {}
    with torch.no_grad():
        if refused: record["refused"] = refused
        else:
            record["expect"] = expect or {}
            record["forwards"] = []
            for h, w in sizes or [(native, native), (native * 3 // 5, native * 7 // 5)]:
                last = forward(pixels(h, w))
                rows = chosen(last.shape[1], registers)
                record["forwards"].append({"height": h, "width": w, "numTokens": last.shape[1], "tokens": rows})
                outputs[f"{h}x{w}"] = last[0, rows]
            if transform:
                x = transform(picture(*PICTURE))
                last = forward(x.double())
                rows = [0, last.shape[1] // 2, last.shape[1] - 1]
                record["image"] = {"height": PICTURE[0], "width": PICTURE[1], "inputHeight": x.shape[2], "inputWidth": x.shape[3],
                                   "numTokens": last.shape[1], "tokens": rows}
                if look: record["image"]["look"] = look
                outputs["image"] = last[0, rows]
                outputs["image.pixels"] = x[0].flatten()[:: x[0].numel() // 61].contiguous()
            if classifier:
                logits, scores = classifier(x.double())
                outputs |= {"logits": logits[0], "scores": scores[0]}
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    path = FOLDER / f"{name}.safetensors"
    if outputs: save_file({k: v.detach().float().contiguous() for k, v in outputs.items()}, str(path))
    else: path.unlink(missing_ok=True)
    print(name, flush=True)
