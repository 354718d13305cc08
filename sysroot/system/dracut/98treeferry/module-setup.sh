#!/bin/bash
# Puts treeferry's prepare-root into an initramfs made by dracut. In dracut's words: called with its
# functions at hand.

check() {
    require_binaries /usr/lib/ostree/ostree-prepare-root || return 1
    return 255 # where asked for: add_dracutmodules+=" treeferry "
}

depends() {
    echo systemd
}

# What mounts composefs images and transient roots; images before Linux 6.12 by loop devices.
installkernel() {
    hostonly='' instmods erofs overlay loop
}

install() {
    inst_multiple -o losetup
    inst_binary /usr/lib/ostree/ostree-prepare-root
    inst_multiple -o /usr/lib/ostree/prepare-root.conf /etc/ostree/prepare-root.conf
    inst_simple "${systemdsystemunitdir:?}/ostree-prepare-root.service"
    mkdir -p "${initdir:?}$systemdsystemunitdir/initrd-root-fs.target.wants"
    ln_r "$systemdsystemunitdir/ostree-prepare-root.service" \
        "$systemdsystemunitdir/initrd-root-fs.target.wants/ostree-prepare-root.service"
}
