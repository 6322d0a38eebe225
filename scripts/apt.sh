# shellcheck shell=sh
# What the scripts share that install packages; each sources it, and defines `without`, which says why nothing
# could be installed, and ends the script.

as_root=""

# begin_installing WHAT: find out how; a list that cannot be refreshed is no fault if the packages can be had.
begin_installing() {
    command -v apt-get >/dev/null || without "there is no apt-get to install with"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || without "installing takes root or sudo"
        as_root=sudo
    fi
    echo "Installing $* with apt-get"
    $as_root apt-get update -qq || echo "apt-get update failed; trying with the lists that are there" >&2
}

# install_packages PACKAGE...: false where that fails.
install_packages() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
