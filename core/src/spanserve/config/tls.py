"""Whether the certificate and key of the configuration can be used, before anything listens."""

import ssl


class _EncryptedError(Exception):
    """The key wants a password, and nobody is there to be asked."""


def tls_problem(certfile: str, keyfile: str | None) -> str:
    """Say what is wrong with the files, or nothing."""
    key = keyfile or certfile
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, _no_password)
    except _EncryptedError:
        return f"the key in {key} is encrypted; decrypt it, as nobody can be asked for its password"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key} is not that of the certificate in {certfile}"
        return f"{certfile} with the key in {key} is no certificate and key in PEM format"
    except OSError as error:
        return f"{certfile} or {key} cannot be read: {error.strerror}"
    return ""


def _no_password() -> str:
    raise _EncryptedError
