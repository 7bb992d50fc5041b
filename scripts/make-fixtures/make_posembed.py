"""Writes test/fixtures/posembed: position embeddings interpolated by PyTorch's `F.interpolate` in float64, stored as float32.

The table is the synthetic tensor `embeddings.position_embeddings` of shape [1, 1 + n * n, 8] (formula.py), so it is not stored. Every file
holds the results of the conventions `plain`, `antialias` and `offset`, each [rows * cols, 8]. Prints the error of PyTorch's own float32 result.
"""
from pathlib import Path
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from formula import tensor

FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "posembed"
DIM = 8
GRIDS = {37: [(1, 1), (5, 60), (16, 16), (23, 32), (36, 38), (40, 54), (28, 49)], 5: [(4, 7), (1, 25), (12, 3)]}


def interpolate(table: torch.Tensor, n: int, rows: int, cols: int, convention: str) -> torch.Tensor:
    """Interpolates to (rows * cols, dim) with the calls of transformers' modeling_dinov2*.py and facebookresearch's vision_transformer.py."""
    grid = table[:, 1:].reshape(1, n, n, -1).permute(0, 3, 1, 2)
    how = {
        "plain": dict(size=(rows, cols), align_corners=False),
        "antialias": dict(size=(rows, cols), align_corners=False, antialias=True),
        "offset": dict(scale_factor=(float(rows + 0.1) / n, float(cols + 0.1) / n)),
    }[convention]
    out = F.interpolate(grid, mode="bicubic", **how)
    assert out.shape[2:] == (rows, cols)
    return out.permute(0, 2, 3, 1).reshape(rows * cols, -1)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for n, grids in GRIDS.items():
        table = torch.from_numpy(tensor("embeddings.position_embeddings", (1, 1 + n * n, DIM)))
        for rows, cols in grids:
            exact = {c: interpolate(table.double(), n, rows, cols, c) for c in ("plain", "antialias", "offset")}
            save_file({c: t.float().contiguous() for c, t in exact.items()}, str(FOLDER / f"{n}.{rows}x{cols}.safetensors"))
            away = {c: f"{(interpolate(table, n, rows, cols, c).double() - t).abs().max():.1e}" for c, t in exact.items()}
            print(f"{n} → {rows} × {cols}; float32 is away by", away)
