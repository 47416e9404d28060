"""The lab's certificate authority and the API server's certificate: made once per lab, reused by every daemon.

EC P-256, because it takes a millisecond where RSA takes a tenth of a second. The authority signs one certificate, whose
names are all those under which the server is reached: host loopback, its address on the fabric, and the Service
`kubernetes`. A certificate that lacks a name, nears its end or is damaged is replaced; the authority stays, so clients continue.
If a file of the authority itself is damaged, both are replaced, and the lab's own clients are started again (`supervisor`).

Why ten years: the record that holds the certificates is in memory (/run) and ends with `down` or the machine, so no certificate
gets old. A shorter life would only let a lab fail whose machine has a wrong clock: a reader of the key can read the tokens
beside it as well. For the same reason a certificate is valid a year before it was made.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netlab.controlplane.pki import Pki
from netlab.errors import LabError
from netlab.files import PRIVATE, write_whole

LIFETIME: Final = timedelta(days=3650)
RENEW_BEFORE: Final = timedelta(days=30)
CLOCK_SKEW: Final = timedelta(days=365)  # before now: a clock may be set back while the lab runs


def ensure_pki(folder: Path, names: Sequence[str], *, now: datetime | None = None) -> Pki:
    """Return the lab's certificates, making what is missing. `names` are host names and IP addresses."""
    moment = now or datetime.now(UTC)
    pki = Pki(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        authority, authority_key = _authority(pki) or _new_authority(pki, moment)
        if not _is_good(pki, authority, names, moment):
            _issue(pki, authority, authority_key, names, moment)
    except OSError as error:
        remedy = "Free disk space in that folder." if error.errno == errno.ENOSPC else "Check the permissions of that folder."
        raise LabError(f"cannot write the lab's certificates to {folder}: {error.strerror}", remedy=remedy) from error
    return pki


Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _authority(pki: Pki) -> Pair | None:
    """Return the authority that there is; None when it is missing or damaged."""
    return _pair(pki.ca_file, pki.ca_key_file)


def _pair(certificate_file: Path, key_file: Path) -> Pair | None:
    """Return a certificate and its key, None unless both are whole and belong together."""
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return certificate, key


def _new_authority(pki: Pki, now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("netlab lab CA")
    builder = _builder(name, name, key, now).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _write(pki.ca_file, pki.ca_key_file, certificate, key)
    return certificate, key


def _issue(
    pki: Pki, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name("kube-apiserver"), authority.subject, key, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = builder.add_extension(authority_id, critical=False).sign(authority_key, hashes.SHA256())
    _write(pki.certificate_file, pki.key_file, certificate, key)


def _is_good(pki: Pki, authority: x509.Certificate, names: Sequence[str], now: datetime) -> bool:
    pair = _pair(pki.certificate_file, pki.key_file)
    if pair is None:
        return False
    certificate, _ = pair
    present = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    fresh = certificate.not_valid_after_utc - now > RENEW_BEFORE
    return fresh and _is_issued_by(certificate, authority) and {_general_name(name) for name in names} <= present


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether this authority signed a certificate; another one of the same name may have."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(now + LIFETIME)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(certificate_file: Path, key_file: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """Write the key first: a certificate without its key would be taken for a finished pair."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    write_whole(key_file, key.private_bytes(encoding, form, serialization.NoEncryption()), mode=PRIVATE)
    write_whole(certificate_file, certificate.public_bytes(encoding), mode=PRIVATE)
