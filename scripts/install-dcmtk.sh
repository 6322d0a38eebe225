#!/bin/sh
# Install DCMTK's command-line tools, which the tests use as real peers, where they are missing.
set -eu

# dcmsend stands for all of them: pynetdicom brings a storescu of its own, which an active .venv puts first.
if command -v dcmsend >/dev/null; then
    exit 0
fi

fail() {
    echo "The tests need DCMTK's command-line tools (dcmsend, storescu and others), and $1." >&2
    echo "Install them (Debian, Ubuntu: apt-get install dcmtk; macOS: brew install dcmtk), then try again." >&2
    exit 1
}

command -v apt-get >/dev/null || fail "there is no apt-get to install them with"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "installing them takes root or sudo"
    as_root=sudo
fi

echo "Installing dcmtk with apt-get"
# A list that cannot be refreshed is no fault as long as the package can be had.
$as_root apt-get update -qq || echo "apt-get update failed; trying with the lists that are there" >&2
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dcmtk ||
    fail "apt-get could not install them"
