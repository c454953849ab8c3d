"""Manual row M9: without the right time there is no authentication. Judged by what the hub saw."""

from collections.abc import Callable

from tests.life import Life, live

NTP_SILENT = {"kind": "ntp.silence"}


def test_with_the_clock_unset_and_ntp_silent_no_tcp_connection_to_the_hub_is_ever_opened() -> None:
    seen: list[list[dict[str, object]]] = []

    async def story(life: Life) -> None:
        for _ in range(5):
            failed = await life.until("boot.time.failed")
            assert failed.data["why"] == "ntp_silent"
        seen.append(life.world.history("hub"))

    trace = live(story, before=lambda world: world.inject(NTP_SILENT, where="test"))
    assert seen == [[]]
    assert trace.where("boot.hub.*") == []


def test_forced_past_the_gate_with_the_build_time_the_hub_refuses_the_token() -> None:
    """Built in 2025: the certificates are valid then, but a token that expires in 2025 is long over."""
    seen: list[dict[str, object]] = []

    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "hub_refused"
        seen.extend(life.world.history("hub"))

    trace = live(
        story,
        changes={"ntp.gate": "wait-then-go-on"},
        before=lambda world: world.inject(NTP_SILENT, where="test"),
    )
    (time,) = trace.where("boot.time.degraded")[:1]
    assert time.data["why"] == "clock_unset"
    assert any("expired" in str(exchange["reply"]) for exchange in seen)


def test_forced_past_the_gate_before_the_certificates_begin_tls_refuses() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "tls_not_yet_valid"
        replies = [str(exchange["reply"]) for exchange in life.world.history("hub")]
        assert not any("CONNECT" in reply for reply in replies)

    live(
        story,
        changes={"ntp.gate": "wait-then-go-on", "firmware.built_at": "2019-01-01T00:00:00Z"},
        before=lambda world: world.inject(NTP_SILENT, where="test"),
    )


def test_a_wrong_time_server_makes_the_login_fail_and_the_next_one_after_it_is_right_succeeds() -> None:
    undo: list[Callable[[], None]] = []

    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "hub_refused"
        undo[0]()
        await life.until("device.online", within_s=600)

    year_s = 365 * 86400.0
    live(
        story,
        before=lambda world: undo.append(world.inject({"kind": "ntp.offset", "offset_s": -year_s}, where="test")),
    )
