#!/usr/bin/env bash
# Unpacks Mesa 25's software Vulkan driver (lavapipe) into FOLDER and prints the path of its driver file, for
# TEST_ADAPTER. Needs Debian 12, apt and root. Lavapipe has shader-f16, which SwiftShader lacks. Dawn refuses
# Debian 12's own lavapipe (Mesa 22.3).
#
#   export TEST_ADAPTER=$(scripts/get-lavapipe.sh FOLDER) LD_LIBRARY_PATH=FOLDER/root/usr/lib/x86_64-linux-gnu
set -euo pipefail
folder=${1:?a folder to fill}
mkdir -p "$folder" && folder=$(cd "$folder" && pwd)
driver="$folder/lavapipe.json"
if [ ! -s "$driver" ]; then
  mkdir -p "$folder/lists/partial" "$folder/debs" "$folder/root"
  # The distribution's own package brings the libraries that the driver needs (libllvm15, libvulkan1 …).
  if ! dpkg -s mesa-vulkan-drivers libvulkan1 >/dev/null 2>&1; then
    apt-get -qq update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y mesa-vulkan-drivers libvulkan1 >&2
  fi
  mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
  [ -n "$mirror" ] || mirror=$(awk '/^deb / {print $2; exit}' /etc/apt/sources.list)
  echo "deb $mirror bookworm-backports main" >"$folder/backports.list"
  apt=(apt-get -qq -o Dir::Etc::sourcelist="$folder/backports.list" -o Dir::Etc::sourceparts=- -o Dir::State::Lists="$folder/lists" -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2
  (cd "$folder/debs" && "${apt[@]}" download mesa-vulkan-drivers/bookworm-backports libdrm2/bookworm-backports \
    libdrm-amdgpu1/bookworm-backports libdrm-intel1/bookworm-backports libdrm-radeon1/bookworm-backports >&2)
  for deb in "$folder"/debs/*.deb; do dpkg -x "$deb" "$folder/root"; done
  sed "s#\"library_path\": \"[^\"]*\"#\"library_path\": \"$folder/root/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so\"#" \
    "$folder/root/usr/share/vulkan/icd.d/lvp_icd.json" >"$driver"
  rm -rf "$folder/lists" "$folder/debs"
fi
echo "$driver"
