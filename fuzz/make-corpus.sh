#!/usr/bin/env bash
# Makes the seed corpus anew, from what the C `ostree` writes. Needs ostree, python3, and root for
# the attributes of files.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
corpus=$here/corpus
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

seed() { # TARGET NAME: from standard input
  mkdir -p "$corpus/$1" && cat >"$corpus/$1/$2"
}
text() { # TARGET TEXT...: each a seed
  local target=$1 n=0; shift
  for value in "$@"; do
    printf '%b' "$value" | seed "$target" "text-$n"
    n=$((n + 1))
  done
}

rm -rf "$corpus"
mkdir -p tree/sub/empty
printf 'content\n' >tree/plain
head -c 300 /dev/zero >tree/zeros
: >tree/empty
ln -s plain tree/link
printf x >"tree/ümlaut"
printf attributes >tree/with-xattrs
python3 -c 'import os; os.setxattr("tree/with-xattrs", "user.a", b"value"); os.setxattr("tree/with-xattrs", "user.b", b"")'

export SOURCE_DATE_EPOCH=1600000000
ostree --repo=repo init --mode=archive --collection-id=org.example.Fuzz
commit() {
  ostree --repo=repo commit --timestamp=@1600000000 --add-metadata-string=version=1 \
    --add-metadata="pairs=@a{sv} {'x': <1>, 'y': <(1, 'z', [byte 1])>}" \
    --add-metadata="maybe=@mas ['a']" --generate-sizes --body='two
lines' --add-detached-metadata-string=note=beside "$@" tree
}
commit -b a/one
echo more >tree/more
commit -b a/one
gone=$(commit --orphan --subject=gone)
ostree --repo=repo prune --delete-commit="$gone" >/dev/null
mkdir -p repo/refs/mirrors/org.example.Other
cp repo/refs/heads/a/one repo/refs/mirrors/org.example.Other/os
ostree --repo=repo summary -u --add-metadata="ostree.summary.expires=uint64 9"

for kind in dirtree dirmeta commit filez; do
  n=0
  for file in repo/objects/*/*."$kind"; do
    seed "$kind" "$n" <"$file"
    n=$((n + 1))
  done
done
n=0
for file in repo/objects/*/*.filez; do
  length=$((0x$(head -c 4 "$file" | od -An -tx1 | tr -d ' \n')))
  tail -c +9 "$file" | head -c "$length" | seed file_header "$n"
  n=$((n + 1))
