#!/usr/bin/env bash
# Runs all checks and benchmarks on a machine with a GPU: the correctness and speed of every kernel, and the speed
# of ONNX Runtime and PyTorch.
#
#   gpu-session.sh [--quick | --small] [--adapter any | DRIVER.json] [--models small,base,large] [--px 224,518]
#   [--dtypes fp32,fp16] [--seconds 3] [--limit 600] FOLDER
#
# Runs from a checkout, or from the folder that pack-for-gpu-machine.sh made. That folder needs neither a network
# nor Node, and is unpacked into $BENCH_HOME (default: /tmp/dinov2-bench). The results are FOLDER/session.md, and
# JSON files. If a step fails, session.md names the step, and the next step runs. The exit code is the number of
# failed steps. After --limit seconds, a step is ended, and the steps after it are skipped, except the last table. --small runs every step, to try the script on a
# software adapter: one small size, and of the kernels for GPUs, which such an adapter takes minutes to compile, only some.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
adapter=any models=small,base,large px=224,518 dtypes=fp32,fp16 seconds=3 runs=50 waits=50 limit=600
flags=stock,tuned forms=plain,fused kernels=() tuning=()
while [ $# -gt 1 ]; do
  case $1 in
    --quick) models=small px=224 dtypes=fp32 seconds=3 runs=3 ;;
    --small) models=small px=56 dtypes=fp32,fp16 seconds=1 runs=3 waits=5 flags=stock forms=plain limit=7200
      kernels=(--for software --weights f16) tuning=(--as-gpu --dtype fp16-f16) ;;
    --adapter) adapter=$2; shift ;;
    --models) models=$2; shift ;;
    --px) px=$2; shift ;;
    --dtypes) dtypes=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --limit) limit=$2; shift ;;
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
  local title=$1 start=$SECONDS; shift
  echo "== $title" >&2
  printf '\n## %s\n\n' "$title" >>"$out/session.md"
  if ((SECONDS >= limit)); then
    failed=$((failed + 1))
    printf 'SKIPPED: the session has taken %s of %s s.\n' "$SECONDS" "$limit" >>"$out/session.md"
    return
  fi
  if ! timeout $((limit - SECONDS)) "$@" >>"$out/session.md" 2>"$out/stderr.log"; then
    failed=$((failed + 1))
    printf '\nFAILED (the step or one of its contenders): `%s`\n' "$*" >>"$out/session.md"
  fi
  if [ -s "$out/stderr.log" ]; then printf '\n## %s\n' "$title" >>"$out/log.txt"; cat "$out/stderr.log" >>"$out/log.txt"; fi
  rm -f "$out/stderr.log"
  printf '\n(%s s)\n' "$((SECONDS - start))" >>"$out/session.md"
}

printf '# Session of %s\n\n' "$(date -u +'%Y-%m-%d %H:%M UTC')" >"$out/session.md"; : >"$out/log.txt"
{ nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv 2>/dev/null || echo 'no nvidia-smi'; grep -m1 'model name' /proc/cpuinfo; } >>"$out/session.md"

cd "$root" || exit 2
sizes=(--px "$px" --seconds "$seconds")
step 'Every kernel against float64' node bench/check-kernels.mjs --adapter "$adapter" --flags "$flags" "${kernels[@]}"
step 'Waits' node bench/waits.mjs --adapter "$adapter" --runs "$waits" --json "$out/waits.json"
for model in ${models//,/ }; do # a step for each model, so that a failure or the limit costs one model only
  step "Ours against ONNX Runtime, WebGPU: $model" node bench/peers/node.mjs --adapter "$adapter" --model "$model" "${sizes[@]}" --dtype "$dtypes" --form "$forms" --flags "$flags" --runs "$runs" --json "$out/peers-$model.json"
done
for model in ${models//,/ }; do
  step "tune() and f16 arithmetic: $model" node bench/tuning.mjs --adapter "$adapter" --model "$model" --px "$px" --seconds 1 --dtype "$dtypes,fp16-f16" "${tuning[@]}" --json "$out/tuning-$model.json"
done
step 'Ceilings, kernels, forwards' node bench/bench.mjs --adapter "$adapter" --model "$models" "${sizes[@]}" --dtype "$dtypes" --flags stock --json "$out/bench.json"
step 'PyTorch' "${PYTHON:-python3}" bench/torch_peer.py --model "$models" --px "$px" --seconds 1 --dtype "$dtypes" --json "$out/torch.json"
limit=$((SECONDS + 60))
step 'All engines' node bench/session-table.mjs "$out"
printf '\n%s steps failed; %s s.\n' "$failed" "$SECONDS" >>"$out/session.md"
echo "$out/session.md" >&2
exit "$failed"
