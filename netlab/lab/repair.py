"""Rebuild damaged files of a lab's record, before `up` continues with the lab.

netlab writes each file of a record in one step, so damage comes from outside: a full disk, a user,
failing memory. The content of a file is either available elsewhere, or is created again:

    processes/<name>              from /proc, by the marks of the lab's processes
    netns/<name>                  from the ownership marks of the links inside the namespace
    lab.json                      from the API server's objects: the daemon's, or store.db
    ipam/<node>                   from the pods' status, by the kubelet
    api.json, sockets/api, kubeconfig, tokens/<user>, pki/
                                  by another daemon: `up` replaces one that is unreachable; agents
                                  that received an older file are restarted
    store.db                      there is no other copy: `up` reports that, `down` works without it;
                                  the daemon leaves out a damaged object in it

The caller holds the lab's lock.
"""

from __future__ import annotations

import logging
import re
import ssl
from contextlib import closing
from pathlib import Path
from typing import Final

from netlab.api.lab import Lab
from netlab.api.resources import LABS
from netlab.controlplane.auth import is_token
from netlab.controlplane.status import group_resource
from netlab.controlplane.store import Store
from netlab.errors import ApiError, DamagedRecordError, is_not_found
from netlab.lab.find import connect, daemon_record, daemon_serves
from netlab.process.marks import restore_records
from netlab.process.records import DAEMON, read_record, write_record
from netlab.state import API_SOCKET, StateDirectory

TOKEN_LINE: Final = re.compile(r"^ *token: \S+$", re.MULTILINE)
log = logging.getLogger("netlab.lab")


def restore(state: StateDirectory) -> None:
    """Record the processes and namespaces of a lab that have lost their record."""
    from netlab.lab.marks import marked_namespaces  # noqa: PLC0415 -- the kernel's door takes 0.1 s

    restored = [*restore_records(state)]
    daemon = daemon_record(state)
    if daemon and read_record(state, DAEMON) is None:
        write_record(state, daemon)
        restored.append(DAEMON)
    recorded = set(state.recorded_namespaces())
    for path, lab in marked_namespaces(f"{state.lab}-", known=recorded):
        if lab == state.lab:
            (state.namespaces / Path(path).name).touch()
            restored.append(Path(path).name)
    if restored:
        log.warning("record=restored names=%s", ",".join(sorted(restored)))


def can_be_reached(state: StateDirectory) -> bool:
    """Return whether the lab's daemon serves and the files that clients need are valid."""
    return daemon_serves(state) and not damaged_access(state)


def damaged_access(state: StateDirectory) -> tuple[Path, ...]:
    """Return missing or damaged files for access to the API server; a new daemon recreates them."""
    damaged = [path for path in sorted(state.tokens.glob("[!.]*")) if not is_token(path)]
    if not is_token(state.admin_token) and state.admin_token not in damaged:
        damaged.append(state.admin_token)
    if not state.socket(API_SOCKET).is_socket():
        damaged.append(state.socket(API_SOCKET))
    if not _is_authority(state.certificate_authority):
        damaged.append(state.certificate_authority)
    if not _is_kubeconfig(state.kubeconfig):
        damaged.append(state.kubeconfig)
    return tuple(damaged)


def _is_authority(path: Path) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):  # missing, or not a certificate
        return False
    return True


def _is_kubeconfig(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, ValueError):
        return False
    return bool(TOKEN_LINE.search(text)) and text.endswith("\n")


def recorded_lab(state: StateDirectory) -> Lab | None:
    """Return the lab as it was created, None if `up` ended before.

    Raises LabError if its data is lost.
    """
    try:
        lab = state.read(state.lab_file, Lab)
        if lab.metadata.name == state.lab:
            return lab
        log.warning("record=%s state=damaged error=%r", state.lab_file, "it belongs to another lab")
    except FileNotFoundError:
        if not state.store.exists():
            return None
    except DamagedRecordError as error:
        log.warning("record=%s state=damaged error=%r", state.lab_file, error.message)
    return _lab_of_daemon(state) if daemon_serves(state) else _lab_of_store(state)


def _lab_of_daemon(state: StateDirectory) -> Lab | None:
    with connect(state) as client:
        try:
            return LABS.decode(client.get(LABS, state.lab))
        except ApiError as error:
            if is_not_found(error):
                return None
            raise


def _lab_of_store(state: StateDirectory) -> Lab | None:
    with closing(Store.copy_of(state.store)) as store:
        for damaged in store.damaged():
            if damaged.resource == group_resource(LABS) and damaged.key == ("", state.lab):
                raise state.damaged(state.store, damaged.why)
        stored = store.get(LABS, "", state.lab)
        return LABS.decode(stored.body) if stored else None
