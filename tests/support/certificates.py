"""Certificates that sign themselves, made anew by the `openssl` that is at hand."""

import subprocess
from pathlib import Path


def new_certificate(folder: Path, cert: str, key: str, *, password: str | None = None) -> None:
    """Write a certificate and its key in PEM format; the key is encrypted with a password."""
    lock = ["-nodes"] if password is None else ["-passout", f"pass:{password}"]
    form = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost"]
    form += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / key), "-out", str(folder / cert)]
    command = ["openssl", "req", "-x509", *form, *files, *lock]
    subprocess.run(command, check=True, capture_output=True)
