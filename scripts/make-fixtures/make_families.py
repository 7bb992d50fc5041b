"""Writes test/fixtures/families, except timm's part (make_families_timm.py): one tiny checkpoint for each family of docs/guide/checkpoints.md that
transformers or facebookresearch's code can run. Structure, tensor names, element types and configurations are those of the real repository. Sizes are tiny.
Weights are synthetic and not stored. The outputs are computed in float64 by the class of transformers that the repository names. For files with
facebookresearch's names the outputs are computed by make_outputs.FacebookResearch, or for models with registers by
Dinov2WithRegistersModel, which gives the same outputs.
"""
import json, os, re, tempfile
import torch
from safetensors.torch import load_file, save_file
from transformers import (DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Backbone, Dinov2Config, Dinov2ForImageClassification, Dinov2Model,
                          Dinov2WithRegistersConfig, Dinov2WithRegistersForImageClassification, Dinov2WithRegistersModel, DINOv3ViTConfig, DINOv3ViTModel,
                          DPTConfig, DPTForDepthEstimation)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from families import by_formula, filled, put
from make_outputs import FacebookResearch

TINY = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14)
SWIGLU = dict(use_swiglu_ffn=True)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
PLAIN, REGISTERS = (Dinov2Model, Dinov2Config), (Dinov2WithRegistersModel, Dinov2WithRegistersConfig)


def saved(model):
    """Returns (tensor names and shapes, config.json) as written by save_pretrained."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        shapes = {name: tuple(t.shape) for name, t in load_file(os.path.join(folder, "model.safetensors")).items()}
        return shapes, json.load(open(os.path.join(folder, "config.json")))


def loaded(model_class, config: dict, state: dict):
    """Returns the model that from_pretrained reads from a file with these tensors. Weights are converted to float32; the model computes in float64."""
    with tempfile.TemporaryDirectory() as folder:
        save_file({name: t.contiguous() for name, t in state.items()}, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        json.dump(config, open(os.path.join(folder, "config.json"), "w"))
        model, report = model_class.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True)
        assert not report["missing_keys"] and not report["mismatched_keys"], report
        return model.eval().double()


def made(kind, **more):
    """Returns (tensor names and shapes, config.json) of a tiny backbone."""
    model_class, config_class = kind
    return saved(model_class(config_class(**{**TINY, **more})))


def last_of(model):
    backbone = getattr(model, model.base_model_prefix, model) if model.base_model_prefix in dict(model.named_children()) else model
    return lambda x: backbone(x).last_hidden_state


def bit(mean, std, size, **more) -> dict:
    """Returns a preprocessor_config.json with the fields that save_pretrained writes for DINOv2's processor."""
    return dict(crop_size=dict(height=size, width=size), do_center_crop=True, do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True,
                image_mean=mean, image_processor_type="BitImageProcessor", image_std=std, resample=3, rescale_factor=0.00392156862745098,
                size=dict(shortest_edge=size)) | more


def processor(config: dict, kind=BitImageProcessorPil):
    run = kind(**{k: v for k, v in config.items() if k != "image_processor_type"})
    return lambda image: run(image, return_tensors="pt")["pixel_values"]


def seen(config: dict) -> dict:
    """Returns the expected `model.preprocessing` for this preprocessor_config.json."""
    return dict(source="preprocessor_config.json", normalization=dict(mean=config["image_mean"], std=config["image_std"]))


def simple(name, example, kind, mean_std=IMAGENET, size=98, preprocessor=True, expect=None, native=70, **more):
    """Adds a repository of a backbone without a head: Hugging Face's tensor names, config.json and preprocessor_config.json."""
    shapes, config = made(kind, image_size=native, **more)
    state = filled(shapes)
    registers = config.get("num_register_tokens", 0)
    wanted = bit(*mean_std, size)
    put(name, example, state, config=config, preprocessor=wanted if preprocessor else None, registers=registers, native=native,
        forward=last_of(loaded(kind[0], config, state)), transform=processor(wanted),
        look=None if preprocessor else dict(normalization=dict(mean=mean_std[0], std=mean_std[1]), cropSize=size, shortestEdge=size),
        expect=dict(dialect="huggingface", prefix="", setAside=[], assumed=[]) | (dict(preprocessing=seen(wanted)) if preprocessor else {}) | (expect or {}))


