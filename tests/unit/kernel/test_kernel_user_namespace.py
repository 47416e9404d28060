"""What an ordinary user reads where the system gives no user namespace."""

from __future__ import annotations

import errno
import os

import pytest

from netlab.kernel import user_namespace

ALLOWED = {
    "kernel/unprivileged_userns_clone": "1",
    "user/max_user_namespaces": "96365",
    "user/max_mnt_namespaces": "96365",
    "user/max_net_namespaces": "96365",
    "kernel/apparmor_restrict_unprivileged_userns": "0",
}


@pytest.mark.parametrize(
    ("number", "settings", "words"),
    [
        (
            errno.EPERM,
            {"kernel/unprivileged_userns_clone": "0"},
            ("kernel.unprivileged_userns_clone = 0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ),
        (errno.ENOSPC, {"user/max_user_namespaces": "0"}, ("user.max_user_namespaces = 0", "user.max_user_namespaces=15000")),
        (errno.ENOSPC, {"user/max_mnt_namespaces": "0"}, ("user.max_mnt_namespaces = 0", "user.max_mnt_namespaces=15000")),
        (errno.ENOSPC, {"user/max_net_namespaces": "0"}, ("user.max_net_namespaces = 0", "user.max_net_namespaces=15000")),
        (
            errno.EACCES,
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            ("Ubuntu's AppArmor", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ),
        (errno.EPERM, {}, ("Operation not permitted", "seccomp=unconfined")),
        (errno.ENOSPC, {}, ("No space left", "raise the sysctls user.max_user_namespaces")),
        (errno.EINVAL, {}, ("Invalid argument", "CONFIG_USER_NS")),
        (errno.EIO, {}, ("Input/output error", "sudo")),
    ],
    ids=lambda value: ",".join(value) or "none" if isinstance(value, dict) else None,
)
def test_refusals(number, settings, words):
    """The setting that forbids it is named with the command that allows it; else the kernel's words, and what may be behind."""
    error = user_namespace.refused(OSError(number, os.strerror(number)), {**ALLOWED, **settings})

    assert [] == [word for word in words if word not in str(error)]


def test_settings_of_this_machine():
    """A setting that this kernel has is read; one that it lacks forbids nothing."""
    found = user_namespace.settings()

    assert found.keys() <= ALLOWED.keys()
    assert found["user/max_user_namespaces"].isdigit()
