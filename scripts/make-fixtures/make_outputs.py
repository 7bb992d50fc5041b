"""Writes test/fixtures/outputs: all outputs other than the last hidden state. They come from two sources, which the prefixes of the names tell apart:

hf.*  Hugging Face `transformers`: hidden states with and without the final norm, attentions, bool_masked_pos, pooling, Dinov2ForImageClassification
fb.*  facebookresearch's code, reproduced below: position embeddings with the offset, masks, get_intermediate_layers, 1- and 4-layer heads

All computation is in float64, including interpolation; results are stored as float32. Weights, inputs and masks are synthetic (formula.py) and not
stored. For large tensors, only the rows of some tokens are stored: cls, the token after cls, the middle and the last token, or 8 evenly spaced tokens
for 12 x 8 patches and more (`chosen`). For small, base and large, most sizes hold every seventh channel of these rows (`thin`), which leaves room
for every layer.
"""
import math, os, tempfile
from pathlib import Path
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2WithRegistersConfig, Dinov2WithRegistersForImageClassification
from formula import hash_uniform, tensor

FOLDER = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "outputs"
CLASSES = 10
TINY = dict(hidden_size=128, num_hidden_layers=5, num_attention_heads=2, image_size=70)
COLUMN_STEP = 7
SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}

# transformers and facebookresearch deliberately interpolate in float32. The fixtures need float64 in every step.
interpolate = F.interpolate
F.interpolate = lambda x, **how: interpolate(x.double(), **how)


def build(kind: str, **sizes):
    """Returns a classifier with synthetic weights, and its tensors. The formula uses the names without the prefix of the backbone."""
    model_class, config_class, more = {
        "plain": (Dinov2ForImageClassification, Dinov2Config, {}),
        "registers": (Dinov2WithRegistersForImageClassification, Dinov2WithRegistersConfig, {"num_register_tokens": 4}),
    }[kind]
    model = model_class(config_class(patch_size=14, num_labels=CLASSES, attn_implementation="eager", **sizes, **more)).eval()
    bare = lambda name: name.removeprefix("dinov2_with_registers.").removeprefix("dinov2.")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = os.path.join(folder, "model.safetensors")
        state = {name: torch.from_numpy(tensor(bare(name), tuple(value.shape))) for name, value in load_file(path).items()}
        save_file(state, path, {"format": "pt"})
        model = model_class.from_pretrained(folder, attn_implementation="eager").eval().double()
    return model, {bare(name): value.double() for name, value in state.items()}


def pixels(h: int, w: int, batch: int) -> torch.Tensor:
    return torch.from_numpy(tensor(f"pixel_values.{h}x{w}", (batch, 3, h, w))).double()


