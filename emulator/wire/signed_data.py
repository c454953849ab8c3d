"""CMS signatures (RFC 5652) where a bare signature is expected: told apart by their first bytes, and never opened.

RAUC and SWUpdate ship them, with the signer's certificate inside: whoever a CA vouches for may sign. Here nobody may.
"""

import re

_LENGTH = rb"(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)"  # 0x80: the end is marked, as streams are (X.690 8.1.3)
_SIGNED_DATA = re.compile(
    rb"\x30" + _LENGTH  # ContentInfo
    + rb"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"  # contentType: id-signedData, 1.2.840.113549.1.7.2
    + rb"\xa0" + _LENGTH  # content
    + rb"\x30" + _LENGTH  # SignedData
    + rb"\x02\x01[\x01\x03-\x05]",  # version, section 5.1
    re.DOTALL,
)  # fmt: skip


def is_signed_data(data: bytes) -> bool:
    """Whether these bytes begin as SignedData does in BER or DER, whatever follows, be it cut off or damaged.

    No ECDSA signature in DER does: it begins with an integer.
    """
    return _SIGNED_DATA.match(data) is not None
