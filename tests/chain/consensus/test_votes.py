"""Votes into thresholds; double votes into evidence; bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.consensus.messages import Polka
from fednode.chain.consensus.votes import KEPT_VIEWS, VoteBook
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE, Vote
from fednode.ids import Height, MemberId, View
from tests.sim.keys import make_members

MEMBERS, _, _ = make_members(4)
X, Y, Z = (bytes([number]) * 32 for number in (1, 2, 3))


def vote(sender: int, value: bytes = X, kind: int = PREVOTE, view: int = 0, valid_view: int = NO_VIEW) -> Vote:
    return Vote(kind, Height(1), View(view), View(valid_view), value, MemberId(sender), bytes(64))


def fill(book: VoteBook, *votes: Vote) -> VoteBook:
    for item in votes:
        book.add(item)
    return book


def test_three_of_four_prevotes_for_a_block_are_a_polka() -> None:
    book = fill(VoteBook(MEMBERS), vote(1), vote(2))
    assert book.polka_value(0) is None
    fill(book, vote(4))
    assert book.polka_value(0) == X
    assert book.has_polka(0, X)
    assert [v.sender for v in book.polkas[0].votes] == [1, 2, 4]
    assert book.certified == []


def test_three_of_four_precommits_certify() -> None:
    book = fill(VoteBook(MEMBERS), *(vote(sender, kind=PRECOMMIT) for sender in (3, 1, 2)))
    assert book.certified == [(0, X)]
    assert sorted(book.voters(0, PRECOMMIT, X)) == [1, 2, 3]


def test_a_repeated_vote_counts_once() -> None:
    book = fill(VoteBook(MEMBERS), vote(1), vote(2))
    assert not book.add(vote(2)).is_new
    assert book.polka_value(0) is None


def test_nil_votes_make_no_polka_to_pass_on_but_end_a_view() -> None:
    book = fill(VoteBook(MEMBERS), *(vote(sender, NIL) for sender in (1, 2, 3)))
    assert book.polka_value(0) == NIL
    assert book.polkas == {}
    fill(book, *(vote(sender, NIL, PRECOMMIT) for sender in (1, 2, 3)))
    assert book.has_nil_precommits(0)
    assert book.certified == []


def test_a_double_voter_counts_for_both_values_and_once_for_any() -> None:
    book = fill(VoteBook(MEMBERS), vote(1, X), vote(2, Y))
    added = book.add(vote(1, Y))
    assert added.is_new
    assert added.evidence.sender == 1
    assert not book.has_any_quorum(0, PREVOTE)
    fill(book, vote(3, Y))
    assert book.has_any_quorum(0, PREVOTE)
    assert book.polka_value(0) == Y


def test_a_third_value_is_noise_but_its_polka_counts() -> None:
    book = fill(VoteBook(MEMBERS), vote(1, X), vote(1, Y))
    assert not book.add(vote(1, Z)).is_new
    fill(book, vote(2, Z), vote(3, Z))
    assert book.polka_value(0) is None
    book.add_polka(Polka((vote(1, Z), vote(2, Z), vote(3, Z))))
    assert book.has_polka(0, Z)


def test_another_echo_is_a_double_vote_too() -> None:
    book = fill(VoteBook(MEMBERS), vote(1, X, view=1))
    added = book.add(vote(1, X, view=1, valid_view=0))
    assert not added.is_new
    assert added.evidence is not None


def test_a_later_vote_counts_as_any_vote_of_every_earlier_place() -> None:
    book = fill(VoteBook(MEMBERS), vote(1, kind=PRECOMMIT), vote(2, view=3), vote(3, NIL))
    assert book.has_any_quorum(0, PREVOTE)
    assert not book.has_any_quorum(0, PRECOMMIT)
    assert book.polka_value(0) is None


def test_f_plus_one_later_members_name_the_view_to_skip_to() -> None:
    book = fill(VoteBook(MEMBERS), vote(1, view=9))
    assert book.skip_target() == -1
    fill(book, vote(2, view=4))
    assert book.skip_target() == 4
    fill(book, vote(3, view=6))
    assert book.skip_target() == 6


def test_of_far_views_only_each_members_newest_is_kept_and_counted_on_arrival() -> None:
    book = fill(VoteBook(MEMBERS), *(vote(1, view=view) for view in range(2, 50)))
    fill(book, vote(1, view=3), vote(2, view=49), vote(3, view=49))
    assert book.polka_value(49) is None
    book.enter(49)
    assert book.polka_value(49) == X
    assert book.votes_of(3, PREVOTE) == []


def test_a_double_vote_far_ahead_is_evidence_as_well() -> None:
    book = fill(VoteBook(MEMBERS), vote(1, X, view=7))
    assert book.add(vote(1, Y, view=7)).evidence is not None


def test_old_views_keep_only_precommits_for_blocks() -> None:
    book = VoteBook(MEMBERS)
    fill(book, vote(1), vote(1, X, PRECOMMIT), vote(2, NIL, PRECOMMIT))
    book.enter(KEPT_VIEWS + 1)
    assert book.votes_of(0, PREVOTE) == []
    assert [v.sender for v in book.votes_of(0, PRECOMMIT)] == [1]
    fill(book, vote(2, X, PRECOMMIT), vote(3, X, PRECOMMIT))
    assert book.certified == [(0, X)]


def test_bitmaps_name_who_has_voted() -> None:
    book = fill(VoteBook(MEMBERS), vote(1), vote(3, NIL))
    assert book.bitmap(0, PREVOTE) == b"\x05"
    assert book.bitmap(0, PRECOMMIT) == b"\x00"


votes = st.builds(
    vote, st.integers(1, 4), st.sampled_from([NIL, X, Y]), st.sampled_from([PREVOTE, PRECOMMIT]), st.integers(0, 3)
)


@given(st.lists(votes, max_size=40), st.permutations(range(40)))
def test_thresholds_do_not_depend_on_the_order_without_double_votes(items: list[Vote], order: list[int]) -> None:
    single = list({(item.sender, item.kind, item.view): item for item in items}.values())
    shuffled = [single[index] for index in order if index < len(single)]
    one, other = VoteBook(MEMBERS), VoteBook(MEMBERS)
    for book in (one, other):
        book.enter(2)
    fill(one, *single)
    fill(other, *shuffled)
    for view in range(4):
        assert one.polka_value(view) == other.polka_value(view)
        assert one.has_nil_precommits(view) == other.has_nil_precommits(view)
        for kind in (PREVOTE, PRECOMMIT):
            assert one.has_any_quorum(view, kind) == other.has_any_quorum(view, kind)
    assert sorted(one.certified) == sorted(other.certified)
    assert one.skip_target() == other.skip_target()
