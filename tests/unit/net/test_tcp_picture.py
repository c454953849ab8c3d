"""The segments that are drawn of a connection: what goes each way, and what acknowledges it."""

from hypothesis import given
from hypothesis import strategies as st

from emulator.net.link import Way
from emulator.net.meter import DELAYED_ACK_S
from emulator.net.tcp_picture import Segments, TcpPicture
from emulator.wire.frame import Tcp, TcpFlag

MSS = 1460
RTT_S = 0.01
OURS, THEIRS = 1000, 2_000_000
FLAGS = TcpFlag.SYN | TcpFlag.FIN | TcpFlag.RST


def opened() -> TcpPicture:
    picture = TcpPicture((50_000, 8883), (OURS, THEIRS), 1500)
    picture.knocks()
    picture.opens()
    return picture


def words(segments: Segments) -> list[str]:
    """Way, flags, relative numbers and length of each."""
    return [_in_words(way, tcp) for way, tcp in segments]


def _in_words(way: Way, tcp: Tcp) -> str:
    first, other = (OURS, THEIRS) if way is Way.UP else (THEIRS, OURS)
    flags = "".join(flag.name[0] for flag in TcpFlag if flag in tcp.flags and flag.name)
    return f"{way.name.lower()} {flags} {tcp.sequence - first}/{tcp.acknowledgment - other} {len(tcp.payload)}"


def test_a_connection_opens_with_three_segments_whose_options_say_what_fits() -> None:
    picture = TcpPicture((50_000, 8883), (OURS, THEIRS), 1500)
    (knock,) = picture.knocks()
    answer, ack = picture.opens()
    assert words([answer, ack]) == ["down SA 0/1 0", "up A 1/1 0"]
    assert knock[1].options == answer[1].options == bytes.fromhex("020405b4 01010402 01030307")
    assert (knock[1].source_port, knock[1].destination_port, knock[1].acknowledgment) == (50_000, 8883, 0)


def test_every_syn_of_an_attempt_is_the_same() -> None:
    picture = TcpPicture((50_000, 8883), (OURS, THEIRS), 1500)
    assert len(set(picture.knocks(4))) == 1
    assert words(picture.refuses()) == [f"down RA {-THEIRS}/1 0"], "a refusal answers the one number that it knows"


def test_what_is_written_at_once_goes_in_segments_of_the_largest_size() -> None:
    sent = opened().sends(bytes(2 * MSS + 1), 0.0)
    assert words(sent) == ["up A 1/1 1460", "up A 1461/1 1460", "up PA 2921/1 1"]


def test_every_second_segment_is_acknowledged_at_once_and_an_odd_one_late() -> None:
    picture = opened()
    shown = words(picture.receives(bytes(2 * MSS + 1), 5.0))
    assert shown == ["down A 1/1 1460", "down A 1461/1 1460", "up A 1/2921 0", "down PA 2921/1 1"]
    assert picture.due() == 5.0 + DELAYED_ACK_S
    assert picture.waits(5.039) == []
    assert words(picture.waits(5.04)) == ["up A 1/2922 0"]
    assert picture.due() is None


def test_an_odd_segment_is_acknowledged_by_what_goes_back() -> None:
    picture = opened()
    picture.receives(b"ask", 5.0)
    assert words(picture.sends(b"answer", 5.01)) == ["up PA 1/4 6"]
    assert picture.due() is None


def test_the_peer_acknowledges_a_round_trip_later() -> None:
    picture = opened()
    picture.sends(b"ask", 5.0)
    picture.delivers(b"ask", 5.0 + RTT_S)
    assert words(picture.receives(b"crossed", 5.001)) == ["down PA 1/1 7"], "it was sent before ours had come"
    assert words(picture.receives(b"answer", 5.0 + RTT_S))[0] == "down PA 8/4 6"


