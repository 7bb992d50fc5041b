"""Writes test/fixtures/heads/transformers.json: the classes that transformers gives for an image, with several kinds of classifiers.

The model is Dinov2ForImageClassification in float64 with synthetic weights and pixels (formula.py), so that only logits and scores are
stored. Scores, labels and their order are those of the image-classification pipeline. The exception is regression, whose score is the
logit in this file: the pipeline would apply a softmax or a sigmoid.
"""
import json, os, tempfile
from pathlib import Path
from types import SimpleNamespace
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2ForImageClassification
from transformers.pipelines.image_classification import ImageClassificationPipeline
from formula import tensor

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "heads" / "transformers.json"
TINY = dict(hidden_size=128, num_hidden_layers=3, num_attention_heads=2, image_size=70, patch_size=14)
HEIGHT, WIDTH = 70, 70
CASES = [
    ("absent", None, 3),
    ("single", "single_label_classification", 4),
    ("multi", "multi_label_classification", 5),
    ("multi, one label", "multi_label_classification", 1),
    ("one label", None, 1),
    ("regression", "regression", 3),
    ("regression, one label", "regression", 1),
    ("many", None, 10000),
]


def case(name: str, problem_type: str | None, num_labels: int) -> dict:
    id2label = {i: f"kind {i}" for i in range(num_labels)}
    model = Dinov2ForImageClassification(Dinov2Config(**TINY, problem_type=problem_type, id2label=id2label)).eval()
    # transformers 5 splits and renames tensors in memory, but the formula depends on the names on the hub.
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = os.path.join(folder, "model.safetensors")
        state = {k: torch.from_numpy(tensor(k.removeprefix("dinov2."), tuple(v.shape))) for k, v in load_file(path).items()}
        save_file(state, path, {"format": "pt"})
        model = Dinov2ForImageClassification.from_pretrained(folder).eval().double()
    x = torch.from_numpy(tensor(f"pixel_values.{HEIGHT}x{WIDTH}", (1, 3, HEIGHT, WIDTH))).double()
    with torch.no_grad():
        logits = model(x).logits
    top = ImageClassificationPipeline.postprocess(
        SimpleNamespace(model=model), {"logits": logits}, top_k=5, function_to_apply="none" if problem_type == "regression" else None
    )
    order = torch.argsort(logits[0], descending=True, stable=True)[: len(top)].tolist()
    assert [each["label"] for each in top] == [id2label[i] for i in order]
    return {
        "name": name,
        "problemType": problem_type,
        "numClasses": num_labels,
        "top": [{**each, "index": i, "logit": logits[0, i].item()} for each, i in zip(top, order)],
    }


OUT.write_text(json.dumps({"height": HEIGHT, "width": WIDTH, "cases": [case(*each) for each in CASES]}, indent=1) + "\n")
