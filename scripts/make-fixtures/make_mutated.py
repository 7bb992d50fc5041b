"""Writes test/fixtures/mutated: what Pillow and the Rust reader of safetensors make of mutated files.

    node scripts/make-fixtures/dump_mutated.mjs FOLDER
    python scripts/make-fixtures/make_mutated.py FOLDER

pillow.json, for each format an array, in the order of the files: the first 10 hexadecimal digits of the SHA-256 of the bytes of
`Image.open(FILE).convert("RGB")`, or an empty text if Pillow refuses the file. safetensors.json, `accepted`: by the number of the file, the first 10 digits of the SHA-256 of its tensors, a line
"NAME DTYPE SHAPE SHA-256 OF THE DATA" each, in the order of the lines. `files` is the SHA-256 of all files, so
that a test notices when the files and these results no longer belong together.
"""
import hashlib
import json
import re
import sys
import warnings
from pathlib import Path

import safetensors
from PIL import Image

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])


def numbered(ending: str) -> list[Path]:
    return sorted(folder.glob(f"*.{ending}"), key=lambda path: int(re.match(r"\d+", path.name)[0]))


result = {}
for ending in ("png", "gif", "bmp"):
    paths = numbered(ending)
    every = hashlib.sha256()
    found = []
    for path in paths:
        every.update(path.read_bytes())
        try:
            image = Image.open(path)
            width, height = image.size
            # The test leaves larger images out: they would spend the time on filling memory.
            found.append(hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:10] if width * height <= 2**20 else "")
        except Exception:  # Pillow raises many kinds of errors for broken files
            found.append("")
    result[ending] = {"files": every.hexdigest(), "pixels": found}
out = Path(__file__).parents[2] / "test" / "fixtures" / "mutated" / "pillow.json"
out.parent.mkdir(exist_ok=True)
out.write_text(json.dumps(result, indent=1) + "\n")
print({ending: (len(r["pixels"]), sum(p != "" for p in r["pixels"])) for ending, r in result.items()})

every = hashlib.sha256()
accepted = {}
for i, path in enumerate(numbered("safetensors")):
    data = path.read_bytes()
    every.update(data)
    try:
        tensors = safetensors.deserialize(data)
    except Exception:
        continue
    lines = sorted(
        f"{name.encode().hex()} {info['dtype']} {','.join(map(str, info['shape']))} {hashlib.sha256(bytes(info['data'])).hexdigest()}\n"
        for name, info in tensors
    )
    accepted[i] = hashlib.sha256("".join(lines).encode()).hexdigest()[:10]
(out.parent / "safetensors.json").write_text(json.dumps({"files": every.hexdigest(), "accepted": accepted}, indent=1) + "\n")
print("safetensors", len(accepted))
