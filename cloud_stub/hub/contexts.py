"""TLS contexts of the servers, good and bad, from a certificates directory."""

import ssl
from functools import cache
from pathlib import Path

from certs.layout import CertsDir, Root
from cloud_stub.https import ContextOf
from cloud_stub.hub.endpoint import ContextFor
from cloud_stub.hub.faults import BadCertificateKind, TlsVersionName
from emulator.net.keylog import Keylog
from emulator.net.tls import server_context

_VERSIONS = {
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def contexts_of(certs: CertsDir, host: str, keylog: Keylog | None = None) -> ContextFor:
    """The contexts of the hub's endpoint `host`, which ask for a client certificate and go without.

    Each is made once, when it is first needed. The secrets of their sessions go to `keylog`.
    """

    @cache
    def context(bad: BadCertificateKind | None, version: TlsVersionName) -> ssl.SSLContext:
        chain, key = _chain_and_key(certs, host, bad)
        only = _VERSIONS[version]
        # in TLS 1.3, which is a fault here, client certificates travel encrypted
        asks = version != "1.3"
        return server_context(chain, key, versions=(only, only), ask_for_certificate=asks, keylog=keylog)

    return context


def https_contexts_of(certs: CertsDir, host: str, keylog: Keylog | None = None) -> ContextOf:
    """The contexts of the HTTPS server `host`, as `contexts_of`."""

    @cache
    def context(bad: str | None) -> ssl.SSLContext:
        return server_context(*_chain_and_key(certs, host, bad), keylog=keylog)

    return context


def _chain_and_key(certs: CertsDir, host: str, bad: str | None) -> tuple[Path, Path]:
    match bad:
        case None:
            return certs.server(host)
        case "new_root":
            return certs.server(host, Root.NEW)
        case "public_root":
            return certs.server(host, Root.OLD)
        case _:
            return certs.bad(bad)
