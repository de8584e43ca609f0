"""Every bound of the transport, with the reason for its value.

A peer is another hospital: authenticated, but possibly faulty. Nothing it sends may cost more than what is named here.
"""

from __future__ import annotations

# --- consensus stream -------------------------------------------------------------------------------------------

MAX_FRAME_BYTES = 2 * 1024 * 1024
"""The largest block (1.25 MiB) with its certificate, behind the half MiB of a catch-up response it may end."""

PIECE_BYTES = 65_507
"""One write: with yamux's 12 bytes of header it fills exactly one 65 519-byte Noise record instead of spilling."""

LARGE_PIECE_BYTES = 4 * 65_519
"""One write of a blob and the largest data frame of our own muxer: four full records, 21 ms at 100 Mbit/s."""

MAX_HELLO_BYTES = 256
"""The first frame of a stream is 40 bytes today; the rest is room for later versions, whose tail is ignored."""

MAX_OUTBOX_FRAMES = 4_096
MAX_OUTBOX_BYTES = 16 * 1024 * 1024
"""Waiting for one peer. A healthy peer drains in milliseconds; past this it is stuck and re-sending will repair it."""

MAX_INBOX_EVENTS = 4_096
MAX_INBOX_BYTES = 16 * 1024 * 1024
"""Waiting for this node, per sender, so that one flooding peer cannot push out what the others sent."""

# --- bulk stream ------------------------------------------------------------------------------------------------

MAX_BLOB_HEADER_BYTES = 64 * 1024
"""Blob headers describe a vector chunk or a model; the largest carries a list of hashes."""

MAX_BLOB_BYTES = 1024 * 1024 * 1024
"""1 GiB: a vector of 268 million ring elements, ten times the largest model of the design."""

OFFERED_BLOB_BYTES = 1024 * 1024
"""From this size on a blob is offered first: a round trip saves sending what is unwanted or already there."""

BLOBS_PER_S, BLOBS_BURST = 100.0, 2_000.0
"""Blobs that a peer may announce, refused ones included: each is looked at before it is read."""

HASH_BLOCK_BYTES = 4 * 1024 * 1024
INLINE_HASH_BYTES = 256 * 1024
"""A thread hashes this much at a time, a millisecond; below a quarter of a MiB the way to a thread costs more."""

MAX_PARTIAL_BYTES = 512 * 1024 * 1024
PARTIAL_KEPT_S = 120.0
"""What cut transfers left, of all peers together, and how long one waits for its sender to come back."""

MAX_IDLE_ROOM_BYTES = 128 * 1024 * 1024
ROOM_KEPT_S = 10.0
"""Memory of blobs that were read and dropped, kept for the next ones: a vector of the largest model of the design, for
as long as a round pauses between two of its phases."""

MAX_BLOB_OUTBOX_COUNT = 256
MAX_BLOB_OUTBOX_BYTES = 2 * 1024 * 1024 * 1024
"""Blobs waiting for one peer are references to memory the caller owns, not copies."""

MAX_BLOB_INBOX_BYTES = 1024 * 1024 * 1024
"""Received blobs of one peer that this node has not taken yet; further ones are refused before allocation."""

READ_BYTES = 1024 * 1024
"""Largest single read from a stream: bounds the copy that one turn of the event loop makes."""

# --- connections ------------------------------------------------------------------------------------------------

MAX_LINKS_PER_PEER = 2
"""Simultaneous dials give a pair two connections, one each way; a third replaces the oldest."""

MAX_STREAMS_PER_LINK = 32
"""An honest peer opens three (consensus, bulk, gossip) and a few more while gossip re-opens its own."""

CONSENSUS_WINDOW_BYTES = 4 * 1024 * 1024
BULK_WINDOW_BYTES = 8 * 1024 * 1024
"""How far a peer may send ahead of our reading; half of it is granted at a time, so that a large frame or a blob never
waits for a grant (the muxer polls every 10 ms for one)."""

INITIAL_WINDOW_BYTES = 256 * 1024
"""What a stream may send before its reader grants more, as in every yamux; streams nobody asked for stay there."""

MAX_SEND_WINDOW_BYTES = 64 * 1024 * 1024
"""More than any reader here grants; a peer that grants past it counts wrongly."""

STREAMS_PER_S, STREAMS_BURST = 4.0, 64.0
"""Streams that a peer may open on one link, closed ones included: storms of opening and resetting end the link."""

SMALL_FRAMES_PER_S, SMALL_FRAMES_BURST = 10_000.0, 10_000.0
SMALL_FRAME_BYTES = 512
"""Frames below this size, pings and window updates included; an honest peer joins its small messages."""

STRAY_BYTES_PER_S, STRAY_BYTES_BURST = 1e6, 32e6
"""Data for streams that are closed here: what was on its way when they closed, no more."""

