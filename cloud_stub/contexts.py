"""TLS contexts of the hub, good and bad, from a certificates directory."""

import ssl
from functools import cache

from certs.layout import CertsDir
from cloud_stub.endpoint import ContextFor
from cloud_stub.endpoint_faults import BadCertificateKind, TlsVersionName
from emulator.net.tls import server_context

_VERSIONS = {
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def contexts_of(certs: CertsDir, host: str) -> ContextFor:
    """The contexts of the server `host`; each is made once, when it is first needed."""

    @cache
    def context(bad: BadCertificateKind | None, version: TlsVersionName) -> ssl.SSLContext:
        chain, key = certs.server(host) if bad is None else certs.bad(bad)
        only = _VERSIONS[version]
        return server_context(chain, key, versions=(only, only))

    return context
