"""Writes src/tasks/imagenetLabels.ts: the names of ImageNet's 1,000 classes (ILSVRC 2012), in the order of the classifiers' outputs.

The names equal `id2label` of facebook/dinov2-small-imagenet1k-1-layer. They are read from timm's tables of synsets.
Usage: pip install timm; python make_imagenet_labels.py
"""

from importlib.metadata import distribution
from pathlib import Path

COLUMNS = 108
OUT = Path(__file__).parents[2] / "src/tasks/imagenetLabels.ts"

info = Path(str(distribution("timm").locate_file("timm/data/_info")))  # found without importing timm, which would need torch
words = dict(line.split("\t") for line in (info / "imagenet_synset_to_lemma.txt").read_text().splitlines())
labels = [words[synset] for synset in (info / "imagenet_synsets.txt").read_text().split()]
assert len(labels) == 1000 and labels[0] == "tench, Tinca tinca"
assert not any(mark in label for label in labels for mark in "|`\\$")

lines = [labels[0]]
for label in labels[1:]:
    if len(lines[-1]) + 1 + len(label) > COLUMNS:
        lines.append(label)
    else:
        lines[-1] += "|" + label
OUT.write_text(
    "/**\n"
    " * The names of ImageNet's 1,000 classes (ILSVRC 2012), in the order of a classifier's outputs: the words of\n"
    " * WordNet's synsets, as in `id2label` of facebook/dinov2-small-imagenet1k-1-layer. Made by\n"
    " * scripts/make-fixtures/make_imagenet_labels.py. License: THIRD-PARTY.md.\n"
    " */\n"
    "export const imagenetLabels: readonly string[] = `\n" + "\n".join(lines) + "\n`\n  .trim()\n  .split(/[|\\n]/);\n"
)
