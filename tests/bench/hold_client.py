"""Clients that log in, subscribe and then say and do nothing: one line when all are there, then silence for ever."""

import asyncio

import uvloop

from tests.bench.login_job import LoginJob, done
from tests.bench.login_ours import Clients


async def _run(job: LoginJob) -> None:
    clients = Clients(job)
    await clients.login()
    done({"held": len(clients.open)})
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(LoginJob.read()))
