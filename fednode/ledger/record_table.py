"""The kinds of records in the ledger's state: which number and which form belong to the keys of a prefix."""

from __future__ import annotations

from fednode.chain.state import RecordTable
from fednode.ledger.members.records import (
    ChainRecord,
    FlagRecord,
    MemberList,
    Membership,
    NonceRecord,
    OriginRecord,
    RoleList,
    UsedKey,
    VersionRecord,
)
from fednode.ledger.studies.records import RoundReport, SpecRecord, StudyList, StudyRecord
from fednode.ledger.sums.records import RoundRecord, SeenRecord
from fednode.sums.bodies import Confirm, Keys, Proof, Recheck, Redeal, ShareRoot

RECORD_TABLE = RecordTable({
    b"chain": (1, ChainRecord),
    b"members": (2, MemberList),
    b"nonce": (3, NonceRecord),
    b"studies": (4, StudyList),
    b"study": (5, StudyRecord),
    b"spec": (6, SpecRecord),
    b"round": (7, RoundRecord),
    b"report": (8, RoundReport),
    b"keys": (9, Keys),
    b"seen": (10, SeenRecord),
    b"membership": (11, Membership),
    b"usedkey": (12, UsedKey),
    b"roles": (13, RoleList),
    b"flag": (14, FlagRecord),
    b"share": (15, ShareRoot),
    b"proof": (16, Proof),
    b"recheck": (17, Recheck),
    b"redeal": (18, Redeal),
    b"confirm": (19, Confirm),
    b"versions": (20, VersionRecord),
    b"origin": (21, OriginRecord),
})