WRITE_STALL_S = 20.0
"""One write, a quarter of a MiB at most, waits this long for a peer that grants or reads too little; then the link is
dropped. Slower than 13 kB/s is no line on which a round could end."""

WRITE_MARK_BYTES = 64 * 1024
UNSENT_BYTES = 64 * 1024
"""Writers wait while more than this is encrypted but not taken by the kernel, and the kernel takes no more while that
much is unsent: a vote never queues behind more than these two and one large piece, 31 ms at 100 Mbit/s."""

MAX_UNWRITTEN_BYTES_PER_LINK = 4 * 1024 * 1024
"""Encrypted but not yet accepted by the kernel. Only replies to pings and window updates can grow it past the
writers' mark, so reaching it means a peer that asks without reading."""

STRANGER_BYTES = 4 * 1024
"""All that one socket may send before its peer has proven who it is. Two protocol names and the two messages of Noise
take 300 bytes; the rest is room for the payloads of other implementations."""

MAX_ANSWERS = 8
"""What this node says to a stranger, or to agree on a protocol: three or four things in order. A question of four bytes
costs a tenth of a millisecond."""

MAX_NEGOTIATION_BYTES = 2 * 1024
"""All lines in which a member agrees on a muxer, or on the protocol of one stream; two of 30 bytes in fact."""

MAX_PENDING_HANDSHAKES = 1024
"""Strangers may open sockets; this many at once may be in the handshake, 10 to 20 KB each, then somebody has to go. At
2000 new ones a second each stands for half a second without a step; a member 50 ms away takes one every 0.1 s."""

NEWCOMERS_PER_S, NEWCOMERS_BURST = 20.0, 200.0
STRANGERS_PER_S, STRANGERS_BURST = 200.0, 1024.0
MAX_SOURCES = 4096
"""Sockets from one source where no member is known to be, and from all such sources: a handshake costs half a
millisecond. What is more is closed unread. Members dial once in 5 s, a whole federation behind one address too."""

SHARES_OF_PLACES = 4
"""A source with a quarter of the places pushes out its own, when all are taken; and all places together take no more
than a quarter of the files that the process may have open."""

HANDSHAKE_TIMEOUT_S = 5.0
"""Connect, Noise, muxer and hello: three round trips and six signatures; a slow line needs one second."""

DIAL_TIMEOUT_S = 5.0

KEEPALIVE_S = 1.5
"""An idle link sends one empty frame this often."""

SILENCE_LIMIT_S = 5.0
"""A link that stays silent this long has lost its peer: three keep-alives."""

WATCH_INTERVAL_S = 0.5
"""How often silence is looked at; cheap, one comparison per link."""

REFUSED_GRACE_S = 0.5
"""A refused peer keeps its link this long, so that it can read our hello and name the mismatch as well."""

# --- gossip -----------------------------------------------------------------------------------------------------

MAX_ANNOUNCEMENT_BYTES = 512 * 1000
"""Below this py-libp2p's gossip delivers reliably; larger things are announced by hash and pulled."""

MAX_ENVELOPE_BYTES = 512
"""Author, number, topic, key and signature around an announcement: 250 bytes."""

MAX_GOSSIP_RPC_BYTES = 1024 * 1024
"""One gossip frame: an announcement plus signature, key and control messages."""

MAX_GOSSIP_ENTRIES = 64
"""Subscriptions and control entries of one kind in a gossip frame; with one topic honest frames carry one of each."""

MAX_GOSSIP_FIELDS = 4096
"""Fields of a gossip frame, counted before it is taken apart: 256 messages that were asked for have 2048."""

MAX_GOSSIP_IDS = 256
MAX_GOSSIP_ID_BYTES = 72
"""Messages offered or asked for in one frame: a heartbeat's worth of the largest federation. The rest is cut off. An id
is an author and a number, 46 bytes for an Ed25519 key.
"""

MAX_GOSSIP_BACKOFF_S = 60
"""How long a peer that leaves the gossip mesh may ask to be left alone: the library's own time."""

MAX_GOSSIP_CACHE_BYTES = 8 * 1024 * 1024
"""Announcements kept for those who missed them; a member's are 100 bytes."""

GOSSIP_BYTES_PER_S, GOSSIP_BYTES_BURST = 512e3, 4e6
GOSSIP_WORK_US_PER_S, GOSSIP_WORK_US_BURST = 50_000.0, 1e6
GOSSIP_FRAME_US, GOSSIP_FIELD_US = 200, 25
"""What one connection may gossip, whoever wrote it, before a signature is checked: a twentieth of a processor. A frame
costs 0.2 ms and a message of eight fields as much. In the largest federation 26 messages a second come this way."""

MAX_ANNOUNCEMENTS_WAITING = 256
"""Ours, not yet handed to gossip; gossip is lossy by contract."""