# facebookresearch's names

OUTSIDE = [("embeddings.cls_token", "cls_token"), ("embeddings.mask_token", "mask_token"), ("embeddings.register_tokens", "register_tokens"),
           ("embeddings.position_embeddings", "pos_embed"), ("embeddings.patch_embeddings.projection", "patch_embed.proj"), ("layernorm.", "norm.")]
INSIDE = [("attention.output.dense", "attn.proj"), ("layer_scale1.lambda1", "ls1.gamma"), ("layer_scale2.lambda1", "ls2.gamma"),
          ("mlp.weights_in", "mlp.w12"), ("mlp.weights_out", "mlp.w3")]
PARTS = [f"attention.attention.{part}" for part in ("query", "key", "value")]


def facebook_shapes(shapes: dict) -> dict:
    """Converts Hugging Face's tensor names and shapes to facebookresearch's naming convention."""
    out = {}
    for name, shape in shapes.items():
        if any(part in name for part in PARTS[1:]): continue
        if PARTS[0] in name: name, shape = name.replace(PARTS[0], "attn.qkv"), (3 * shape[0], *shape[1:])
        for theirs, ours in OUTSIDE: name = ours + name[len(theirs):] if name.startswith(theirs) else name
        for theirs, ours in INSIDE: name = name.replace(theirs, ours)
        out[name.replace("encoder.layer.", "blocks.")] = shape
    return out


def hugging_face(state: dict) -> dict:
    """Converts tensors with facebookresearch's names to Hugging Face's names."""
    out = {}
    for name, t in state.items():
        if "attn.qkv" in name:
            name = name.replace("blocks.", "encoder.layer.")
            for part, rows in zip(PARTS, t.chunk(3)): out[name.replace("attn.qkv", part)] = rows
            continue
        for theirs, ours in OUTSIDE: name = theirs + name[len(ours):] if name.startswith(ours) else name
        for theirs, ours in INSIDE: name = name.replace(ours, theirs)
        out[name.replace("blocks.", "encoder.layer.")] = t
    return out


def facebook_forward(kind, config: dict, state: dict):
    """Returns a function that computes the last hidden state as facebookresearch's code does."""
    theirs = hugging_face(state)
    registers = config.get("num_register_tokens", 0)
    if registers or config["use_swiglu_ffn"]: return last_of(loaded(kind[0], config, theirs))
    model = FacebookResearch({k: v.double() for k, v in theirs.items()}, config["num_hidden_layers"], config["num_attention_heads"], 0)
    def forward(x):
        out = model.forward_features(x)
        return torch.cat((out["x_norm_clstoken"][:, None], out["x_norm_patchtokens"]), 1)
    return forward


