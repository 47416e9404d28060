"""The files of a lab's certificates, and the TLS settings made from them. Who makes them: `netlab.controlplane.certificates`.

Apart from it because the daemon only reads them: it need not carry the weight of the library that makes them.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KUBERNETES_NAMES: Final = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class Pki:
    """The files. Only certificates are for others to read; the folder is the owner's alone anyway."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def ca_key_file(self) -> Path:
        return self.folder / "ca.key"

    @property
    def certificate_file(self) -> Path:
        return self.folder / "server.crt"

    @property
    def key_file(self) -> Path:
        return self.folder / "server.key"

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS settings of the API server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def server_names(addresses: Sequence[str], dns_domain: str = "cluster.local") -> tuple[str, ...]:
    """Return all names of the server: loopback, these addresses, and those of the Service `kubernetes`."""
    return ("127.0.0.1", "localhost", *addresses, *KUBERNETES_NAMES, f"kubernetes.default.svc.{dns_domain}")
