#!/bin/sh
# Install what the tests of the page need besides Python: Chromium, where there is none, with a font.
set -eu

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done

fail() {
    echo "Chromium is not installed ($1). The tests of the page in a browser need it." >&2
    exit 1
}

command -v apt-get >/dev/null || fail "there is no apt-get to install it with"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "it takes root or sudo"
    as_root=sudo
fi

echo "Installing chromium with apt-get"
$as_root apt-get update -qq || echo "apt-get update failed; trying with the lists that are there" >&2
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    chromium fonts-dejavu-core >/dev/null || fail "apt-get could not install it"
