"""The same logins by aiomqtt."""

import asyncio
import logging

import aiomqtt
import uvloop

from tests.bench.login_job import FILTERS, KEEP_ALIVE_S, QOS, Account, LoginJob, Stopwatch, done, resolve_hub

TIMEOUT_S = 60.0
"""For every answer; those behind many others would miss the default of 10 s on a slow machine."""


async def _run(job: LoginJob) -> None:
    context, room = job.context(), asyncio.Semaphore(job.at_once)

    async def login(account: Account) -> aiomqtt.Client:
        async with room:
            client = aiomqtt.Client(
                job.hub,
                job.port,
                identifier=account.device_id,
                username=account.username,
                password=account.password,
                keepalive=KEEP_ALIVE_S,
                protocol=aiomqtt.ProtocolVersion.V311,
                tls_context=context,
                timeout=TIMEOUT_S,
            )
            await client.__aenter__()
            await asyncio.gather(*(client.subscribe(each, QOS) for each in FILTERS))
            return client

    watch = Stopwatch()
    clients = await asyncio.gather(*map(login, job.accounts))
    done(watch.read())
    await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))


if __name__ == "__main__":
    logging.disable()
    asked = LoginJob.read()
    resolve_hub(asked)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(asked))
