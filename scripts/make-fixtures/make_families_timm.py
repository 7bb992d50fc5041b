"""Writes timm's part of test/fixtures/families; make_families.py writes the rest. Structure, tensor names and config.json are those of the real repository.
The models are timm's VisionTransformer with the arguments of the real model. Sizes are tiny, weights synthetic. The outputs are computed by `forward_features` in
float64, and the pixels by timm's `create_transform` for the `pretrained_cfg` of config.json.
"""
import torch, torch.nn as nn
from timm.data import create_transform, resolve_data_config
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from families import by_formula, filled, put

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALF = ([0.5] * 3, [0.5] * 3)
HOPTIMUS = ([0.707223, 0.578729, 0.703617], [0.211883, 0.230117, 0.177517])
NONE = ([0.0] * 3, [1.0] * 3)
# 128 * 5.375 = 688 rows of fc1, half of them for the gate. The real models have 1536 * 5.33334 = 8192 rows.
PACKED = dict(mlp_ratio=5.375, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU)
REG4 = dict(reg_tokens=4, no_embed_class=True)


def model_of(**arguments):
    model = VisionTransformer(**{**dict(img_size=70, patch_size=14, embed_dim=128, depth=2, num_heads=2, init_values=1e-5, num_classes=0, dynamic_img_size=True), **arguments}).eval()
    return model, {name: tuple(t.shape) for name, t in model.state_dict().items()}


def hub_config(architecture, mean_std, side, crop_pct=1.0, model_args=None, interpolation="bicubic", crop_mode="center", **more) -> dict:
    """Returns a config.json with the fields that timm's save_config_for_hf writes."""
    out = {"architecture": architecture, "num_classes": 0, "num_features": 128, "global_pool": "token"}
    if model_args: out["model_args"] = model_args
    out["pretrained_cfg"] = {"tag": "lvd142m", "custom_load": False, "input_size": [3, side, side], "fixed_input_size": True, "interpolation": interpolation,
                             "crop_pct": crop_pct, "crop_mode": crop_mode, "mean": mean_std[0], "std": mean_std[1], "num_classes": 0, "pool_size": None,
                             "first_conv": "patch_embed.proj", "classifier": "head", "license": "apache-2.0"} | more
    return out


def forward_of(model, state):
    model.load_state_dict(state)
    return lambda x: model.double().forward_features(x)


def transform_of(config):
    run = create_transform(**resolve_data_config(pretrained_cfg=config["pretrained_cfg"]))
    return lambda image: run(image)[None]


