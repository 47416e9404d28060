"""The base of all images, `debian:bookworm-slim`: the present one, else pulled, else built here.

To build it, `mmdebstrap` installs the same Debian release from Debian's packages, without the parts
that the official image omits (manual pages, documentation, translations), and the engine imports it
under the same name, with the label `netlab/base=mmdebstrap`. The packages come from the source of
the machine's own apt if that is Debian's archive, else from Debian's mirrors. The engine's store is
the cache: as long as the image exists, it is not built again. `netlab images pull` replaces it by
the official one if a registry responds.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from netlab.engine.protocol import Engine
from netlab.errors import EngineError, UnsupportedHostError
from netlab.process import programs

BASE = "debian:bookworm-slim"
RELEASE = "bookworm"
SUITES = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
MADE_LABEL = "netlab/base"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT = Path("/etc/apt")
MAKING_LIMIT = 900  # seconds; 20 to 60 are usual
LEFT_OUT = ("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*")
DOCUMENTATION = ("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright")  # licences stay
APT_OPTIONS = ('Acquire::Languages "none"', 'APT::Install-Recommends "false"')
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"  # without it 57 MB of perl come along to merge /usr
log = logging.getLogger("netlab.images")


def ensure_base(engine: Engine, say: Callable[[str], None]) -> str:
    """Return the identity of the base image; pull or build it if it is missing."""
    if not engine.has_image(BASE):
        try:
            pull_base(engine, say)
        except EngineError as error:
            say(f"could not pull {BASE}: {_first_line(error.message)}")
            _make(engine, say)
    return engine.image_id(BASE)


def pull_base(engine: Engine, say: Callable[[str], None]) -> None:
    """Pull the official base. Raises EngineError if no registry responds."""
    say(f"pulling {BASE}")
    engine.pull(BASE)


def _make(engine: Engine, say: Callable[[str], None]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise UnsupportedHostError(
            f"could not pull {BASE}, the base of the images, and mmdebstrap, which builds it, is not installed",
            remedy="Install it: apt-get install -y mmdebstrap debian-archive-keyring. Or load the image: docker load.",
        )
    say(f"building {BASE} from Debian's packages with mmdebstrap (once; about 30 s)")
    with tempfile.TemporaryDirectory(prefix="netlab-base-") as folder:
        archive = Path(folder) / "root.tar"
        programs.run(f"build {BASE} from Debian's packages", command(archive, machine_sources()), limit=MAKING_LIMIT)
        engine.import_image(str(archive), BASE, {MADE_LABEL: "mmdebstrap"}, "bash")  # as in the official one


def command(archive: Path, sources: Sequence[str]) -> list[str]:
    """Return the command that builds the base; without `sources` it uses Debian's own mirrors."""
    certificates = ["--include=ca-certificates"] if any("https://" in line for line in sources) else []
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        "--include=usr-is-merged",
        f"--hook-dir={MERGED_USR}",
        *certificates,
        *(f"--dpkgopt={option}" for option in (*LEFT_OUT, *DOCUMENTATION)),
        *(f"--aptopt={option}" for option in APT_OPTIONS),
        RELEASE,
        str(archive),
        *sources,
    ]


def machine_sources() -> tuple[str, ...]:
    """Return this machine's apt lines for Debian's archive.

    Return no lines for another archive or another release.
    """
    files = [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))]
    return archive_sources((path.suffix, path.read_text(errors="replace")) for path in files if path.is_file())


# ---- Debian's archive in the configuration of the machine's apt
def archive_sources(files: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return apt's lines for Debian's own archive of the release, none for another release.

    `files`: suffix and text of each of apt's files: `.list` with a line per source, `.sources` with paragraphs.
    """
    found: list[str] = []
    for suffix, text in files:
        for uri, suite in _stanzas(text) if suffix == ".sources" else _lines(text):
            line = f"deb [signed-by={KEYRING}] {uri} {suite} main"
            if suite in SUITES and uri.startswith(("http://", "https://")) and line not in found:
                found.append(line)
    return tuple(found) if any(f" {RELEASE} main" in line for line in found) else ()


def _lines(text: str) -> Iterable[tuple[str, str]]:
    """Yield address and suite of `deb [options] URI SUITE COMPONENT...` lines with Debian's component main."""
    for line in text.splitlines():
        kind, _, rest = line.strip().partition(" ")
        options, _, where = rest.rpartition("]") if "[" in rest else ("", "", rest)
        words = where.split()
        if kind == "deb" and "main" in words[2:] and _is_debians_key(options):
            yield words[0], words[1]


def _stanzas(text: str) -> Iterable[tuple[str, str]]:
    """Yield address and suite of deb822 paragraphs with Debian's component main."""
    for paragraph in text.split("\n\n"):
        fields = {}
        for line in paragraph.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith(("#", " ", "\t")):
                fields[name.lower()] = value.strip()
        is_binary = "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no"
        if is_binary and "main" in fields.get("components", "").split() and _is_debians_key(fields.get("signed-by", "")):
            yield from ((uri, suite) for uri in fields.get("uris", "").split() for suite in fields.get("suites", "").split())


def _is_debians_key(options: str) -> bool:
    """Return whether Debian's key signs a source, as far as its options state."""
    return ("signed-by" not in options.lower() and "/" not in options) or "debian-archive" in options


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
