"""Rules: `nft` as a process inside the namespace, one transaction per script.

Rules:
1. nft is run by a thread that is inside the namespace: the process inherits it, nothing runs between fork and exec.
2. A script is one transaction of the kernel's: all of it or nothing (semantics 8.11).
3. Listings leave out counters and the age of elements (`-s`) and give priorities as numbers (`-y`), so that the same rules
   always print the same.
4. A dormant table hangs on no hook: no packet meets a draft that is made only to see how the kernel prints it. That takes
   no namespace, so no more privilege than writing rules does.
5. The generation is asked over netlink, not through a process: it answers "did anybody change a rule?" in microseconds.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess  # noqa: TID251 -- this is the module that starts nft

from netlab.errors import KernelError, UnsupportedHostError
from netlab.kernel import namespaces
from netlab.kernel.codecs import NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, generation_message, request
from netlab.kernel.netlink import Netlink
from netlab.netfilter.listing import Listing, parse

_GET_GENERATION = (NFNL_SUBSYS_NFTABLES << 8) | 16  # NFT_MSG_GETGEN

_PLACE = re.compile(r"^(?:/dev/stdin|-):(?P<line>\d+):\d+-\d+: Error: (?P<words>.*)$")
_NUMBERS = {
    os.strerror(number): number
    for number in (
        errno.ENOENT,
        errno.EEXIST,
        errno.EBUSY,
        errno.EPERM,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.EMFILE,
        errno.ERANGE,
    )
}
_REMEDIES = {
    errno.EPERM: "Run netlab as root: nft needs CAP_NET_ADMIN.",
    errno.EOPNOTSUPP: "This kernel lacks a required feature of nftables (5.13 or newer is required); run `netlab doctor`.",
    errno.EBUSY: "A rule or map still refers to the object to delete.",
}
_LONGEST_LINE = 400  # of a script in an error message


def run(path: str, script: str) -> None:
    """Run a script in the namespace at `path`."""
    with namespaces.inside(path):
        _load(script, f"namespace {path}")


def listing(path: str, family: str, table: str) -> Listing:
    """Return a table of the namespace at `path`."""
    with namespaces.inside(path):
        return _list(family, table)


def canonical(path: str, contents: str, family: str, table: str) -> Listing:
    """Return how a table with these contents prints: made dormant under a separate name, listed, and removed again."""
    dormant = f"table {family} {table} {{ flags dormant; }}\n"
    delete = f"delete table {family} {table}\n"
    with namespaces.inside(path):
        _load(dormant + delete + dormant + contents, f"namespace {path}")  # a process that was killed may have left one
        try:
            return _list(family, table)
        finally:
            _load(delete, f"namespace {path}")


def generation(path: str) -> int:
    """Return the generation of the namespace's ruleset."""
    with namespaces.inside(path), Netlink(NETLINK_NETFILTER) as netlink:
        answer = netlink.transact([request(generation_message, _GET_GENERATION, 0)])[0]
    if answer.errno or not answer.messages:
        number = answer.errno or errno.EOPNOTSUPP
        message = f"The kernel did not return the generation of its rules in {path}: {os.strerror(number)}."
        raise KernelError(message, errno=number, remedy=_REMEDIES.get(number, ""))
    return int(answer.messages[0].get_attr("NFTA_GEN_ID"))


def _load(script: str, where: str) -> None:
    if not script.strip():
        return
    done = _nft(["-f", "-"], script)
    if done.returncode:
        raise _refused(done.stderr, script, where)


def _list(family: str, table: str) -> Listing:
    done = _nft(["-s", "-y", "list", "table", family, table], "")
    if done.returncode == 0:
        return parse(done.stdout)
    if os.strerror(errno.ENOENT) in done.stderr:
        return Listing(exists=False)
    raise KernelError(
        f"`nft list table {family} {table}` failed: {done.stderr.strip()}",
        errno=_number(done.stderr),
        remedy=_REMEDIES.get(_number(done.stderr), ""),
    )


def _nft(arguments: list[str], script: str) -> subprocess.CompletedProcess[str]:
    """Run nft in the namespace this thread is in. Its environment has the C locale: its words are read."""
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin:/usr/local/sbin")
    if program is None:
        raise UnsupportedHostError("The program nft is not installed.", remedy="Install it: apt-get install nftables")
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run([program, *arguments], input=script, capture_output=True, text=True, env=environment, check=False)


def _refused(stderr: str, script: str, where: str) -> KernelError:
    """Return the error for what nft printed, with the line of the script it was about."""
    words = stderr.strip()
    line = ""
    for text in stderr.splitlines():
        if found := _PLACE.match(text):
            words = found["words"]
            line = script.splitlines()[int(found["line"]) - 1].strip()
            break
    shown = f" at `{line[:_LONGEST_LINE]}`" if line else ""
    number = _number(words)
    return KernelError(f"nft refused a script in {where}{shown}: {words}.", errno=number, remedy=_REMEDIES.get(number, ""))


def _number(words: str) -> int:
    return next((number for text, number in _NUMBERS.items() if text in words), errno.EINVAL)