done
n=0
for file in repo/objects/*/*.commitmeta; do
  seed detached "$n" <"$file"
  { printf 'a{sv}\0'; cat "$file"; } | seed gvariant "detached-$n"
  n=$((n + 1))
done
for file in repo/objects/*/*.tombstone-commit; do seed tombstone 0 <"$file"; done
seed summary 0 <repo/summary
for file in repo/objects/*/*.commit; do
  { printf '(a{sv}aya(say)sstayay)\0'; cat "$file"; } | seed gvariant commit
done
{ printf '(a(s(taya{sv}))a{sv})\0'; cat repo/summary; } | seed gvariant summary
# One entry: a checksum, two lengths of seven bits a byte, a kind; entries end at 0xaa.
python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(32)) + b"\x87\x03\x05\x01")' | seed sizes 0
python3 -c 'import sys; sys.stdout.buffer.write(bytes(32) + b"\x80\x80\x01\x00\x04\xaa" + bytes(32) + b"\x01\x02")' |
  seed sizes 1

sum=$(sha256sum <tree/plain | cut -d' ' -f1)
text checksum "$sum" "$(printf 'A%.0s' {1..64})"
text object_name "$sum.commit" "$sum.file-xattrs" "$sum.filez"
text refs main os/stable/x86_64 origin:os/stable "${sum:0:7}^^" org.example.Os 'ü/-x' '../../etc'
text paths config "objects/${sum:0:2}/${sum:2}.filez" '../etc/passwd' 'a//b' './a' name
text gvariant_text "'text \\\\u00fc'" 'uint64 18446744073709551615' "@a{sv} {'x': <byte 0x07>}" \
  "[1, 2, 3]" "(1.5, 'a', @ms nothing, just 'b')" "b'raw\\\\001'" '<<@ay []>>' '@as []' \
  "{'a': 1, 'b': 2}" "[(1, true), (-2, false)]" "objectpath '/a/b'" '-9223372036854775808'
seed keyfile config <repo/config
text keyfile '[core]\nmode=bare # no comment\n\n# a comment\nlist=a;b\\\\;c;\n[core]\nmode = archive\n' \
  '# only a comment' '[a]\n[b]\r\nkey\\s=\\s\\n\\\\x\n' '[remote "o"]\nurl=file:///x\n'
text config '[remote "origin"]\nurl=https://example.org/repo\ngpg-verify=false\nbranches=a;b;\n' \
  '[core]\nrepo_version=1\nmode=archive-z2\n[remote "x y"]\n[remote "../x"]\nurl=mirrorlist=https://e/m\n' \
  '[remote "r"]\nurl=http://e\nsign-verify=ed25519;spki\ncollection-id=org.example.Os\nhttp2=maybe\n'

# A machine: what the C command writes for a deployment, and what is staged, and what only text shows.
mkdir -p os/usr/{etc,lib/modules/6.1}
echo kernel >os/usr/lib/modules/6.1/vmlinuz
printf 'NAME=Test\nPRETTY_NAME="Test 1"\n' >os/usr/etc/os-release
ostree --repo=repo commit -b os/main --tree=dir=os >/dev/null
mkdir machine
export OSTREE_SYSROOT_DEBUG=mutable-deployments
ostree admin init-fs machine
ostree admin --sysroot=machine os-init os
ostree --repo=machine/ostree/repo pull-local repo os/main >/dev/null
ostree admin --sysroot=machine deploy --os=os --karg=root=LABEL=x --karg='a="b c"' os/main >/dev/null
seed boot_entry 0 <"$(ls machine/boot/loader/entries/*)"
seed origin 0 <"$(ls machine/ostree/deploy/os/deploy/*.origin)"
text boot_entry '# a comment\ntitle\tTest\nversion 12\ninitrd /a\ninitrd /b\nx-other y\noptions a b="c d" ostree=/ostree/boot.1/os/abc/0\n' \
  'title\noptions   \n linux x\n'
text entry_name ostree-2.conf ostree-2-os.conf ostree-3-2+2.conf ostree-3-2+0-3.conf ostree-a+b.conf ostree-.conf
text origin '[origin]\nrefspec=origin:os/stable\noverride-commit='"$sum"'\nunconfigured-state=register first\n' \
  '[origin]\nrefspec=os\n[libostree-transient]\npinned=true\n'
text kernel_args 'root=/dev/vda2 quiet ostree=/ostree/boot.1/os/'"$sum"'/0 a=1 a=2' 'dyndbg="file a +p" b "c d"=e "open' \
  'androidboot.slot_suffix=_a BOOT_IMAGE=/x initrd=y'
text prepare_root '[sysroot]\nreadonly=true\n[etc]\ntransient=true\n' \
  '[composefs]\nenabled=maybe\n[root]\ntransient-ro=true\n\0quiet ostree.prepare-root.composefs=verity'
text transition '[transition]\nstateroot=os\nchecksum='"$sum"'\nserial=1\nphase=finalizing\nboot-id=b\nattempts=2\nstaged=00ff\nreason=no\\nspace\n'
# What is staged: the dictionary that OSTree keeps in /run.
python3 - "$sum" <<'PY' | seed transition staged
import sys

def pad(data): # all that is variable here is aligned to eight bytes
    return data + bytes(-len(data) % 8)

def framed(data, ends): # with where its parts end, in as few bytes as it takes
    width = next(w for w in (1, 2, 4) if len(data) + w * len(ends) < 1 << 8 * w)
    return data + b"".join(end.to_bytes(width, "little") for end in ends)

def array(items, align):
    data, ends = b"", []
    for item in items:
        data = (pad(data) if align == 8 else data) + item
        ends.append(len(data))
    return framed(data, ends)

def variant(kind, data):
    return data + b"\0" + kind

def text(value):
    return variant(b"s", value.encode() + b"\0")

def dictionary(pairs): # each with where its key ends
    entries = [framed(pad(key.encode() + b"\0") + value, [len(key) + 1]) for key, value in pairs]
    return array(entries, 8)

def deployment(serial):
    return variant(b"a{sv}", dictionary([("name", text(f"{sys.argv[1]}.{serial}")), ("osname", text("os")), ("bootcsum", text(sys.argv[1]))]))

sys.stdout.buffer.write(dictionary([
    ("target", deployment(1)), ("merge-deployment", deployment(0)), ("locked", variant(b"b", b"\1")),
    ("kargs", variant(b"as", array([b"quiet\0", b"a=b\0"], 1)))]))
PY
du -sh "$corpus"

# Deltas: from one commit to the other, from nothing, and all of it in one file.
ostree --repo=repo static-delta generate a/one >/dev/null
ostree --repo=repo static-delta generate --empty --to=a/one >/dev/null
ostree --repo=repo static-delta reindex
ostree --repo=repo static-delta generate --inline --filename=inline a/one >/dev/null
seed delta_superblock inline <inline
ostree --repo=repo static-delta generate --swap-endianness --filename=swapped a/one >/dev/null
seed delta_superblock swapped <swapped
n=0
for delta in repo/deltas/*/*; do
  seed delta_superblock "$n" <"$delta/superblock"
  for part in "$delta"/[0-9]*; do
    seed delta_part "$n" <"$part"
    tail -c +2 "$part" | xz -dc >payload
    { printf '\0' && cat payload; } | seed delta_part "$n-unpacked"
    python3 - payload <<'PY' | seed delta_operations "$n"
