"""The files of a lab's certificates, and the TLS settings made from them. `netlab.controlplane.certificates` creates them.

It is a separate module because the daemon only reads them, without the large library that makes them.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from netlab.controlplane.status import unavailable
from netlab.errors import ApiError

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


# OpenSSL's codes (X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED) -> what a clock has to do with it.
_WRONG_TIMES: Final = {
    9: "the clock of this machine shows a time before the start of the lab's certificate",
    10: "the lab's certificate has expired, or the clock of this machine is ahead",
}
_SET_THE_CLOCK: Final = (
    "Set the clock (timedatectl set-ntp true), or recreate the lab with new certificates: netlab down, then netlab up FILE."
)


def unreachable(server: str, error: Exception) -> ApiError:
    """Return the error of a client that got no answer. A certificate that is refused for its dates is a matter of the clock."""
    cannot = f"cannot reach the API server at {server}"
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _WRONG_TIMES:
        why = f"{_WRONG_TIMES[error.verify_code]} (it shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)"
        return unavailable(f"{cannot}: {why}", remedy=_SET_THE_CLOCK)
    return unavailable(f"{cannot}: {str(error) or type(error).__name__}")


def server_names(addresses: Sequence[str], dns_domain: str = "cluster.local") -> tuple[str, ...]:
    """Return all names of the server: loopback, these addresses, and those of the Service `kubernetes`."""
    return ("127.0.0.1", "localhost", *addresses, *KUBERNETES_NAMES, f"kubernetes.default.svc.{dns_domain}")
