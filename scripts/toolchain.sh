# shellcheck shell=bash
# Which Rust every script builds with. Sourced, from the top of the repository.
#
# Decides once: the cargo in PATH if it is new enough for the workspace, else Debian's in /usr/bin.
# Programs that `cargo install` puts into ~/.cargo/bin are found either way.

# The workspace's rust-version.
MINIMUM_RUST=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

# new_enough CARGO: whether that is a cargo of MINIMUM_RUST or newer.
new_enough() {
    local version
    version=$("$1" --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p') || return 1
    [[ -n $version ]] &&
        [[ $(printf '%s\n' "$MINIMUM_RUST" "$version" | sort -V | head -n 1) == "$MINIMUM_RUST" ]]
}

# Sets PATH, and CARGO to the cargo that was decided on, or to nothing if there is none.
choose_toolchain() {
    local bin=${CARGO_HOME:-${HOME-/nonexistent}/.cargo}/bin
    hash -r
    [[ :$PATH: == *:$bin:* ]] || export PATH="$PATH:$bin"
    CARGO=$(type -P cargo || true)
    if [[ -z $CARGO ]] || ! new_enough "$CARGO"; then
        CARGO=
        if new_enough /usr/bin/cargo; then
            export PATH="/usr/bin:$PATH"
            CARGO=/usr/bin/cargo
        fi
    fi
}

choose_toolchain
