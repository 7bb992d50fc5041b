#!/usr/bin/env bash
# Prints a Python that has FAISS, NumPy and safetensors, for the test of docs/guide/export.md.
# Usage: scripts/get-faiss.sh FOLDER. Makes a virtual environment in the folder.
set -euo pipefail
folder=$1
python="$folder/bin/python"
if ! "$python" -c 'import faiss, numpy, safetensors' 2>/dev/null; then
  python3 -m venv "$folder" >&2
  "$python" -m pip install --quiet --retries 0 --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6 safetensors==0.8.0 >&2
fi
echo "$python"
