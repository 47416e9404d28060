"""Makes the disk of the tests' virtual machine, once per content, and becomes the machine: `python image.py WORK`.

The disk comes about natively, for an emulated processor is some fifteen times slower, and in two steps as with Vagrant:
mmdebstrap puts together what a box has (Debian, its kernel, systemd), then `tools/provision` installs everything else in
it (tests/vm/guest/provision). Kernel, initial RAM disk and an ext4 file go to the cache, under a name made from all that
they depend on. The source does not count among that: the machine gets it anew at every start, as a second disk that is
a tar file, and unpacks it where Vagrant has its synced folder.

Then this process becomes QEMU. Its processor is emulated (KVM is not everywhere where tests run), it has no network
card at all, it writes nothing to the disk, and standard input and output are its wire (machine.py). It leaves the
processors to whoever else wants them, so that it can be made and started while other tests run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from netlab.images.base import machine_sources

ROOT = Path(__file__).parents[2]
GUEST = Path(__file__).parent / "guest"
RELEASE = "bookworm"
# What Vagrant's boxes have and mmdebstrap's smallest system has not.
BOX = ("ca-certificates", "dbus", "libpam-systemd", "linux-image-cloud-amd64", "sudo", "systemd-sysv", "udev")
APT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
# What the disk depends on besides the packages.
PROVISIONING = (
    "Makefile", "pyproject.toml", "requirements-dev.lock", "requirements.lock",
    "tools/engine", "tools/packages", "tools/provision", "tools/setup",
    "tests/vm/guest/provision", "tests/vm/guest/wire", "tests/vm/guest/wire.service", "tests/vm/image.py",
)  # fmt: skip
NOT_SOURCE = {
    ".git",
    ".venv",
    ".vagrant",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".import_linter_cache",
    ".hypothesis",
}
DISK_SIZE = 6 << 30  # bytes; most of it is a hole
MEMORY = 2048  # MiB
SHUT = ("setpriv", "--pdeathsig", "KILL")  # who makes an image ends with us
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")  # mounts and processes of its own, which leave nothing


def main(work: Path) -> None:
    """Make the image if need be, and become the machine. What is said goes to standard error; standard output is the wire."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "k8s-netlab" / "vm"
    cache.mkdir(parents=True, exist_ok=True)
    source = work / "source.tar"
    pack(source)
    image = cache / key()
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            make(image, source)
    os.execvp("qemu-system-x86_64", machine(image, source, work / "console.log"))


def key() -> str:
    """Return the name of the disk: what it is made from, in 12 hexadecimal digits."""
    content = hashlib.sha256(repr((RELEASE, BOX)).encode())
    for name in PROVISIONING:
        content.update(name.encode() + b"\0" + (ROOT / name).read_bytes() + b"\0")
    return content.hexdigest()[:12]


def pack(target: Path) -> None:
    """Write this source as a tar file: all times alike, so that only content tells what is new to make and to Python."""

    def member(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = "root"
        return None if Path(info.name).name in NOT_SOURCE else info

    with tarfile.open(target, "w") as archive:
        archive.add(ROOT, arcname=".", filter=member)


def make(image: Path, source: Path) -> None:
    """Make kernel, initial RAM disk and root disk in the folder `image`, which is there when all of them are."""
    for old in image.parent.glob(f"{'[0-9a-f]' * len(image.name)}*"):  # of other contents, or left by who was killed
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=f"{image.name}.") as folder:
        root, made = Path(folder) / "root", Path(folder) / "made"
        made.mkdir()
        run(*SHUT, *ALONE, *debian(root, source))
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(root / name, made / name)
        disk = made / "root.ext4"
        with disk.open("wb") as file:
            file.truncate(DISK_SIZE)
        run("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk))
        made.rename(image)


def debian(root: Path, source: Path) -> list[str]:
    """Return the command that makes the provisioned root file system, from where this machine's own apt takes packages."""
    dump = ["apt-config", "dump", "--format", '%F "%v"%n', *APT_SETTINGS]
    settings = subprocess.run(dump, capture_output=True, text=True, check=True).stdout.splitlines()
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--format=directory",
        f"--include={','.join(BOX)}",
        *(f"--aptopt={setting}" for setting in settings if not setting.endswith(' ""')),
        "--customize-hook=mkdir $1/vagrant",
        f"--customize-hook=tar-in {source} /vagrant",
        f"--customize-hook={GUEST / 'provision'} $1",
        RELEASE,
        str(root),
        *machine_sources(),
    ]


def run(*command: str) -> None:
    """Run a command; its words are ours."""
    subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=True)


def machine(image: Path, source: Path, console: Path) -> list[str]:
    """Return the command of the machine."""
    return [
        "qemu-system-x86_64",
        *("-accel", "tcg", "-cpu", "max", "-m", str(MEMORY)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img")),
        *("-append", "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off"),
        *("-drive", f"file={image / 'root.ext4'},format=raw,if=virtio,snapshot=on"),
        *("-drive", f"file={source},format=raw,if=virtio,readonly=on"),
        *("-serial", f"file:{console}"),
        *("-chardev", "stdio,id=wire,signal=off", "-device", "virtio-serial", "-device", "virtserialport,chardev=wire,name=wire"),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
