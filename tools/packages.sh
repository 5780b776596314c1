#!/bin/sh
# Installs the Debian packages named as arguments that are missing; quick when there is nothing to do.
set -eu

missing=
for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
sudo=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "not root, and no sudo: install$missing and try again" >&2; exit 1; }
    sudo=sudo
fi
$sudo apt-get update -q
# shellcheck disable=SC2086 # A list of names.
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
