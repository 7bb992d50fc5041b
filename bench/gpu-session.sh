#!/usr/bin/env bash
# One session on a machine with a GPU: is every kernel right there, how fast are they, how fast are the peers.
# Leaves a table.
#
#   gpu-session.sh [--quick] [--adapter any | DRIVER.json] [--models small,base,large] [--px 224,518]
#   [--dtypes fp32,fp16] [--seconds 10] FOLDER
#
# From what pack-for-gpu-machine.sh made (it unpacks itself into $BENCH_HOME, default /tmp/dinov2-bench; no
# network, no Node needed), or from a checkout. FOLDER gets session.md, and the figures as JSON. A step that
# fails is noted there, and the next one runs. The exit code counts them.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
adapter=any models=small,base,large px=224,518 dtypes=fp32,fp16 seconds=10 runs=50
while [ $# -gt 1 ]; do
  case $1 in
    --quick) models=small px=224 dtypes=fp32 seconds=3 runs=3 ;;
    --adapter) adapter=$2; shift ;;
    --models) models=$2; shift ;;
    --px) px=$2; shift ;;
    --dtypes) dtypes=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    *) echo "gpu-session.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
out=${1:?a folder for the results}; mkdir -p "$out"; out=$(cd "$out" && pwd)

if [ -e "$here/bench.tar.xz" ]; then
  home=${BENCH_HOME:-/tmp/dinov2-bench}; mkdir -p "$home"
  tar xJf "$here/bench.tar.xz" -C "$home"
  for deb in "$here"/*.deb; do [ -e "$deb" ] && dpkg -x "$deb" "$home/system"; done
  [ -d "$home/system" ] && export LD_LIBRARY_PATH=$home/system/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export PATH=$home:$PATH BENCH_LIBRARY=$home/app/bench/library.mjs
  root=$home/app
else
  root=$(cd "$here/.." && pwd)
fi
nvidia=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
[ "$adapter" = any ] && [ -z "${VK_DRIVER_FILES:-}" ] && [ -e "$nvidia" ] && export VK_DRIVER_FILES=$nvidia

failed=0
step() { # title, command …
  local title=$1; shift
  echo "== $title" >&2
  printf '\n## %s\n\n' "$title" >>"$out/session.md"
  if ! "$@" >>"$out/session.md" 2>"$out/stderr.log"; then
    failed=$((failed + 1))
    printf '\nFAILED (or a contender did): `%s`\n' "$*" >>"$out/session.md"
  fi
  if [ -s "$out/stderr.log" ]; then printf '\n## %s\n' "$title" >>"$out/log.txt"; cat "$out/stderr.log" >>"$out/log.txt"; fi
  rm -f "$out/stderr.log"
}

printf '# Session of %s\n\n' "$(date -u +'%Y-%m-%d %H:%M UTC')" >"$out/session.md"; : >"$out/log.txt"
{ nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv 2>/dev/null || echo 'no nvidia-smi'; grep -m1 'model name' /proc/cpuinfo; } >>"$out/session.md"

cd "$root" || exit 2
step 'Every kernel against float64' node bench/check-kernels.mjs --adapter "$adapter"
step 'Ours against ONNX Runtime, WebGPU' node bench/peers/node.mjs --adapter "$adapter" --model "$models" --px "$px" --dtype "$dtypes" --runs "$runs" --seconds "$seconds" --json "$out/peers.json"
step 'Ceilings, kernels, forwards' node bench/bench.mjs --adapter "$adapter" --model "$models" --px "$px" --dtype "$dtypes" --seconds "$seconds" --json "$out/bench.json"
step 'PyTorch' "${PYTHON:-python3}" bench/torch_peer.py --model "$models" --px "$px" --dtype "$dtypes" --seconds "$seconds"
echo "$out/session.md" >&2
exit "$failed"
