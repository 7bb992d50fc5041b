#!/usr/bin/env bash
# Packs the benchmarks for a Linux x64 machine that has a GPU but neither a network nor Node.
#
#   bench/pack-for-gpu-machine.sh FOLDER [--model small,base,large] [--px 224,518] [--dtype fp32,fp16]
#
# The options are passed to make_onnx.py. FOLDER (about 50 MB) gets Node, Dawn, ONNX Runtime's WebGPU engine,
# the Vulkan loader, the benchmarks with the library in one file, the ONNX graphs without weights (the GPU machine
# computes the weights by a formula), and gpu-session.sh, which runs all checks and benchmarks. Run
# npm ci --ignore-scripts in bench/peers first. The variable PYTHON is the path of a Python with torch,
# transformers, onnx and onnxscript.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:?a folder to fill}; shift
mkdir -p "$out"; out=$(cd "$out" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

app=$work/app
mkdir -p "$app/bench" "$app/scripts" "$app/node_modules/onnxruntime-node/bin"
cp -r "$root"/bench/{adapter,child,load-source,in-node,bench,check-kernels,waits,tuning,session-table}.mjs "$root/bench/gpu-session.sh" "$root/bench/torch_peer.py" "$app/bench/"
mkdir -p "$app/bench/peers"
cp "$root"/bench/peers/{node,ours,onnxruntime,models,compare}.mjs "$root/bench/peers/make_onnx.py" "$app/bench/peers/"
cp "$root/scripts/software-gpu.mjs" "$app/scripts/"
mkdir -p "$app/scripts/make-fixtures" && cp "$root/scripts/make-fixtures/formula.py" "$app/scripts/make-fixtures/"
echo '{"type": "module"}' >"$app/package.json"

# Dawn and ONNX Runtime, for this platform only.
mkdir -p "$app/node_modules/webgpu/dist"
cp "$root"/node_modules/webgpu/{package.json,index.js} "$app/node_modules/webgpu/"
cp -r "$root/node_modules/webgpu/dist/linux-x64" "$app/node_modules/webgpu/dist/"
peers=$root/bench/peers/node_modules
cp -r "$peers"/onnxruntime-node/{package.json,dist} "$app/node_modules/onnxruntime-node/"
napi=$(cd "$peers/onnxruntime-node/bin" && echo napi-v*)
mkdir -p "$app/node_modules/onnxruntime-node/bin/$napi/linux"
cp -r "$peers/onnxruntime-node/bin/$napi/linux/x64" "$app/node_modules/onnxruntime-node/bin/$napi/linux/"
cp -r "$peers/onnxruntime-common" "$app/node_modules/"

# Bundles the parts of the library that the benchmarks use into one file.
(cd "$root" && node bench/bundle.mjs "$app/bench/library.mjs")

"${PYTHON:-python3}" "$root/bench/peers/make_onnx.py" "$app/bench/peers/models" "$@"

cp "$(command -v node)" "$work/node"
(cd "$work" && tar c node app | xz -T0 -3 >"$out/bench.tar.xz")
mkdir -p "$work/debs" && (cd "$work/debs" && apt-get -qq download libvulkan1 >/dev/null 2>&1) || true
cp "$work"/debs/*.deb "$out/" 2>/dev/null || echo "No Vulkan loader packed: the machine must have libvulkan.so.1." >&2
cp "$root/bench/gpu-session.sh" "$out/"
du -sh "$out"
