"""``python -m cloud_stub serve`` as a program, at an address of its own."""

import itertools
import json
import os
from typing import Any

import httpx

from tests.programs import Program, python

WITHIN_S = 20.0

_NUMBERS = itertools.count(1)


def own_address() -> str:
    """Of the loopback network, and nobody else's: also not of a run of these tests beside this one."""
    return f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 256}.{next(_NUMBERS) % 256}"


class Served(Program):
    """Some services, ready."""

    def __init__(self, services: str, address: str, *options: str) -> None:
        super().__init__(
            *python("cloud_stub", "serve", "--json", "--services", services, "--address", address, *options)
        )
        self.ready: dict[str, Any] = json.loads(self.line())

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and answer of its control API."""
        with httpx.Client(trust_env=False, timeout=WITHIN_S) as client:
            answer = client.request(method, self.ready["control"] + path, json=body)
        return answer.status_code, answer.json()