import sys
data = open(sys.argv[1], "rb").read()
unit = 1 if len(data) < 256 else 2 if len(data) < 65536 else 4
end = int.from_bytes(data[len(data) - 3 * unit:len(data) - 2 * unit], "little")
sys.stdout.buffer.write(data[end:len(data) - 3 * unit])
PY
  done
  n=$((n + 1))
done
seed delta_index 0 <"$(ls repo/delta-indexes/*/*)"
# The length of the old file, the old file, and steps of a patch.
python3 - <<'PY' | seed delta_patch 0
import struct, sys
steps = struct.pack("<QQQ", 5, 3, 1 << 63 | 4) + bytes(5) + b"new" + struct.pack("<QQQ", 4, 0, 0) + b"\1\2\3\4"
sys.stdout.buffer.write(b"\x0c" + b"the old file" + steps)
PY

# Signatures by OpenSSL and GnuPG over one message, the keys, and files of keys.
printf 'signed\n' >message
openssl genpkey -algorithm ed25519 -out ed25519.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.pem
openssl pkeyutl -sign -rawin -in message -inkey ed25519.pem -out ed25519.sig
openssl dgst -sha256 -sign p256.pem -out p256.sig message
for key in ed25519 p256; do openssl pkey -in "$key.pem" -pubout | seed key_files "$key"; done
openssl pkey -in p256.pem | seed key_files p256-secret
openssl pkey -in ed25519.pem -pubout -outform DER | tail -c 32 | base64 >ed25519.line
{ echo '# a comment' && cat ed25519.line; } | seed key_files lines
export GNUPGHOME=$tmp/gnupg
mkdir -m 700 gnupg
gpg() { command gpg --batch --quiet --passphrase '' --pinentry-mode loopback --faked-system-time 20230101T000000 "$@"; }
gpg --quick-generate-key 'Fuzz <fuzz@example.org>' ed25519 sign never
gpg --quick-add-key "$(gpg --list-keys --with-colons | awk -F: '/^fpr/ {print $10; exit}')" ed25519 sign 2y
gpg --quick-generate-key 'Other <other@example.org>' nistp256 sign 1y
gpg --export | seed openpgp_keyring 0
gpg --export --armor fuzz@example.org | seed openpgp_keyring armoured
gpg --export-secret-keys other@example.org | seed openpgp_keyring secret
gpg --detach-sign -u other@example.org -u fuzz@example.org -o two.gpg message
seed openpgp_signature two <two.gpg
gpg --detach-sign --armor -u fuzz@example.org -o - message | seed openpgp_signature armoured
gpgconf --kill all
# An `a{sv}` of lists of signatures. An entry: its name, padded; the list and its type; where the name ends.
python3 - <<'PY' | seed signatures 0
import struct, sys
def aay(items):
    ends = [sum(map(len, items[:n + 1])) for n in range(len(items))]
    body = b"".join(items)
    size = 1 if len(body) + len(items) < 256 else 2
    return body + b"".join(end.to_bytes(size, "little") for end in ends)
def entry(name, items):
    name = name.encode() + b"\0"
    body = name + bytes(-len(name) % 8) + aay(items) + b"\0aay"
    return body + (bytes([len(name)]) if len(body) < 255 else struct.pack("<H", len(name)))
def read(name): return open(name, "rb").read()
out, ends = b"", []
for name, items in [("ostree.sign.ed25519", [read("ed25519.sig"), b"short"]),
                    ("ostree.sign.spki", [read("p256.sig")]),
                    ("ostree.sign.dummy", [b"dummysign"]),
                    ("ostree.gpgsigs", [read("two.gpg")])]:
    out += bytes(-len(out) % 8) + entry(name, items)
    ends.append(len(out))
sys.stdout.buffer.write(out + b"".join(struct.pack("<H", end) for end in ends))
PY