def facebook(name, example, kind, prefix="", extras=None, rename=lambda name: name, kind_of="F32", options=None, expect=None, refused=None, native=70, chunks=None, note=None, **more):
    """Adds a file with facebookresearch's names after a prefix, among other tensors, without config.json."""
    shapes, config = made(kind, image_size=native, **more)
    state = filled(facebook_shapes(shapes), kind_of, prefix)
    if chunks: state = {re.sub(r"blocks\.(\d+)\.", lambda m: f"blocks.{int(m[1]) // chunks}.{m[1]}.", k): by_formula(re.sub(r"blocks\.(\d+)\.", lambda m: f"blocks.{int(m[1]) // chunks}.{m[1]}.", k), v.shape) for k, v in state.items()}
    bare = {re.sub(r"blocks\.\d+\.(\d+)\.", r"blocks.\1.", k.removeprefix(prefix)): v for k, v in state.items()}
    registers = config.get("num_register_tokens", 0)
    aside = list(extras or {})
    # Extra tensors come before and after the tensors of the model, as in the state_dict of a larger model.
    first, rest = aside[: len(aside) // 2], aside[len(aside) // 2:]
    state = {k: extras[k] for k in first} | state | {k: extras[k] for k in rest}
    put(name, example, state, registers=registers, native=native, options=options, refused=refused, note=note,
        forward=None if refused else facebook_forward(kind, config, bare),
        sizes=[(native, native)] if config["use_swiglu_ffn"] and not registers else None,
        expect=dict(dialect="facebookresearch", prefix=prefix, setAside=aside, assumed=["64"]) | (expect or {}))





def t(name, *shape, kind=torch.float32) -> dict:
    return {name: by_formula(name, shape, kind)}


def many(*entries) -> dict:
    out = {}
    for entry in entries: out |= entry
    return out


def other_block(prefix: str, dim=128) -> dict:
    """Returns shapes of a block of another transformer in the same file, with facebookresearch's names."""
    shapes = {"norm1.weight": (dim,), "norm1.bias": (dim,), "attn.qkv.weight": (3 * dim, dim), "attn.qkv.bias": (3 * dim,), "attn.proj.weight": (dim, dim),
              "attn.proj.bias": (dim,), "ls1.gamma": (dim,), "norm2.weight": (dim,), "norm2.bias": (dim,), "mlp.fc1.weight": (4 * dim, dim), "mlp.fc1.bias": (4 * dim,),
              "mlp.fc2.weight": (dim, 4 * dim), "mlp.fc2.bias": (dim,), "ls2.gamma": (dim,)}
    return filled(shapes, prefix=prefix)


if __name__ == "__main__":
    # Repositories with Hugging Face's tensor names and their own preprocessor_config.json
    simple("rad-dino", "microsoft/rad-dino", PLAIN, ([0.5307] * 3, [0.2583] * 3))
    simple("midnight", "kaiko-ai/midnight", PLAIN, HALF, **SWIGLU)
    simple("midnight-explicit", ["kaiko-ai/midnight", "without preprocessor_config.json"], PLAIN, HALF, preprocessor=False, expect=dict(preprocessing=dict(source="default")), **SWIGLU)
    simple("anythermal", "theairlabcmu/AnyThermal", PLAIN, CLIP)
    simple("phikon-v2", "owkin/phikon-v2", PLAIN, IMAGENET, size=80, native=80, patch_size=16)
    simple("webssl", "facebook/webssl-dino300m-full2b-224", PLAIN, IMAGENET, size=70)
    simple("registers", "facebook/dinov2-with-registers-base", REGISTERS)
    simple("one-register", "a training run of one's own with one register", REGISTERS, num_register_tokens=1)
    simple("no-mask-token", "a model saved with use_mask_token: false", PLAIN, use_mask_token=False)

    # Hibou uses the tensor names of Dinov2WithRegisters with code from its own repository. Its config.json was not available.
    shapes, config = made(REGISTERS)
    state, wanted = filled(shapes), bit([0.7068, 0.5755, 0.722], [0.195, 0.2316, 0.1816], 70)
    put("hibou", ["histai/hibou-b", "histai/hibou-L", "without config.json"], state, preprocessor=wanted, registers=4, native=70, forward=last_of(loaded(REGISTERS[0], config, state)),
        transform=processor(wanted), expect=dict(dialect="huggingface", prefix="", setAside=[], assumed=["64"], preprocessing=seen(wanted)))

    # Heads
    def classifier(name, example, kinds, problem, labels, prefix, **more):
        model_class, config_class = kinds
        shapes, config = saved(model_class(config_class(**TINY, num_labels=labels, problem_type=problem, id2label={i: f"finding {i}" for i in range(labels)},
                                                        label2id={f"finding {i}": i for i in range(labels)}, **more)))
        state = filled(shapes)
        model = loaded(model_class, config, state)
        def run(x):
            logits = model(x).logits
            several = problem == "multi_label_classification" or (labels == 1 and problem != "regression")
            return logits, logits if problem == "regression" else torch.sigmoid(logits) if several else torch.softmax(logits, -1)
        wanted = bit(*IMAGENET, 70)
        put(name, example, state, config=config, preprocessor=wanted, registers=config.get("num_register_tokens", 0), native=70, forward=last_of(model),
            transform=processor(wanted), classifier=run, expect=dict(dialect="huggingface", prefix=prefix, setAside=[], assumed=[], preprocessing=seen(wanted)))
    both = Dinov2ForImageClassification, Dinov2Config
    classifier("multi-label", "kmsr75/outputs", both, "multi_label_classification", 5, "dinov2.")
    classifier("five-classes", "a fine-tune with 5 classes", (Dinov2WithRegistersForImageClassification, Dinov2WithRegistersConfig), "single_label_classification", 5, "dinov2_with_registers.")
    classifier("one-label", "a fine-tune with one label", both, None, 1, "dinov2.")
    classifier("regression", "a fine-tune of problem_type regression", both, "regression", 1, "dinov2.")

    # Backbones inside other models
    depth = dict(TINY, num_hidden_layers=5)
    def inside(name, example, model, wanted):
        shapes, config = saved(model)
        state = filled(shapes)
        backbone = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
        rest = [k for k in state if not k.startswith("backbone.")]
        # Checks that the last feature map of the depth model equals that of the backbone alone, so that the fixture tests the right model.
        whole, bare = loaded(type(model), config, state).backbone, loaded(Dinov2Model, config["backbone_config"], backbone)
        with torch.no_grad():
            x = by_formula("pixel_values.42x98", (1, 3, 42, 98)).double()
            last = whole(x).feature_maps[-1]
            assert torch.equal(last if config["backbone_config"]["apply_layernorm"] else bare.layernorm(last), bare(x).last_hidden_state), name
        put(name, example, state, config=config, preprocessor=wanted, native=70, forward=last_of(bare), transform=processor(wanted, DPTImageProcessorPil),
            expect=dict(dialect="huggingface", prefix="backbone.", setAside=rest, assumed=[], preprocessing=seen(wanted)))
    dpt = dict(do_normalize=True, do_pad=False, do_rescale=True, do_resize=True, ensure_multiple_of=14, image_mean=IMAGENET[0], image_processor_type="DPTImageProcessor",
               image_std=IMAGENET[1], keep_aspect_ratio=True, resample=3, rescale_factor=0.00392156862745098, size=dict(height=98, width=98), size_divisor=None)
    anything = dict(reassemble_hidden_size=128, neck_hidden_sizes=[4, 4, 4, 4], fusion_hidden_size=4, head_hidden_size=4, patch_size=14)
    def taps(indices, norm=True): return Dinov2Config(**depth, out_indices=indices, reshape_hidden_states=False, apply_layernorm=norm)
    inside("depth-anything-v1", "LiheYoung/depth-anything-small-hf", DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=taps([2, 3, 4, 5]), **anything)), dpt)
    inside("depth-anything-v2", ["depth-anything/Depth-Anything-V2-Small-hf", "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"],
           DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=taps([1, 2, 3, 5]), depth_estimation_type="metric", max_depth=20, **anything)), dpt)
    inside("dpt-dinov2", "facebook/dpt-dinov2-small-kitti", DPTForDepthEstimation(DPTConfig(backbone_config=taps([1, 2, 3, 5], norm=False), hidden_size=128,
           neck_hidden_sizes=[4, 4, 4, 4], fusion_hidden_size=4, num_attention_heads=2, is_hybrid=False)), dpt)
    shapes, config = saved(Dinov2Backbone(Dinov2Config(**TINY, out_indices=[1, 2])))
    state = filled(shapes)
    put("dinov2-backbone", "Dinov2Backbone.save_pretrained", state, config=config, native=70, forward=last_of(loaded(Dinov2Model, config, state)),
        expect=dict(dialect="huggingface", prefix="", setAside=[], assumed=[]))

    # facebookresearch's names
    head = many(t("mlp.0.weight", 64, 128), t("mlp.0.bias", 64), t("last_layer.weight_g", 96, 1), t("last_layer.weight_v", 96, 64))
    facebook("rad-dino-backbone-compatible", ["microsoft/rad-dino", "backbone_compatible.safetensors"], PLAIN)
    put("rad-dino-head", ["microsoft/rad-dino", "dino_head.safetensors"], head, refused=dict(error="CheckpointError", code="CHECKPOINT_NAMING", words=["DINOv2"]))
    facebook("gpfm", ["majiabo/GPFM", "converted to safetensors"], PLAIN)
    facebook("openmidnight", ["SophontAI/OpenMidnight", "converted to safetensors"], REGISTERS, **SWIGLU)
    facebook("depth-anything-v2-raw", ["depth-anything/Depth-Anything-V2-Small", "Kijai/DepthAnythingV2-safetensors"], PLAIN, "pretrained.", kind_of="F16",
             extras=many(t("depth_head.projects.0.weight", 8, 128, 1, 1, kind=torch.float16), t("depth_head.scratch.output_conv1.bias", 4, kind=torch.float16)))
    mean = many(t("image_mean", 1, 3, 1, 1), t("image_std", 1, 3, 1, 1))
    facebook("moge-v1", ["Ruicheng/moge-vitl", "converted to safetensors"], PLAIN, "backbone.", extras=many(mean, t("head.projects.0.weight", 8, 128, 1, 1), t("head.projects.0.bias", 8)))
    facebook("moge-v2", ["Ruicheng/moge-2-vitl", "converted to safetensors"], PLAIN, "encoder.backbone.",
             extras=many(t("encoder.image_mean", 1, 3, 1, 1), t("encoder.image_std", 1, 3, 1, 1), t("encoder.output_projections.0.weight", 8, 128, 1, 1), t("neck.input_blocks.0.weight", 8, 8, 1, 1), t("points_head.input_blocks.0.weight", 8, 8, 1, 1), t("scale_head.0.weight", 8, 128)))
    facebook("vggt", "facebook/VGGT-1B", REGISTERS, "aggregator.patch_embed.",
             extras=many(t("aggregator.camera_token", 1, 2, 1, 128), t("aggregator.register_token", 1, 2, 4, 128), other_block("aggregator.frame_blocks.0."), other_block("aggregator.global_blocks.0."), t("camera_head.pose_branch.fc1.weight", 64, 256), t("depth_head.norm.weight", 256)))
    facebook("tipsv2", "google/tipsv2-b14", REGISTERS, "vision_encoder.", num_register_tokens=1,
             extras=many(t("temperature"), t("text_encoder.token_embedding.weight", 96, 128), other_block("text_encoder.transformer.resblocks.0.")))

    # Wrappers
    shapes, config = made(PLAIN)
    for name, prefix, example in [("torch-compile", "_orig_mod.", "torch.compile(model).state_dict()"), ("data-parallel", "module.", "DistributedDataParallel"), ("lightning", "model.", "LightningModule"),
                                  ("compile-data-parallel", "_orig_mod.module.dinov2.", "torch.compile of DistributedDataParallel of a classifier's backbone")]:
        state = filled(shapes, prefix=prefix)
        put(name, example, state, config=config, native=70, forward=last_of(loaded(Dinov2Model, config, {k.removeprefix(prefix): v for k, v in state.items()})),
            expect=dict(dialect="huggingface", prefix=prefix, setAside=[], assumed=[]))
    teacher = many(*[t(f"teacher.{k}.{n}", *v.shape) for k in ("dino_head", "ibot_head") for n, v in head.items()])
    facebook("teacher", "a teacher of facebookresearch's training", PLAIN, "teacher.backbone.", extras=teacher)
    facebook("teacher-chunked", "a training run with block_chunks", PLAIN, "teacher.backbone.", extras=teacher, chunks=2, num_hidden_layers=4)
    fb_shapes = facebook_shapes(shapes)
    student = filled(fb_shapes, prefix="student.backbone.")
    facebook("student-and-teacher", "a whole training checkpoint", PLAIN, "teacher.backbone.", extras=teacher | student, refused=dict(error="CheckpointError", code="CHECKPOINT_NAMING", words=["student.backbone.", "teacher.backbone.", "prefix"]))
    facebook("student-and-teacher-prefix", ["a whole training checkpoint", "with the option prefix"], PLAIN, "teacher.backbone.", extras=teacher | student, options=dict(prefix="teacher.backbone."))

    # PEFT
    cls_shapes, cls_config = saved(Dinov2ForImageClassification(Dinov2Config(**TINY, num_labels=5)))
    state = filled(cls_shapes, prefix="base_model.model.")
    put("peft-merged", "merge_and_unload() left out, merge_adapter() done", state, config=cls_config, native=70, forward=last_of(loaded(Dinov2ForImageClassification, cls_config, {k.removeprefix("base_model.model."): v for k, v in state.items()})),
        expect=dict(dialect="huggingface", prefix="base_model.model.dinov2.", setAside=[], assumed=[]))
    target = re.compile(r"attention\.attention\.(query|value)\.(weight|bias)$")
    unmerged, adapter = {}, {}
    for name, shape in cls_shapes.items():
        base, _, part = name.rpartition(".")
        unmerged["base_model.model." + (f"{base}.base_layer.{part}" if target.search(name) else name)] = shape
        if target.search(name) and part == "weight":
            unmerged |= {f"base_model.model.{base}.lora_A.default.weight": (4, 128), f"base_model.model.{base}.lora_B.default.weight": (128, 4)}
            adapter |= {f"base_model.model.{base}.lora_A.weight": (4, 128), f"base_model.model.{base}.lora_B.weight": (128, 4)}
    adapter |= {"base_model.model.classifier.weight": (5, 256), "base_model.model.classifier.bias": (5,)}
    put("peft-unmerged", "state_dict() of a PeftModel", filled(unmerged), config=cls_config, refused=dict(error="CheckpointError", words=["lora", "merge_and_unload"]))
    put("peft-adapter", "adapter_model.safetensors", filled(adapter), refused=dict(error="CheckpointError", words=["adapter", "base"]))

    # Element types, and tensors that are not parameters
    for kind in ("F64", "F16", "BF16"):
        state = filled(shapes, kind)
        put(f"type-{kind.lower()}", f"weights of type {kind}", state, config=config, native=70, forward=last_of(loaded(Dinov2Model, config, state)), expect=dict(dialect="huggingface", prefix="", setAside=[], assumed=[]))
    state = filled(shapes)
    extras = many(t("embeddings.position_ids", 1, 26, kind=torch.int64), t("image_mean", 3, kind=torch.float64), t("num_updates", kind=torch.int64), t("temperature"), t("empty", 0, 128), t("héad.wörter", 3))
    put("extra-tensors", "a file with buffers of the training run", state | extras, config=config, native=70, forward=last_of(loaded(Dinov2Model, config, state)), expect=dict(dialect="huggingface", prefix="", setAside=list(extras), assumed=[]))

    # Unsupported models
    wide = dict(hidden_size=256, num_attention_heads=2)
    shapes2, config2 = made(PLAIN, **wide)
    put("webssl-2b", ["facebook/webssl-dino2b-full2b-224", "facebook/webssl-dino3b-full2b-224", "facebook/webssl-dino7b-full8b-518"], filled(shapes2), config=config2,
        refused=dict(error="ConfigError", code="CONFIG_UNSUPPORTED", words=["heads of 64", "256"]))
    v3, v3_config = saved(DINOv3ViTModel(DINOv3ViTConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=80, patch_size=16, intermediate_size=512, num_register_tokens=4)))
    why = dict(words=["DINOv3", "rotary"])
    put("dinov3", "facebook/dinov3-vits16-pretrain-lvd1689m", filled(v3), config=v3_config, refused=dict(error="ConfigError", code="CONFIG_UNSUPPORTED") | why)
    put("dinov3-no-config", ["facebook/dinov3-vits16-pretrain-lvd1689m", "without config.json"], filled(v3), refused=why)
