#!/usr/bin/env python3
"""Verifies a saved ledger of a fog's economy, independently of the Rust code.

    betanet ledger save ./audit --ledger bnp1... --genesis ./GENESIS
    python3 verify_economy.py ./audit [--genesis ./GENESIS] [--flip N]

It needs Python 3.8 and the package `cryptography`. It reads journal.cbor, head.cbor and genesis.cbor, and checks:

  1. Every record is one item of deterministic CBOR with the keys req, seq and ts. Numbers rise by one from 0, times never fall, and
     record 0 holds the genesis and its time t0. With --genesis, the genesis is the one that you trust.
  2. Every envelope has the right shape. Each signer has an account, by the genesis, an earlier `open` or a later `rekey`, and signed
     H("BN-ECO-REQ1" || G || body) with that account's key of that time. Each signer's nonce is the number of its earlier requests.
     No ID of a request occurs twice, and each request was accepted before its end of validity and at most a day before it.
  3. The head covers all records: size, time of the last record, and the root by RFC 6962.
  4. More than half of the genesis's signers, and at least two, signed H("BN-ECO-HEAD1" || G || head).

It does not replay the machine: balances, votes and the state's root are `betanet ledger verify`'s work. Signers that a vote put in
force are not followed: a head of theirs is reported as one without enough signatures.

--flip N flips one bit in each of N bytes, spread over the three files, and expects each change to be found. 0 takes every byte.
The exit code is 0 if all holds, 1 if something is wrong, 2 for wrong usage.
"""

import argparse
import hashlib
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DAY_MS = 86_400_000


class Wrong(Exception):
    """Something does not hold, and where."""


