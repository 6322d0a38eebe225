#!/bin/sh
# Install DCMTK's command-line tools, which the tests use as real peers, where they are missing.
set -eu
. "$(dirname "$0")/apt.sh"

# dcmsend stands for all of them: pynetdicom brings a storescu of its own, which an active .venv puts first.
if command -v dcmsend >/dev/null; then
    exit 0
fi

without() {
    echo "The tests need DCMTK's command-line tools (dcmsend, storescu and others), and $1." >&2
    echo "Install them (Debian, Ubuntu: apt-get install dcmtk; macOS: brew install dcmtk), then try again." >&2
    exit 1
}

begin_installing dcmtk
install_packages dcmtk || without "apt-get could not install them"
