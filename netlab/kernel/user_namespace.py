"""An ordinary user's way to be root over network namespaces: a user namespace in which he is.

What a process gets from `make`, and another one of the same user from `join`:
  - a user namespace in which the user is root, and no other user exists. It owns the network namespaces made in it, so the
    kernel lets the process program them; over the machine it has no power that the user has not;
  - a mount namespace in which /run is a separate folder, with the machine's entries bound into it but for an empty
    /run/netns. So namespaces are named as root's are, and no other user or lab sees the names;
  - an empty network namespace, its home: a thread that was inside a namespace must be able to come back, and the kernel
    lets no process back into the machine's own. Every process has its own home.

What would surprise you:
  - A process that is in cannot reach the machine's loopback. A socket belongs to the namespace it was made in, so one for
    the machine is made before; Unix sockets know no network namespaces.
  - All of it ends with the last process in it. Nothing is left for anybody to remove.
  - Files are the user's own, under the same number, seen from inside as root's.

Only a single-threaded process may do this, and there is no way back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import LabError, UnsupportedHostError
from netlab.kernel import libc, mounts

_PROC_SYS = Path("/proc/sys")
# Settings by which a system forbids user namespaces: (setting, value that does) -> what it is, and the value that allows.
_FORBIDDING = {
    ("kernel/unprivileged_userns_clone", "0"): ("a setting of Debian", "1"),
    ("user/max_user_namespaces", "0"): ("the limit of user namespaces is 0", "15000"),
    ("user/max_mnt_namespaces", "0"): ("the limit of mount namespaces is 0", "15000"),
    ("user/max_net_namespaces", "0"): ("the limit of network namespaces is 0", "15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"): ("Ubuntu's AppArmor removes their capabilities", "0"),
}
_REMEDIES = {
    errno.EPERM: "In a container, its seccomp profile forbids it: docker run --security-opt seccomp=unconfined ... "
    "Or run netlab with sudo.",
    errno.ENOSPC: "Too many namespaces: raise the sysctls user.max_user_namespaces and user.max_net_namespaces.",
    errno.EINVAL: "This kernel may lack user namespaces (CONFIG_USER_NS). Run netlab with sudo.",
}


def make() -> None:
    """Become root of a new user namespace. Raises UnsupportedHostError that names what forbids it."""
    user, group = os.geteuid(), os.getegid()
    maps = {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}
    try:
        libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS | libc.CLONE_NEWNET)
        for name, text in maps.items():
            Path("/proc/self", name).write_text(text, encoding="ascii")
        mounts.rebuild("/run", leave_out={Path(NETNS_DIRECTORY).name})
        Path(NETNS_DIRECTORY).mkdir(mode=0o755)
    except OSError as error:
        raise refused(error, settings()) from error


def join(pidfd: int) -> None:
    """Enter the user and mount namespaces of a process of the same user, with a home of our own."""
    folder = Path.cwd()
    try:
        libc.setns(pidfd, libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
        libc.unshare(libc.CLONE_NEWNET)
    except OSError as error:
        raise refused(error, settings()) from error
    try:
        os.chdir(folder)
    except OSError as error:
        remedy = "It was mounted after the lab was created: run netlab from another folder, or recreate the lab."
        raise LabError(f"the folder {folder} is not visible from inside the lab: {error.strerror}", remedy=remedy) from error


def settings() -> dict[str, str]:
    """Return the machine's settings that may forbid user namespaces; those that this kernel lacks are left out."""
    paths = {name: _PROC_SYS / name for name, _ in _FORBIDDING}
    return {name: path.read_text().strip() for name, path in paths.items() if path.exists()}


def forbidding(found: Mapping[str, str]) -> str:
    """Return the first of these settings that forbids user namespaces, empty when none does."""
    return next((name for name, value in found.items() if (name, value) in _FORBIDDING), "")


def refused(error: OSError, found: Mapping[str, str]) -> UnsupportedHostError:
    """Return the error that names the setting that forbids user namespaces, and how to allow them."""
    if name := forbidding(found):
        setting = name.replace("/", ".")
        words, allowing = _FORBIDDING[name, found[name]]
        return UnsupportedHostError(
            f"this system does not allow user namespaces for ordinary users: {setting} = {found[name]} ({words})",
            remedy=f"Allow them: sudo sysctl -w {setting}={allowing}\nOr run netlab with sudo. See docs/rootless.md.",
        )
    remedy = _REMEDIES.get(
        error.errno or 0, "Run netlab with sudo. docs/rootless.md lists the requirements of running without it."
    )
    return UnsupportedHostError(f"cannot create a user namespace as an ordinary user: {error.strerror}", remedy=remedy)
