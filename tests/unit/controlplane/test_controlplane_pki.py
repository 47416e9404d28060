from __future__ import annotations

import asyncio
import base64
import random
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from netlab.controlplane.certificates import ensure_pki
from netlab.controlplane.http import HttpClient
from netlab.controlplane.kubeconfig import kubeconfig, write_kubeconfig
from netlab.controlplane.pki import server_names
from netlab.controlplane.sync import SyncClient
from netlab.errors import ApiError, LabError

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NAMES = server_names(["172.30.0.2", "10.96.0.1"])


def test_the_certificate_names_the_server(tmp_path: Path) -> None:
    """The certificate is good for loopback, the fabric, the Service address and the names of `kubernetes`."""
    pki = ensure_pki(tmp_path, NAMES, now=NOW)
    certificate = x509.load_pem_x509_certificate(pki.certificate_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert ["127.0.0.1", "172.30.0.2", "10.96.0.1"] == [str(a) for a in names.get_values_for_type(x509.IPAddress)]
    assert [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ] == (names.get_values_for_type(x509.DNSName))


def test_keys_are_private(tmp_path: Path) -> None:
    """Nobody else can read what the lab's identity is made of."""
    pki = ensure_pki(tmp_path, NAMES, now=NOW)

    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in (pki.ca_key_file, pki.key_file)}
    assert isinstance(pki.server_context(), ssl.SSLContext)


@pytest.mark.parametrize(
    ("names", "later", "same"),
    [(NAMES, timedelta(), True), (NAMES[:2], timedelta(), True), ((*NAMES, "10.0.0.9"), timedelta(), False),
     (NAMES, timedelta(days=3649), False)],
)  # fmt: skip
def test_certificates_are_reused(tmp_path: Path, names: tuple[str, ...], later: timedelta, same: bool) -> None:
    """The authority stays; the server's certificate is made anew only when a name is missing or its end is near."""
    first = ensure_pki(tmp_path, NAMES, now=NOW)
    before = (first.ca_file.read_bytes(), first.certificate_file.read_bytes())
    second = ensure_pki(tmp_path, names, now=NOW + later)

    assert (True, same) == (before[0] == second.ca_file.read_bytes(), before[1] == second.certificate_file.read_bytes())


DATES = [
    pytest.param(
        timedelta(days=400), "shows a time before the start of the lab's certificate", id="clock set back by more than a year"
    ),
    pytest.param(timedelta(days=-3651), "has expired, or the clock of this machine is ahead", id="expired"),
    pytest.param(timedelta(days=364), None, id="clock set back by nearly a year"),
    pytest.param(timedelta(days=-3649), None, id="old"),
]


@pytest.mark.parametrize(("made", "words"), DATES)
async def test_a_wrong_clock_is_named(tmp_path: Path, made: timedelta, words: str | None) -> None:
    """Finding M7: a certificate made `made` from now is good, or both clients name the clock and what to do."""
    pki = ensure_pki(tmp_path, NAMES, now=datetime.now(UTC) + made)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=pki.server_context())
    async with server, HttpClient(url := f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", pki.ca_file, "t") as client:
        with SyncClient(url, pki.ca_file, "t") as other:
            for asking in (lambda: client.request("GET", "/"), lambda: asyncio.to_thread(other.request, "GET", "/")):
                if words is None:
                    assert {} == await asking()
                    continue
                with pytest.raises(ApiError, match=words) as error:
                    await asking()
                assert "Set the clock" in error.value.remedy


DAMAGES = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "random": lambda content: random.Random(1).randbytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("name", "kept"), [("ca.crt", False), ("ca.key", False), ("server.crt", True), ("server.key", True)])
def test_damaged_certificates_are_replaced(tmp_path: Path, name: str, kept: bool, damage: str) -> None:
    """A damaged server certificate or key is replaced under the same authority; a damaged authority takes both along (M2)."""
    pki = ensure_pki(tmp_path, NAMES, now=NOW)
    before = pki.ca_file.read_bytes()
    path = tmp_path / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))

    ensure_pki(tmp_path, NAMES, now=NOW)

    assert kept is (pki.ca_file.read_bytes() == before)
    authority = x509.load_pem_x509_certificate(pki.ca_file.read_bytes())
    x509.load_pem_x509_certificate(pki.certificate_file.read_bytes()).verify_directly_issued_by(authority)
    pki.server_context()  # raises for a key that is another certificate's


def test_certificates_of_another_pair_are_replaced(tmp_path: Path) -> None:
    """A key that belongs to another certificate is damage, too."""
    pki, other = ensure_pki(tmp_path / "a", NAMES, now=NOW), ensure_pki(tmp_path / "b", NAMES, now=NOW)
    pki.key_file.write_bytes(other.key_file.read_bytes())
    ensure_pki(pki.folder, NAMES, now=NOW)
    pki.server_context()
    pki.certificate_file.write_bytes(other.certificate_file.read_bytes())
    pki.key_file.write_bytes(other.key_file.read_bytes())
    ensure_pki(pki.folder, NAMES, now=NOW)

    assert pki.certificate_file.read_bytes() != other.certificate_file.read_bytes()


def test_certificates_that_cannot_be_written_are_a_lab_error(tmp_path: Path) -> None:
    """The error names the folder and says what the system said."""
    pki = ensure_pki(tmp_path, NAMES, now=NOW)
    pki.ca_file.unlink()
    pki.ca_file.mkdir()
    with pytest.raises(LabError, match=r"cannot write the lab's certificates to .*: Is a directory"):
        ensure_pki(tmp_path, NAMES, now=NOW)


def test_the_kubeconfig(tmp_path: Path) -> None:
    """A kubeconfig names cluster and context after the lab and holds everything inline."""
    content = kubeconfig("quickstart", "https://127.0.0.1:6443", b"CA", "token")
    write_kubeconfig(tmp_path / "kubeconfig", content)
    read = yaml.safe_load((tmp_path / "kubeconfig").read_text())

    assert content == read
    assert ("quickstart", "quickstart") == (read["current-context"], read["clusters"][0]["name"])
    assert b"CA" == base64.b64decode(read["clusters"][0]["cluster"]["certificate-authority-data"])
