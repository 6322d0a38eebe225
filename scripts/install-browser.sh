#!/bin/sh
# Install what the tests of the page need besides Python: Chromium, where there is none, with a font.
set -eu
. "$(dirname "$0")/apt.sh"

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done

without() {
    echo "Chromium is not installed ($1). The tests of the page in a browser need it." >&2
    exit 1
}

begin_installing chromium
install_packages chromium fonts-dejavu-core || without "apt-get could not install it"