def mask(h: int, w: int, batch: int) -> torch.Tensor:
    """Returns a mask (batch, patches) that is true for about two of five patches."""
    count = (h // 14) * (w // 14)
    return torch.from_numpy(hash_uniform(f"mask.{h}x{w}", batch * count) < 0.4).reshape(batch, count)


def chosen(tokens: int) -> list[int]:
    """Returns indices of the tokens whose rows are stored."""
    if tokens < 97: return sorted({0, min(1, tokens - 1), tokens // 2, tokens - 1})
    return sorted({i * (tokens - 1) // 7 for i in range(8)})


def thin(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Selects every seventh channel. Seven has no common divisor with the kernels' tile sizes, so every column of a tile is covered."""
    return x.index_select(dim, torch.arange(0, x.shape[dim], COLUMN_STEP))


def save(name: str, values: dict) -> None:
    save_file({k: v.detach().float().contiguous() for k, v in values.items()}, str(FOLDER / f"{name}.safetensors"))
    print(name, flush=True)


def hugging_face(model, h: int, w: int, batch: int, whole: bool) -> dict:
    backbone = getattr(model, model.base_model_prefix)
    x = pixels(h, w, batch)
    out = backbone(x, output_hidden_states=True, output_attentions=True)
    last, registers = out.last_hidden_state, getattr(model.config, "num_register_tokens", 0)
    rows = chosen(last.shape[1])
    patches = last[:, 1 + registers:]
    got = {"last": last[:, rows], "pooler": out.pooler_output, "mean": patches.mean(1), "gem": patches.clamp(min=1e-6).pow(3).mean(1).pow(1 / 3)}
    got["logits"] = model(x).logits
    got["masked"] = backbone(x, bool_masked_pos=mask(h, w, batch)).last_hidden_state[:, rows]
    for i, state in enumerate(out.hidden_states):
        got[f"hidden.{i}"] = state[:, rows]
        if i % 2 == 0: got[f"norm.{i}"] = backbone.layernorm(state)[:, rows]
    for i in (0, len(out.attentions) - 1):
        got[f"attention.{i}"] = out.attentions[i][:, :, [0, 1, -1]] if last.shape[1] > 2 else out.attentions[i]
    if whole: got["attention.2.whole"] = out.attentions[2]
    return got


def hugging_face_thin(model, h: int, w: int, batch: int) -> dict:
    """Returns every hidden state, and the attention for the query cls of every block, or for a batch of the first and the last block."""
    backbone = getattr(model, model.base_model_prefix)
    out = model(pixels(h, w, batch), output_hidden_states=True, output_attentions=True)
    last = backbone.layernorm(out.hidden_states[-1])
    rows = chosen(last.shape[1])
    got = {"last": thin(last[:, rows]), "pooler": last[:, 0], "logits": out.logits}
    for i, state in enumerate(out.hidden_states):
        got[f"hidden.{i}"] = thin(state[:, rows])
        if i % 4 == 1: got[f"norm.{i}"] = thin(backbone.layernorm(state)[:, rows])
    for i, attention in enumerate(out.attentions):
        if last.shape[1] < 40 or i in (0, len(out.attentions) - 1): got[f"attention.{i}"] = attention[:, :, :1]
    return got


class FacebookResearch:
    """DinoVisionTransformer of facebookresearch/dinov2 (dinov2/models/vision_transformer.py), with Hugging Face's tensors."""

    def __init__(self, state: dict, depth: int, heads: int, registers: int):
        self.t, self.depth, self.heads, self.registers = state, depth, heads, registers
        self.known = None

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.t[f"{name}.weight"], self.t[f"{name}.bias"], 1e-6)

    def linear(self, name, x):
        return F.linear(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def interpolate_pos_encoding(self, rows: int, cols: int, native: bool):
        table = self.t["embeddings.position_embeddings"]
        if native: return table
        m = math.isqrt(table.shape[1] - 1)
        grid = table[:, 1:].reshape(1, m, m, -1).permute(0, 3, 1, 2)
        # interpolate_offset = 0.1 and no antialias, but 0.0 and antialias for the models with registers (dinov2/hub/backbones.py)
        how = dict(size=(rows, cols), antialias=True) if self.registers else dict(scale_factor=(float(rows + 0.1) / m, float(cols + 0.1) / m))
        out = F.interpolate(grid, mode="bicubic", **how)
        assert out.shape[-2:] == (rows, cols)
        return torch.cat((table[:, :1], out.permute(0, 2, 3, 1).reshape(1, rows * cols, -1)), 1)

    def prepare_tokens_with_masks(self, x, masks=None):
        _, _, h, w = x.shape
        assert h % 14 == 0 and w % 14 == 0
        name = "embeddings.patch_embeddings.projection"
        patches = F.conv2d(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"], stride=14).flatten(2).transpose(1, 2)
        if masks is not None: patches = torch.where(masks.unsqueeze(-1), self.t["embeddings.mask_token"].unsqueeze(0), patches)
        tokens = torch.cat((self.t["embeddings.cls_token"].expand(len(x), -1, -1), patches), 1)
        native = patches.shape[1] == self.t["embeddings.position_embeddings"].shape[1] - 1 and h == w
        tokens = tokens + self.interpolate_pos_encoding(h // 14, w // 14, native)
        if not self.registers: return tokens
        return torch.cat((tokens[:, :1], self.t["embeddings.register_tokens"].expand(len(x), -1, -1), tokens[:, 1:]), 1)

    def block(self, i: int, x):
        at = f"encoder.layer.{i}"
        y = self.norm(f"{at}.norm1", x)
        q, k, v = (self.linear(f"{at}.attention.attention.{part}", y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in ("query", "key", "value"))
        y = ((q * 64**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + self.t[f"{at}.layer_scale1.lambda1"] * self.linear(f"{at}.attention.output.dense", y.transpose(1, 2).flatten(2))
        y = F.gelu(self.linear(f"{at}.mlp.fc1", self.norm(f"{at}.norm2", x)))
        return x + self.t[f"{at}.layer_scale2.lambda1"] * self.linear(f"{at}.mlp.fc2", y)

    def blocks(self, x, masks=None):
        """Returns the output of each block. Caches the outputs for the last input, because several functions are called with the same input."""
        if self.known is None or self.known[0] is not x or self.known[1] is not masks:
            outputs, y = [], self.prepare_tokens_with_masks(x, masks)
            for i in range(self.depth): outputs.append(y := self.block(i, y))
            self.known = (x, masks, outputs)
        return self.known[2]

    def forward_features(self, x, masks=None):
        x = self.blocks(x, masks)[-1]
        x = self.norm("layernorm", x)
        return {"x_norm_clstoken": x[:, 0], "x_norm_patchtokens": x[:, 1 + self.registers:]}

    def get_intermediate_layers(self, x, n=1, reshape=False, return_class_token=False, norm=True):
        b, _, h, w = x.shape
        take = range(self.depth - n, self.depth) if isinstance(n, int) else n
        outputs = [out for i, out in enumerate(self.blocks(x)) if i in take]
        if norm: outputs = [self.norm("layernorm", out) for out in outputs]
        class_tokens = [out[:, 0] for out in outputs]
        outputs = [out[:, 1 + self.registers:] for out in outputs]
        if reshape: outputs = [out.reshape(b, h // 14, w // 14, -1).permute(0, 3, 1, 2).contiguous() for out in outputs]
        return tuple(zip(outputs, class_tokens)) if return_class_token else tuple(outputs)

    def classify(self, x, layers: int):
        """Computes the logits of _LinearClassifierWrapper of dinov2/hub/classifiers.py, with synthetic `linear_head.weight` (10, 2 or 5 x hidden) and `linear_head.bias`."""
        if layers == 1:
            out = self.forward_features(x)
            linear_input = torch.cat([out["x_norm_clstoken"], out["x_norm_patchtokens"].mean(dim=1)], dim=1)
        else:
            out = self.get_intermediate_layers(x, n=4, return_class_token=True)
            linear_input = torch.cat([out[0][1], out[1][1], out[2][1], out[3][1], out[3][0].mean(dim=1)], dim=1)
        weight = torch.from_numpy(tensor("linear_head.weight", (CLASSES, linear_input.shape[1]))).double()
        return F.linear(linear_input, weight, torch.from_numpy(tensor("linear_head.bias", (CLASSES,))).double())


def facebook(model: FacebookResearch, h: int, w: int, batch: int, whole: bool) -> dict:
    x = pixels(h, w, batch)
    out, masked = model.forward_features(x), model.forward_features(x, mask(h, w, batch))
    rows = chosen(out["x_norm_patchtokens"].shape[1])
    got = {"cls": out["x_norm_clstoken"], "patches": out["x_norm_patchtokens"][:, rows], "masked.cls": masked["x_norm_clstoken"]}
    got["masked.patches"] = masked["x_norm_patchtokens"][:, rows]
    for k, (patches, cls) in enumerate(model.get_intermediate_layers(x, 3, return_class_token=True)):
        got |= {f"last3.{k}.patches": patches[:, rows], f"last3.{k}.cls": cls}
    for k, patches in enumerate(model.get_intermediate_layers(x, [1, 3], reshape=whole, norm=False)):
        got[f"list.{k}"] = patches if whole else patches[:, rows]
    return got | {"logits.1": model.classify(x, 1), "logits.4": model.classify(x, 4)}


def facebook_thin(model: FacebookResearch, h: int, w: int, batch: int, which: str) -> dict:
    """Returns outputs of the last four blocks and of both heads. `which` adds masked outputs ("mask") or the outputs of a list of blocks: all blocks ("every"), or the second and the last but one; "reshape" reshapes them to planes."""
    x = pixels(h, w, batch)
    layers = model.get_intermediate_layers(x, 4, return_class_token=True)
    rows = chosen(layers[0][0].shape[1])
    got = {"logits.1": model.classify(x, 1), "logits.4": model.classify(x, 4)}
    for k, (patches, cls) in enumerate(layers): got |= {f"last4.{k}.patches": thin(patches[:, rows]), f"last4.{k}.cls": thin(cls)}
    if which == "mask":
        masked = model.forward_features(x, mask(h, w, batch))
        return got | {"masked.cls": thin(masked["x_norm_clstoken"]), "masked.patches": thin(masked["x_norm_patchtokens"][:, rows])}
    n = range(model.depth) if which == "every" else [1, model.depth - 2]
    for k, patches in enumerate(model.get_intermediate_layers(x, n, reshape=which == "reshape", norm=False)):
        got[f"list.{k}"] = thin(patches, 1) if which == "reshape" else thin(patches[:, rows])
    return got


def sizes(name: str) -> list[tuple[int, int, int]]:
    """Returns the six sizes (height, width, batch) of small, base and large. Smaller models have sizes with more tokens."""
    few, many = (70, 42, 3 if name == "small" else 1), (112, 112, 1) if name == "large" else (224, 224, 1)
    return [(98, 154, 1), few, (14, 182, 1), (70, 70, 3), (126, 42, 1), many]


WHICH = {(14, 182): "every", (126, 42): "reshape", (70, 70): "mask"}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for kind in ("plain", "registers"):
            model, state = build(kind, **TINY)
            for h, w, batch in [(70, 70, 1), (56, 98, 3), (126, 42, 1), (100, 61, 1), (14, 14, 1), (28, 182, 1)]:
                save(f"hf.tiny-{kind}.{h}x{w}.b{batch}", hugging_face(model, h, w, batch, (h, w) == (56, 98)))
            original = FacebookResearch(state, 5, 2, 4 if kind == "registers" else 0)
            for h, w, batch in [(70, 70, 1), (56, 98, 3), (126, 42, 1), (28, 182, 1)]:
                save(f"fb.tiny-{kind}.{h}x{w}.b{batch}", facebook(original, h, w, batch, (h, w) == (126, 42)))
            if kind == "plain":  # 4,097 tokens
                got = hugging_face(model, 896, 896, 1, False)
                save("hf.tiny-plain.896x896.b1", {k: v for k, v in got.items() if k in ("last", "logits", "mean", "hidden.3")} | {"attention.4": got["attention.4"][:, :, :1]})
        for name, (d, depth, heads) in SIZES.items():
            for kind in ("plain", "registers"):
                model, state = build(kind, hidden_size=d, num_hidden_layers=depth, num_attention_heads=heads, image_size=518)
                original = FacebookResearch(state, depth, heads, 4 if kind == "registers" else 0)
                for i, (h, w, batch) in enumerate(sizes(name)):
                    if i < 2:
                        got = hugging_face(model, h, w, batch, False)
                        kept = ("last", "masked", "mean", "logits", f"hidden.{depth // 2}", f"norm.{depth // 2}")
                        got = {k: v for k, v in got.items() if k in kept} | {f"attention.{depth - 1}": got[f"attention.{depth - 1}"][:, :, :1]}
                    else:
                        got = hugging_face_thin(model, h, w, batch)
                    save(f"hf.{name}-{kind}.{h}x{w}.b{batch}", got)
                    save(f"fb.{name}-{kind}.{h}x{w}.b{batch}", facebook_thin(original, h, w, batch, WHICH.get((h, w), "list")))
    print(sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")), "bytes")