def h(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# Deterministic CBOR.


def head_of(data, at):
    """Major type, argument and the place after them."""
    if at >= len(data):
        raise Wrong("an item breaks off")
    major, low = data[at] >> 5, data[at] & 31
    if low < 24:
        return major, low, at + 1
    if low > 27:
        raise Wrong("an item of indefinite length")
    size = 1 << (low - 24)
    raw = data[at + 1 : at + 1 + size]
    if len(raw) != size:
        raise Wrong("an item breaks off")
    value = int.from_bytes(raw, "big")
    if value < (24 if size == 1 else 1 << (4 * size)):
        raise Wrong("a number is longer than it must be")
    return major, value, at + 1 + size


def item(data, at, depth=0):
    """An item and the place after it."""
    if depth > 16:
        raise Wrong("items are nested too deeply")
    major, n, after = head_of(data, at)
    if major == 0:
        return n, after
    if major == 1:
        return -1 - n, after
    if major in (2, 3):
        raw = data[after : after + n]
        if len(raw) != n:
            raise Wrong("a string breaks off")
        if major == 2:
            return bytes(raw), after + n
        try:
            return raw.decode("utf-8"), after + n
        except UnicodeDecodeError:
            raise Wrong("a text is not UTF-8") from None
    if major == 4:
        out = []
        for _ in range(n):
            value, after = item(data, after, depth + 1)
            out.append(value)
        return out, after
    if major == 5:
        out, last = {}, None
        for _ in range(n):
            start = after
            key, after = item(data, after, depth + 1)
            raw = bytes(data[start:after])
            if last is not None and raw <= last:
                raise Wrong("keys of a map are out of order")
            last = raw
            value, after = item(data, after, depth + 1)
            out[key] = value
        return out, after
    if major == 7 and n in (20, 21, 22) and after == at + 1:
        return {20: False, 21: True, 22: None}[n], after
    raise Wrong("an item of a kind that is not used here")


def whole(data):
    value, after = item(data, 0)
    if after != len(data):
        raise Wrong("something follows the item")
    return value


def shaped(value, keys, what):
    if not isinstance(value, dict) or set(value) != set(keys):
        raise Wrong(f"{what} has other keys than {', '.join(keys)}")
    return value


# Signatures and the log.


def signed(key, digest, sig):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(sig, digest)
        return True
    except (InvalidSignature, ValueError):
        return False


def log_root(leaves):
    """RFC 6962: the largest power of two below the number is the left part."""
    if not leaves:
        return h(b"")
    level = [h(b"\0", leaf) for leaf in leaves]
    while len(level) > 1:
        pairs = [h(b"\1", level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0]


class Accounts:
    """Keys and nonces of accounts, as the accepted requests leave them."""

    def __init__(self, genesis):
        self.keys, self.nonces = {}, {}
        for key, _kind, _amount in genesis["alloc"]:
            self.open(key)

    def open(self, key):
        account = h(key)[:20]
        self.keys[account], self.nonces[account] = key, 0

    def take(self, number, ts, g, envelope, ids):
        env = shaped(whole(envelope), ("body", "sigs"), f"the envelope of record {number}")
        body = whole(env["body"])
        if not isinstance(body, dict) or not {"op", "by", "exp", "id"} <= set(body):
            raise Wrong(f"record {number}: the request lacks a key")
        if not ts < body["exp"] <= ts + DAY_MS:
            raise Wrong(f"record {number}: accepted outside its validity")
        if body["id"] in ids or len(body["id"]) != 16:
            raise Wrong(f"record {number}: its ID was used before, or is none")
        ids.add(body["id"])
        if not body["by"] or len(env["sigs"]) != len(body["by"]):
            raise Wrong(f"record {number}: signers and signatures differ in number")
        digest = h(b"BN-ECO-REQ1", g, env["body"])
        for (account, nonce), sig in zip(body["by"], env["sigs"]):
            key = self.keys.get(account)
            if key is None:
                raise Wrong(f"record {number}: {account.hex()} has no account")
            if not signed(key, digest, sig):
                raise Wrong(f"record {number}: the signature of {account.hex()} does not verify")
            if nonce != self.nonces[account]:
                raise Wrong(f"record {number}: a nonce is {nonce}, and {self.nonces[account]} comes next")
        for account, _nonce in body["by"]:
            self.nonces[account] += 1
        if body["op"] == "open":
            self.open(body["key"])
        if body["op"] == "rekey":
            self.keys[body["by"][0][0]] = body["key"]


def verify(*files):
    """Number of records, of signatures of requests, and of signatures of the head."""
    try:
        return verify_typed(*files)
    except (TypeError, ValueError, KeyError, AttributeError) as why:
        raise Wrong(f"a value is of another type: {why}") from None


def verify_typed(journal, head_file, genesis_file, trusted=None):
    if trusted is not None and genesis_file != trusted:
        raise Wrong("the genesis is another than the one that is trusted")
    genesis = whole(genesis_file)
    if not isinstance(genesis, dict) or not {"alloc", "roles", "t0"} <= set(genesis):
        raise Wrong("the genesis lacks a key")
    g = h(b"BN-ECO-GEN1", genesis_file)
    accounts, ids, leaves, last, requests, at = Accounts(genesis), set(), [], 0, 0, 0
    while at < len(journal):
        number = len(leaves)
        try:
            record, after = item(journal, at)
            shaped(record, ("req", "seq", "ts"), "the record")
        except Wrong as why:
            raise Wrong(f"record {number}: {why}") from None
        leaves.append(journal[at:after])
        at = after
        if record["seq"] != number:
            raise Wrong(f"record {number}: it says that it is {record['seq']}")
        if record["ts"] < last:
            raise Wrong(f"record {number}: its time falls")
        last = record["ts"]
        if number == 0:
            if record["req"] != genesis_file or record["ts"] != genesis["t0"]:
                raise Wrong("record 0: it is not the genesis")
        elif record["req"]:
            accounts.take(number, record["ts"], g, record["req"], ids)
            requests += 1
    carried = shaped(whole(head_file), ("head", "sigs"), "the head's file")
    head = shaped(whole(carried["head"]), ("ts", "set", "root", "size", "state"), "the head")
    if head["size"] != len(leaves) or head["ts"] != last:
        raise Wrong(f"the head covers {head['size']} records, and {len(leaves)} are here, or its time differs")
    if head["root"] != log_root(leaves):
        raise Wrong("the head's root is not that of the records")
    signers = sorted(genesis["roles"].get("signers", []))
    digest = h(b"BN-ECO-HEAD1", g, carried["head"])
    valid = {key for key, sig in carried["sigs"] if key in signers and signed(key, digest, sig)}
    needed = max(2, len(signers) // 2 + 1)
    if head["set"] != h(*signers) or len(valid) < needed:
        raise Wrong(f"the head has {len(valid)} signatures of the genesis's signers, and needs {needed}")
    # Not needed for the head, and yet a change: a signature of a signer that does not verify.
    if len(valid) != len(carried["sigs"]):
        raise Wrong("the head carries a signature that does not verify")
    return len(leaves), requests, len(valid)


def found(files, trusted):
    try:
        verify(*files, trusted)
    except Wrong:
        return True
    return False


def flips(files, trusted, n):
    total = sum(map(len, files))
    step = max(1, total // n) if n else 1
    tried = missed = 0
    for place in range(0, total, step):
        at, changed = place, [bytearray(f) for f in files]
        for one in changed:
            if at < len(one):
                one[at] ^= 1 << (place % 8)
                break
            at -= len(one)
        tried += 1
        if not found([bytes(one) for one in changed], trusted):
            missed += 1
            print(f"NOT FOUND: a flipped bit in byte {place} of all", file=sys.stderr)
    return tried, missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of `betanet ledger save`")
    parser.add_argument("--genesis", type=Path, help="genesis that you trust")
    parser.add_argument("--flip", type=int, metavar="N", help="flip a bit in each of N bytes; 0: in every byte")
    args = parser.parse_args()
    try:
        files = [(args.folder / name).read_bytes() for name in ("journal.cbor", "head.cbor", "genesis.cbor")]
        trusted = args.genesis.read_bytes() if args.genesis else None
    except OSError as why:
        print(f"error: {why}", file=sys.stderr)
        return 2
    try:
        records, requests, heads = verify(*files, trusted)
    except Wrong as why:
        print(f"WRONG: {why}", file=sys.stderr)
        return 1
    print(f"holds: {records} records, signatures of {requests} requests, log root, {heads} signatures of the head")
    if args.flip is not None:
        tried, missed = flips(files, trusted, args.flip)
        print(f"{tried} flipped bits, {tried - missed} found")
        return 1 if missed else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
