from __future__ import annotations

from fednode.ids import PeerId
from fednode.p2p import peers
from fednode.p2p.peers import SECOND_NS, PeerBook, TokenBucket

LOW, ME, HIGH = PeerId("a"), PeerId("m"), PeerId("z")
ADDRESS = ("/ip4/127.0.0.1/tcp/1",)
START = 1_000 * SECOND_NS


def book() -> PeerBook:
    it = PeerBook(ME, lambda: 0.5)
    it.set_members({LOW: ADDRESS, ME: ADDRESS, HIGH: ADDRESS}, START)
    return it


def next_dial(it: PeerBook) -> int:
    due = it.next_due_ns()
    assert due is not None
    return due


def test_we_are_not_our_own_peer() -> None:
    assert book().members() == {LOW, HIGH}


def test_the_lower_id_dials_at_once_and_the_higher_waits_a_moment() -> None:
    it = book()
    assert it.due(START) == (HIGH,)
    assert it.due(START) == ()
    wait_ns = int(peers.FIRST_WAIT_S * 1.5 * SECOND_NS)
    assert it.next_due_ns() == START + wait_ns
    assert it.due(START + wait_ns) == (LOW,)


def test_failed_dials_wait_longer_up_to_a_limit() -> None:
    it = book()
    it.on_up(LOW)
    now = START
    waits = []
    for _ in range(8):
        assert it.due(now) == (HIGH,)
        it.on_dial_ended(HIGH, now)
        planned = it.next_due_ns()
        assert planned is not None
        waits.append((planned - now) / SECOND_NS)
        now = planned
    assert waits == [0.5625, 1.125, 2.25, 4.5, 5.625, 5.625, 5.625, 5.625]


def test_a_link_ends_the_dialling_and_its_loss_starts_it_again() -> None:
    it = book()
    it.due(START)
    it.on_up(HIGH)
    it.on_up(LOW)
    it.on_dial_ended(HIGH, START)
    assert it.next_due_ns() is None
    it.on_down(HIGH, START)
    it.on_down(LOW, START)
    assert it.due(START + int(peers.LOWER_WAIT_S * SECOND_NS)) == (HIGH,)
    assert it.due(START + int(peers.HIGHER_WAIT_S * SECOND_NS)) == (LOW,)


def test_a_peer_is_gone_after_two_failed_dials_half_a_second_apart_and_said_to_be_so_once() -> None:
    it = book()
    it.on_up(LOW)
    it.on_up(HIGH)
    it.on_down(HIGH, START)
    gone, failed = [], []
    for _ in range(4):
        now = next_dial(it)
        assert it.due(now) == (HIGH,)
        failed.append(now)
        gone.append(it.on_dial_ended(HIGH, now))
    assert gone == [False, True, False, False]
    assert failed[1] - failed[0] >= peers.GONE_AFTER_S * SECOND_NS
    assert failed[1] - START <= SECOND_NS


def test_a_peer_that_was_linked_between_two_failed_dials_is_not_gone() -> None:
    """Whoever comes and goes is there: only what fails since the last link counts."""
    it = book()
    it.on_up(LOW)
    for _ in range(5):
        now = next_dial(it)
        assert it.due(now) == (HIGH,)
        assert not it.on_dial_ended(HIGH, now)
        it.on_up(HIGH)
        it.on_down(HIGH, now)


def test_two_failures_in_quick_succession_are_one() -> None:
    """A dial that fails at once and one that was planned right after it: the machine there may just be starting."""
    it = book()
    it.on_up(LOW)
    it.due(START)
    assert not it.on_dial_ended(HIGH, START)
    it.on_down(HIGH, START)  # a second link was lost meanwhile, and so the next dial comes early
    soon = next_dial(it)
    it.due(soon)
    assert soon - START < peers.GONE_AFTER_S * SECOND_NS
    assert not it.on_dial_ended(HIGH, soon)


def test_a_refused_peer_is_looked_at_again_much_later() -> None:
    it = book()
    it.on_up(LOW)
    it.due(START)
    it.on_refused(HIGH, START)
    it.on_dial_ended(HIGH, START)
    assert it.due(START + int(peers.REFUSED_RETRY_S * SECOND_NS)) == ()
    assert it.due(START + int(peers.REFUSED_RETRY_S * 1.2 * SECOND_NS)) == (HIGH,)


def test_bans_end_and_grow() -> None:
    it = book()
    it.ban(HIGH, START)
    assert it.is_banned(HIGH, START)
    assert it.why_refused(HIGH, START) == "dropped a short while ago"
    assert HIGH not in it.due(START)
    later = START + int(peers.DROP_BAN_S * SECOND_NS)
    assert not it.is_banned(HIGH, later)
    assert HIGH in it.due(later)
    it.ban(HIGH, later)
    assert it.is_banned(HIGH, later + int(1.9 * peers.DROP_BAN_S * SECOND_NS))
    for _ in range(20):
        it.ban(HIGH, later)
    assert not it.is_banned(HIGH, later + int(peers.MAX_BAN_S * SECOND_NS))
    much_later = later + 2 * int(peers.BAN_MEMORY_S * SECOND_NS)
    it.ban(HIGH, much_later)
    assert not it.is_banned(HIGH, much_later + int(peers.DROP_BAN_S * SECOND_NS))


def test_strangers_and_hasty_members_are_refused() -> None:
    it = book()
    assert it.why_refused(PeerId("stranger"), START) == "not a member"
    for _ in range(int(peers.HANDSHAKES_BURST)):
        assert it.why_refused(LOW, START) is None
    assert it.why_refused(LOW, START) == "connects too often"
    assert it.why_refused(HIGH, START) is None
    assert it.why_refused(LOW, START + SECOND_NS) is None


def test_removed_members_are_returned_and_forgotten() -> None:
    it = book()
    assert it.set_members({HIGH: ADDRESS}, START) == {LOW}
    assert not it.is_member(LOW)
    assert it.addresses(LOW) == ()
    assert not it.may_send_frame(LOW, 1, START)
    it.on_down(LOW, START)
    it.on_dial_ended(LOW, START)
    it.ban(LOW, START)
    assert it.members() == {HIGH}


def test_new_addresses_replace_the_old_ones() -> None:
    it = book()
    it.set_members({LOW: ADDRESS, HIGH: ("/ip4/127.0.0.1/tcp/2",)}, START)
    assert it.addresses(HIGH) == ("/ip4/127.0.0.1/tcp/2",)


def test_members_without_an_address_are_never_dialled() -> None:
    it = PeerBook(ME, lambda: 0.5)
    it.set_members({HIGH: ()}, START)
    assert it.next_due_ns() is None
    assert it.due(START) == ()


def test_quotas_refill() -> None:
    bucket = TokenBucket(per_s=10, burst=5)
    assert all(bucket.take(1, START) for _ in range(5))
    assert not bucket.take(1, START)
    assert bucket.take(1, START + SECOND_NS // 10)
    assert not bucket.take(6, START + 100 * SECOND_NS)
    assert bucket.take(5, START + 100 * SECOND_NS)


def test_quotas_are_per_peer() -> None:
    it = book()
    while it.may_announce(LOW, 1, START):
        pass
    assert it.may_announce(HIGH, 1, START)
    assert not it.may_announce(PeerId("stranger"), 1, START)
    assert it.may_send_frame(LOW, 1_000_000, START)
    assert not it.may_send_frame(LOW, int(peers.FRAME_BYTES_BURST), START)
