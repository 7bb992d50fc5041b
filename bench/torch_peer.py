"""Times Hugging Face's DINOv2 in PyTorch: one image, warm, with readback. The weights are computed by a formula.

    python bench/torch_peer.py [--model small,base,large] [--px 224,518] [--dtype fp32,fp16] [--seconds 5] [--json FILE]

With CUDA, fp32 is measured twice: without TF32, which has the precision of this library, and with it. Attention is
PyTorch's own (sdpa).
"""
import argparse, json, sys, time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "make-fixtures"))
from formula import tensor  # noqa: E402
from make_onnx import build  # noqa: E402

parser = argparse.ArgumentParser()
for option, values in {"model": "small,base,large", "px": "224,518", "dtype": "fp32,fp16"}.items():
    parser.add_argument(f"--{option}", default=values, type=lambda text: text.split(","))
parser.add_argument("--seconds", type=float, default=5)
parser.add_argument("--json", type=Path)
args = parser.parse_args()
device = "cuda" if torch.cuda.is_available() else "cpu"
name = torch.cuda.get_device_name() if device == "cuda" else "processor"
print(f"PyTorch {torch.__version__}, {name}\n\n| model | px | dtype | runs | median ms | fastest ms |\n|---|---|---|---|---|---|")
rows = []
for size in args.model:
    for dtype in args.dtype:
        model = build(size, "sdpa", dtype == "fp16")[0].to(device)
        for tf32 in [False, True] if device == "cuda" and dtype == "fp32" else [False]:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            for px in map(int, args.px):
                pixels = torch.from_numpy(tensor(f"pixel_values.{px}x{px}", (1, 3, px, px)))

                def forward():
                    with torch.inference_mode():
                        x = pixels.to(device, model.dtype)
                        return model(x).last_hidden_state.float().cpu()

                for _ in range(3):
                    forward()
                times = []
                until = time.perf_counter() + args.seconds
                while len(times) < 3 or (len(times) < 200 and time.perf_counter() < until):
                    start = time.perf_counter()
                    forward()
                    times.append(1000 * (time.perf_counter() - start))
                times.sort()
                label = f"{dtype}, TF32" if tf32 else dtype
                rows.append({"model": size, "px": px, "dtype": label, "medianMs": times[len(times) // 2], "fastestMs": times[0]})
                print(f"| {size} | {px} | {label} | {len(times)} | {times[len(times) // 2]:.2f} | {times[0]:.2f} |", flush=True)
if args.json:
    args.json.write_text(json.dumps(rows, indent=1))