def test_two_segments_are_acknowledged_when_both_can_be_known_of() -> None:
    picture = opened()
    for number, at in enumerate((5.0, 5.002)):
        picture.sends(b"x", at)
        picture.delivers(b"x", at + RTT_S)
        assert picture.due() == (5.0 + RTT_S + DELAYED_ACK_S if number == 0 else 5.002 + RTT_S)
    assert words(picture.waits(5.002 + RTT_S)) == ["down A 1/3 0"]


def test_what_was_lost_is_the_same_again_and_acknowledged_only_then() -> None:
    picture = opened()
    sent = picture.sends(bytes(MSS + 1), 5.0)
    assert picture.due() is None, "the peer has got nothing"
    assert picture.sends_again() == sent
    picture.delivers(bytes(MSS + 1), 5.2)
    assert words(picture.waits(5.2)) == ["down A 1/1462 0"]


def test_an_end_in_order_is_four_segments_whoever_begins() -> None:
    ours, theirs = opened(), opened()
    assert words(ours.sends(None, 0.0)) == ["up FA 1/1 0"]
    assert words(ours.ends()) == ["down A 1/2 0", "down FA 1/2 0", "up A 2/2 0"]
    assert words(theirs.ends()) == ["down FA 1/1 0", "up A 1/2 0", "up FA 1/2 0", "down A 2/2 0"]


def test_a_fin_is_acknowledged_in_time_even_if_the_peer_goes_on() -> None:
    picture = opened()
    picture.sends(None, 0.0)
    picture.delivers(None, RTT_S)
    assert words(picture.waits(1.0)) == ["down A 1/2 0"]
    assert words(picture.receives(b"late", 2.0)) == ["down PA 1/2 4"]


def test_a_fin_that_is_acknowledged_already_is_not_acknowledged_again() -> None:
    picture = opened()
    picture.sends(None, 0.0)
    picture.delivers(None, RTT_S)
    assert words(picture.waits(1.0)) == ["down A 1/2 0"]
    assert words(picture.ends()) == ["down FA 1/2 0", "up A 2/2 0"]


def test_a_reset_is_one_segment_of_its_sender() -> None:
    picture = opened()
    picture.sends(b"x", 0.0)
    assert words(picture.resets(Way.UP)) == ["up RA 2/1 0"]
    assert words(picture.resets(Way.DOWN)) == ["down RA 1/1 0"]


def test_sequence_numbers_begin_again_after_four_gigabytes() -> None:
    picture = TcpPicture((50_000, 8883), (2**32 - 2, THEIRS), 1500)
    picture.knocks()
    picture.opens()
    assert [tcp.sequence for _, tcp in picture.sends(b"xyz", 0.0) + picture.sends(b"x", 0.0)] == [2**32 - 1, 2]


ACTS = st.lists(
    st.tuples(st.sampled_from(["write", "read", "wait"]), st.integers(1, 5000), st.floats(0.0, 0.1)), max_size=40
)


@given(ACTS)
def test_nothing_is_acknowledged_that_was_not_sent_nothing_twice_and_all_in_the_end(
    acts: list[tuple[str, int, float]],
) -> None:
    picture, now = opened(), 0.0
    shown: Segments = []
    for act, size, pause_s in acts:
        now += pause_s
        shown += picture.waits(now)
        if act == "write":
            shown += picture.sends(bytes(size), now)
            picture.delivers(bytes(size), now + RTT_S)
        elif act == "read":
            shown += picture.receives(bytes(size), now)
    shown += picture.waits(now + 1.0)
    assert picture.due() is None
    sent, acked = {Way.UP: OURS + 1, Way.DOWN: THEIRS + 1}, {Way.UP: THEIRS + 1, Way.DOWN: OURS + 1}
    for way, tcp in shown:
        other = Way.DOWN if way is Way.UP else Way.UP
        assert tcp.sequence == sent[way], "without gaps"
        sent[way] += len(tcp.payload)
        assert acked[way] <= tcp.acknowledgment <= sent[other]
        assert tcp.payload or tcp.acknowledgment > acked[way], "an ACK alone says something new"
        acked[way] = tcp.acknowledgment
    assert (acked[Way.UP], acked[Way.DOWN]) == (sent[Way.DOWN], sent[Way.UP])