def timm(name, example, config=None, expect=None, refused=None, note=None, prefix="", extras=None, rename=lambda name: name, **arguments):
    model, shapes = model_of(**arguments)
    state = filled({prefix + rename(k): v for k, v in shapes.items()})
    bare = {k: state[prefix + rename(k)] for k in shapes}
    aside = list(extras or {})
    native = arguments.get("img_size", 70)
    if refused: return put(name, example, state, config=config, refused=refused, note=note)
    said = dict(dialect="timm", prefix=prefix, setAside=aside, **({} if config else dict(assumed=["64"])))
    if config:
        cfg = config["pretrained_cfg"]
        said["preprocessing"] = dict(source="config.json", normalization=dict(mean=cfg["mean"], std=cfg["std"]), convention="timm")
    put(name, example, {k: extras[k] for k in aside[: len(aside) // 2]} | state | {k: extras[k] for k in aside[len(aside) // 2:]}, config=config,
        registers=arguments.get("reg_tokens", 0), native=native, forward=forward_of(model, bare), transform=transform_of(config) if config else None, expect=said | (expect or {}), note=note)


if __name__ == "__main__":
    # timm's mirrors of Meta's models. The mirrors without registers have facebookresearch's tensor names.
    timm("timm-plain", "timm/vit_base_patch14_dinov2.lvd142m", hub_config("vit_base_patch14_dinov2", IMAGENET, 98))
    timm("timm-plain-no-config", ["timm/vit_base_patch14_dinov2.lvd142m", "without config.json"])
    timm("timm-reg4", "timm/vit_base_patch14_reg4_dinov2.lvd142m", hub_config("vit_base_patch14_reg4_dinov2", IMAGENET, 98), **REG4)
    timm("timm-reg4-no-config", ["timm/vit_base_patch14_reg4_dinov2.lvd142m", "without config.json"], **REG4)
    timm("timm-giant", "timm/vit_giant_patch14_dinov2.lvd142m", hub_config("vit_giant_patch14_dinov2", IMAGENET, 98), **PACKED)
    timm("timm-giant-reg4", "timm/vit_giant_patch14_reg4_dinov2.lvd142m", hub_config("vit_giant_patch14_reg4_dinov2", IMAGENET, 98), **PACKED, **REG4)
    timm("timm-giant-reg4-no-config", ["timm/vit_giant_patch14_reg4_dinov2.lvd142m", "without config.json"], **PACKED, **REG4)
    timm("timm-tipsv2", "timm/vit_base_patch14_reg1_tipsv2.webli", hub_config("vit_base_patch14_reg1_tipsv2", NONE, 70), reg_tokens=1, no_embed_class=True)

    # A SwiGLU width of 340, which is not a multiple of 8: Hugging Face's config.json cannot express it.
    narrow = {**PACKED, "mlp_ratio": 5.3125}
    timm("timm-narrow-swiglu", "a SwiGLU whose width is no multiple of 8", hub_config("vit_giant_patch14_dinov2", IMAGENET, 70, model_args=dict(img_size=70, mlp_ratio=5.3125)), **narrow)
    # Position embeddings without the class token, in models without registers. 25 position embeddings could also belong to 4 × 6 patches and a class token, so config.json decides.
    alone = dict(no_embed_class=True)
    timm("timm-patch-positions", "no_embed_class in model_args of config.json", hub_config("vit_base_patch14_dinov2", IMAGENET, 98, model_args=dict(img_size=70, no_embed_class=True)), **alone)
    timm("timm-patch-positions-by-size", "no_embed_class that input_size of config.json tells", hub_config("vit_base_patch14_dinov2", IMAGENET, 70), **alone)
    _, shapes = model_of(**alone)
    for name, config, words in [
        ("no-config", None, ["25", "config.json"]),
        ("wrong", hub_config("vit_base_patch14_dinov2", IMAGENET, 70, model_args=dict(img_size=70, no_embed_class=False)), ["25", "no_embed_class"]),
        ("other-size", hub_config("vit_base_patch14_dinov2", IMAGENET, 98), ["25"]),
    ]:
        put(f"timm-patch-positions-{name}", "positions that nothing tells apart", filled(shapes), config=config, refused=dict(error="ConfigError", code="CONFIG_UNSUPPORTED", words=words))
    _, shapes = model_of()
    put("timm-patch-positions-contradicted", "no_embed_class of a table that has a class token", filled(shapes), config=hub_config("vit_base_patch14_dinov2", IMAGENET, 70, model_args=dict(img_size=70, no_embed_class=True)),
        refused=dict(error="ConfigError", code="CONFIG_UNSUPPORTED", words=["26", "no_embed_class"]))

    classes = dict(img_size=70, num_classes=5)
    model, shapes = model_of(**classes, **REG4)
    state, config = filled(shapes), hub_config("vit_base_patch14_reg4_dinov2", IMAGENET, 70, num_classes=5) | {"num_classes": 5, "label_names": [f"kind {i}" for i in range(5)]}
    forward = forward_of(model, state)
    def scores(x): return (logits := model.double()(x)), torch.softmax(logits, -1)
    put("timm-classifier", "a fine-tune of timm's with 5 classes", state, config=config, registers=4, native=70, forward=forward, transform=transform_of(config), classifier=scores,
        expect=dict(dialect="timm", prefix="", setAside=[]))

    # Pathology models
    side = dict(img_size=70)
    timm("h-optimus", ["bioptimus/H-optimus-0", "bioptimus/H-optimus-1"], hub_config("vit_giant_patch14_reg4_dinov2", HOPTIMUS, 70, model_args=dict(img_size=70, init_values=1e-5, dynamic_img_size=False)), **PACKED, **REG4)
    timm("h0-mini", "bioptimus/H0-mini", hub_config("vit_base_patch14_reg4_dinov2", HOPTIMUS, 70, model_args=dict(img_size=70, init_values=1e-5, mlp_ratio=5.375)), **PACKED, **REG4,
         note="timm's create_model has to be given mlp_layer and act_layer: config.json does not name them")
    timm("uni", "MahmoodLab/UNI", hub_config("vit_large_patch16_224", IMAGENET, 80, model_args=dict(img_size=80, init_values=1e-5, dynamic_img_size=True)), img_size=80, patch_size=16)
    timm("uni2-h", "MahmoodLab/UNI2-h", hub_config("vit_giant_patch14_224", IMAGENET, 70, model_args=dict(img_size=70, patch_size=14, depth=2, num_heads=2, init_values=1e-5, embed_dim=128, mlp_ratio=5.375,
         no_embed_class=True, reg_tokens=8, dynamic_img_size=True)), **PACKED, reg_tokens=8, no_embed_class=True, note="timm's create_model has to be given mlp_layer and act_layer: config.json does not name them")
    timm("gigapath", "prov-gigapath/prov-gigapath", hub_config("vit_giant_patch14_dinov2", IMAGENET, 80, crop_pct=0.875, model_args=dict(img_size=80, patch_size=16, init_values=1e-5)), **PACKED, img_size=80, patch_size=16)
    timm("kaiko-l14", "1aurent/vit_large_patch14_reg4_224.kaiko_ai_towards_large_pathology_fms", hub_config("vit_large_patch14_reg4_dinov2", HALF, 70, model_args=dict(img_size=70, init_values=1e-5)), **REG4)
    # Virchow has its real width, because timm's config.json lacks the number of heads and only this width shows that heads are not 64 wide.
    # Virchow2 also has position embeddings for its registers.
    for name, example, registers in [("virchow", "paige-ai/Virchow", 0), ("virchow2", "paige-ai/Virchow2", 4)]:
        arguments = dict(img_size=70, init_values=1e-5, mlp_ratio=0.5, global_pool="", dynamic_img_size=True) | (dict(reg_tokens=4) if registers else {})
        _, shapes = model_of(**arguments, embed_dim=1280, num_heads=16, depth=1, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU)
        config = hub_config("vit_huge_patch14_224", IMAGENET, 70, model_args=arguments) | {"num_features": 1280, "global_pool": ""}
        for config, kept in [(config, name), (None, f"{name}-no-config")]:
            put(kept, example if config else [example, "without config.json"], filled(shapes, "F16"), config=config, refused=dict(error="ConfigError", code="CONFIG_UNSUPPORTED", words=["positions", "register tokens"] if registers else ["1280", "heads of 80"]))
    _, shapes = model_of(embed_dim=1152, num_heads=16, depth=1, mlp_ratio=0.5, reg_tokens=1, no_embed_class=True)
    put("timm-so400m", ["timm/vit_so400m_patch14_reg1_tipsv2.webli", "google/tipsv2-so400m14"], filled(shapes, "F16"), config=hub_config("vit_so400m_patch14_reg1_tipsv2", NONE, 70) | {"num_features": 1152},
        refused=dict(error="ConfigError", code="CONFIG_UNSUPPORTED", words=["1152", "heads of 72"]))
    # DINO models have no LayerScale, unlike every DINOv2.
    timm("kaiko-s16", ["1aurent/vit_small_patch16_224.kaiko_ai_towards_large_pathology_fms"], hub_config("vit_small_patch16_224", HALF, 80), img_size=80, patch_size=16, init_values=None,
         refused=dict(error="CheckpointError", words=["LayerScale"]))

    # OpenVLA contains a DINOv2 model with registers, whose LayerScale tensors have a different name, and a SigLIP model, a projector and a language model
    patched = lambda name: name.replace(".gamma", ".scale_factor")
    siglip = VisionTransformer(img_size=70, patch_size=14, embed_dim=128, depth=2, num_heads=2, class_token=False, global_pool="map", num_classes=0)
    others = filled({k: tuple(v.shape) for k, v in siglip.state_dict().items()}, prefix="vision_backbone.fused_featurizer.")
    others |= filled({"language_model.model.embed_tokens.weight": (32, 64), "language_model.model.norm.weight": (64,), "projector.fc1.bias": (64,), "projector.fc1.weight": (64, 256)})
    timm("openvla", "openvla/openvla-7b", prefix="vision_backbone.featurizer.", extras=others, rename=patched, **REG4)
