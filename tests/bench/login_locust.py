"""The same logins by Locust's `MqttUser`, spawned by a runner as Locust's documentation has it for use as a library."""

# Locust wants to be imported first: gevent replaces what other modules would otherwise hold on to.
from locust import task  # isort: skip
from locust.contrib.mqtt import MqttClient, MqttUser  # isort: skip
from locust.env import Environment  # isort: skip

import logging
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from tests.bench.login_job import FILTERS, QOS, Account, LoginJob, Stopwatch, done

SUCCESS = 0


class Logins:
    """How far everybody is."""

    def __init__(self, job: LoginJob) -> None:
        self.accounts: Iterator[Account] = iter(job.accounts)
        self.room = BoundedSemaphore(job.at_once)
        self.all_done = Event()
        self._left = len(job.accounts)

    def through(self) -> None:
        """One more has all its subscriptions."""
        self.room.release()
        self._left -= 1
        if not self._left:
            self.all_done.set()


class ChargerClient(MqttClient):  # type: ignore[misc]
    """Subscribes as soon as it is connected."""

    logins: ClassVar[Logins]

    def _on_connect_cb_v3x(self, client: Any, userdata: Any, flags: Any, rc: Any) -> None:
        super()._on_connect_cb_v3x(client, userdata, flags, rc)
        self.granted = 0
        if rc == SUCCESS:
            for each in FILTERS:
                self.subscribe(each, QOS)

    def _on_subscribe_cb_v3x(self, client: Any, userdata: Any, mid: Any, granted_qos: Any) -> None:
        super()._on_subscribe_cb_v3x(client, userdata, mid, granted_qos)
        self.granted += 1
        if self.granted == len(FILTERS):
            self.logins.through()


class ChargerUser(MqttUser):  # type: ignore[misc]
    """One device. It stays connected and has nothing else to do."""

    client_cls = ChargerClient
    use_loop_selectors = True
    tls_context: Any
    client_id: Any
    username: Any
    password: Any

    def __init__(self, environment: Any) -> None:
        logins = ChargerClient.logins
        logins.room.acquire()
        account = next(logins.accounts)
        self.client_id, self.username, self.password = account.device_id, account.username, account.password
        super().__init__(environment)

    @task
    def stay(self) -> None:
        """Users without a task are refused."""
        Event().wait()


class HubResolver:
    """Resolves the hub's name to where it really is: for gevent what `resolve_hub` is for the others."""

    def __init__(self, job: LoginJob, resolver: Any) -> None:
        self._job = job
        self._resolver = resolver

    def getaddrinfo(self, host: Any, *rest: Any) -> Any:
        """As gevent asks for it; the host may come as bytes."""
        name = host.decode() if isinstance(host, bytes) else host
        return self._resolver.getaddrinfo(self._job.host if name == self._job.hub else host, *rest)


def _run(job: LoginJob) -> None:
    hub = gevent.get_hub()
    hub.resolver = HubResolver(job, hub.resolver)
    ChargerClient.logins = logins = Logins(job)
    ChargerUser.host, ChargerUser.port, ChargerUser.tls_context = job.hub, job.port, job.context()
    environment = Environment(user_classes=[ChargerUser])
    runner = environment.create_local_runner()
    watch = Stopwatch()
    # Everybody in one batch: batches come once a second, and the room limits how many connect at once.
    runner.start(len(job.accounts), spawn_rate=len(job.accounts))
    logins.all_done.wait()
    took = watch.read()
    failures = environment.stats.total.num_failures
    if failures:
        raise SystemExit(f"locust: {failures} requests failed")
    done(took)


if __name__ == "__main__":
    logging.disable()
    warnings.simplefilter("ignore", DeprecationWarning)  # Locust's use of paho's old callbacks, said once per user
    _run(LoginJob.read())
