"""Synthetic tensors, computed from name, shape and seed by the formula in test/fixtures/reference/README.md.
src/weights/synthetic.ts computes the same bits."""
import numpy as np


def hash_uniform(name: str, count: int, seed: int = 0) -> np.ndarray:
    """Returns `count` float64 values in [0, 1) with 24 random bits: FNV-1a of the name, then MurmurHash3's finaliser of a counter."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    with np.errstate(over="ignore"):
        x = np.uint32(h ^ seed) + (np.arange(1, count + 1, dtype=np.uint32) * np.uint32(0x9E3779B9))
        x ^= x >> np.uint32(16); x *= np.uint32(0x85EBCA6B)
        x ^= x >> np.uint32(13); x *= np.uint32(0xC2B2AE35)
        x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float64) * 2.0**-24


def spread(name: str, shape) -> tuple[float, float]:
    """Returns (centre, half width) of the uniform distribution of a tensor's values."""
    if name.endswith("lambda1"): return 0.3, 0.25
    if name.endswith("bias"): return 0.0, 0.2
    if "norm" in name: return 1.0, 0.3
    if name.endswith(("cls_token", "mask_token", "register_tokens", "position_embeddings")): return 0.0, 0.5
    if name.startswith("pixel_values"): return 0.0, 2.0
    return 0.0, float(np.sqrt(3.0 / np.prod(shape[1:])))


def tensor(name: str, shape, seed: int = 0) -> np.ndarray:
    """Returns a synthetic float32 tensor."""
    centre, half = spread(name, shape)
    u = hash_uniform(name, int(np.prod(shape)), seed)
    return (centre + (2.0 * u - 1.0) * half).astype(np.float32).reshape(shape)
