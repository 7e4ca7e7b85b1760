"""Exit 0 if the server of this container is ready, at the URL in its file.

Made by `spanserve bundle`.
"""

import os
import ssl
import sys
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener


def main() -> str | None:
    """Ask the server, by no proxy and whatever name its certificate has; return what is wrong."""
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    try:
        url = Path(os.environ["SPANSERVE__SERVER__URL_FILE"]).read_text(encoding="utf-8").strip()
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=tls))
        opener.open(f"{url}/readyz", timeout=4).close()
    except (OSError, KeyError, ValueError) as error:
        return f"not ready: {error!r}"
    return None


if __name__ == "__main__":
    sys.exit(main())
