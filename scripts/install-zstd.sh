#!/bin/sh
# Install zstd's command line, where it is missing: a test opens stored objects with it, and is skipped without.
set -eu

command -v zstd >/dev/null && exit 0

without() {
    echo "zstd is not installed, and $1: the test that opens objects with it is skipped." >&2
    exit 0
}

command -v apt-get >/dev/null || without "there is no apt-get to install it with"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || without "installing it takes root or sudo"
    as_root=sudo
fi

echo "Installing zstd with apt-get"
$as_root apt-get update -qq || echo "apt-get update failed; trying with the lists that are there" >&2
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zstd ||
    without "apt-get could not install it"
