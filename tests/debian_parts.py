"""A small Debian archive of the tests' own: packages, indices and a signature, made by dpkg-deb and gpg."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

ARCH = "amd64"
SUITE = "toy"


@dataclass(frozen=True)
class Deb:
    """A package; ``fields``: lines of its control file beyond the usual ones."""

    name: str
    version: str = "1"
    fields: str = ""
    text: str = ""


PACKAGES = (
    Deb("base", fields="Essential: yes"),
    Deb("usr-is-merged"),
    Deb("lib"),
    Deb("lib", "2"),
    Deb("tool", fields="Depends: lib (>= 1)"),
    Deb("needs-old", fields="Depends: lib (= 1)"),
    Deb("needs-new", fields="Depends: lib (= 2)"),
    Deb("lonely", fields="Depends: nobody-has-this"),
    Deb("red", fields="Provides: colour\nConflicts: colour"),
    Deb("blue", fields="Provides: colour\nConflicts: colour"),
    Deb("systemd-sysv"),
)


class Archive:
    """An archive below ``folder``, signed with a key of its own whose public half is ``keyring``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keyring = folder / "key.gpg"
        self._home = folder / "gnupg"
        self._home.mkdir(parents=True, mode=0o700)
        self._gpg("--quick-generate-key", "toy@example.org", "ed25519", "sign", "never")
        self.keyring.write_bytes(self._gpg("--export"))
        self.keyring.chmod(0o644)

    @property
    def uri(self) -> str:
        return f"file:{self.folder}"

    def publish(self, packages: tuple[Deb, ...] = PACKAGES) -> None:
        """Make the archive hold these packages, and sign it anew."""
        index = "\n".join(self._stanza(package) for package in packages).encode()
        binary = self.folder / "dists" / SUITE / "main" / f"binary-{ARCH}"
        binary.mkdir(parents=True, exist_ok=True)
        (binary / "Packages").write_bytes(index)
        digest = hashlib.sha256(index).hexdigest()
        release = (
            f"Origin: Toy\nSuite: {SUITE}\nCodename: {SUITE}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"Architectures: {ARCH}\nComponents: main\n"
            f"SHA256:\n {digest} {len(index)} main/binary-{ARCH}/Packages\n"
        )
        plain = self.folder / "dists" / SUITE / "plain"
        plain.write_text(release)
        signed = self._gpg("--clearsign", "--output", "-", str(plain))
        plain.unlink()
        (binary.parents[1] / "InRelease").write_bytes(signed)

    def _stanza(self, package: Deb) -> str:
        tree = self.folder / "tree"
        control = (
            f"Package: {package.name}\nVersion: {package.version}\nArchitecture: {ARCH}\n"
            f"Maintainer: Toy <toy@example.org>\nDescription: toy\n{package.fields}".strip()
        )
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "DEBIAN" / "control").write_text(control + "\n")
        target = self.folder / "pool" / f"{package.name}_{package.version}_{ARCH}.deb"
        target.parent.mkdir(exist_ok=True)
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target]
        subprocess.run(command, check=True, capture_output=True)
        data = target.read_bytes()
        return (
            f"{control}\nFilename: pool/{target.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )

    def _gpg(self, *words: str) -> bytes:
        command = ["gpg", "--homedir", self._home, "--batch", "--quiet", "--passphrase", "", *words]
        return subprocess.run(command, check=True, capture_output=True).stdout
