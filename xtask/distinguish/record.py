"""Records what an observer between a client and a gateway sees: TLS records, their directions, sizes and times.

It looks on as packets pass, by the kernel's clock, and reads nothing but record headers. Clients are the real Chromium, driven over
its DevTools protocol with a fresh browser context for each visit, and `betanet`, which opens a tunnel and fetches. Which of the two is
next is drawn, so that both find the machine as busy as the other.
"""

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket

# Seconds that an observer looks at a connection.
WINDOW = 2.0
# Visits that a browser makes before it is looked at: one that was just started is slower.
WARM = 8
# Of Linux: to drop a capability for all that is started from now on, and that to raise a thread's priority.
PR_CAPBSET_DROP, CAP_SYS_NICE = 24, 23


class Way:
    """One direction of a connection: its bytes in order, whatever order its packets are in."""

    def __init__(self, first):
        self.next = first
        self.early = {}
        self.bytes = bytearray()

    def takes(self, seq, data):
        """What follows of the stream once this has come."""
        self.early[seq] = data
        while self.early:
            # Sequence numbers are less than 2^31 apart, and go round.
            ahead = min(self.early, key=lambda s: (s - self.next + 2**31) % 2**32)
            past = (self.next - ahead) % 2**32
            if past >= 2**31:
                return
            data = self.early.pop(ahead)[past:]
            self.next = (self.next + len(data)) % 2**32
            self.bytes += data


class Observer:
    """Reads packets of loopback as they pass, and keeps the record headers of each connection to one port of the gateway."""

    ROOM = 64 << 20
    # Of Linux, and not in Python's socket.
    ETH_P_IP, SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 0x0800, 26, 33, 35

    def __init__(self, port):
        self.port = port
        self.connections = []
        self.open = {}
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(self.ETH_P_IP))
        except PermissionError:
            sys.exit("who looks on at packets of loopback has to be root, or to have CAP_NET_RAW")
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_RCVBUFFORCE, self.ROOM)
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_TIMESTAMPNS, 1)
        self.filter()
        self.socket.bind(("lo", self.ETH_P_IP))
        self.socket.settimeout(0)

    def filter(self):
        """Leaves packets of TCP from or to the port, as they come in: on loopback each is seen twice."""
        # Classic BPF: code, jump if so, jump if not, operand.
        program = [
            (0x28, 0, 0, 0xFFFFF004),  # the packet's type, of the kernel's own
            (0x15, 8, 0, 4),  # outgoing
            (0x30, 0, 0, 9),  # protocol
            (0x15, 0, 6, socket.IPPROTO_TCP),
            (0xB1, 0, 0, 0),  # x: the IP header's length
            (0x48, 0, 0, 0),  # source port
            (0x15, 2, 0, self.port),
            (0x48, 0, 0, 2),  # destination port
            (0x15, 0, 1, self.port),
            (0x06, 0, 0, 0x7FFFFFFF),
            (0x06, 0, 0, 0),
        ]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
        fprog = struct.pack("HL", len(program), ctypes.addressof(code))
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_ATTACH_FILTER, fprog)

    def look(self):
        """Takes what has passed since."""
        while True:
            try:
                packet, more, _, _ = self.socket.recvmsg(1 << 17, 64)
            except BlockingIOError:
                return
            stamps = [data for _, kind, data in more if kind == self.SO_TIMESTAMPNS]
            seconds, nanos = struct.unpack("qq", stamps[0])
            self.packet(packet, seconds + nanos * 1e-9)

    def packet(self, packet, at):
        tcp = packet[4 * (packet[0] & 15) : int.from_bytes(packet[2:4], "big") or None]
        source, sink, seq = struct.unpack("!HHI", tcp[:8])
        up, data, opens = sink == self.port, tcp[4 * (tcp[12] >> 4) :], tcp[13] & 2
        other = source if up else sink
        if up and opens:
            seen = {"records": [], "hello": "", "began": at, "ways": {}}
            self.open[other] = seen
            self.connections.append(seen)
        seen = self.open.get(other)
        if seen is None:
            return
        if opens:
            seen["ways"][up] = Way((seq + 1) % 2**32)
        way = seen["ways"].get(up)
        if way is None or not data:
            return
        way.takes(seq, data)
        while len(way.bytes) >= 5:
            size = int.from_bytes(way.bytes[3:5], "big")
            if len(way.bytes) < 5 + size:
                break
            if not seen["hello"] and up:
                seen["hello"] = way.bytes[: 5 + size].hex()
            seen["records"].append([round(at - seen["began"], 6), 1 if up else -1, way.bytes[0], size])
            del way.bytes[: 5 + size]

    def clear(self):
        self.look()
        self.connections.clear()
        self.open.clear()


class Chromium:
    """One browser; each visit has a context, and so connections, of its own."""

    FLAGS = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-quic", "--ignore-certificate-errors",
        "--remote-debugging-port=0", "--remote-allow-origins=*", "--host-resolver-rules=MAP localhost 127.0.0.1",
    ]

    def __init__(self, path, home):
        self.process = subprocess.Popen(
            [path, *self.FLAGS, f"--user-data-dir={home}", "about:blank"], env=os.environ | {"TMPDIR": home},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        port_file = os.path.join(home, "DevToolsActivePort")
        # Several start at once, and the first time from a cold disk.
        for _ in range(1200):
            if os.path.exists(port_file) and len(open(port_file).read().split()) == 2:
                break
            if self.process.poll() is not None:
                sys.exit(f"{path} ended as it started: {self.process.returncode}")
            time.sleep(0.05)
        else:
            sys.exit(f"{path} does not start within a minute")
        port, path = open(port_file).read().split()
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=20)
        self.number = 0

    def call(self, method, params=None, session=None):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def visit(self, url, seconds, cookie):
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        if cookie:
            # Letters that HPACK writes with eight bits each: the cookie is as long on the wire as here.
            value = "".join(random.choice("XZ") for _ in range(cookie))
            self.call("Network.setCookie", {"name": "visitor", "value": value, "url": url, "secure": True}, session)
        self.call("Page.navigate", {"url": url}, session)
        time.sleep(seconds)
        self.call("Target.disposeBrowserContext", {"browserContextId": context})

    def close(self):
        self.process.terminate()
        self.process.wait()


def tunnel(args, shape, peer, name, path, number, home):
    """Opens a session and fetches a file; stays for the window."""
    command = [args.betanet, "get", f"bar://{name}{path}", "--peer", peer, "--transport", "tcp", "-o", f"fetched{number}",
               "--stay", str(WINDOW), "--book", os.path.join(home, "book")]
    if shape:
        command += ["--shape", shape]
    done = subprocess.run(command, capture_output=True, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="visits into each file")
    parser.add_argument("--gateway", type=int, required=True, help="the gateway's first TCP port: it listens on as many as there are visits at once")
    parser.add_argument("--public-key", default="", help="the gateway's key, for tunnels")
    parser.add_argument("--pin", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("--files", default="/small.bin", help="what tunnels fetch, one drawn each time")
    parser.add_argument("--betanet", default="betanet")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--shape", default="")
    parser.add_argument("--cookie", type=int, default=0, help="bytes of the cookie that a visitor brings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=4, help="visits at once, each to a port of its own")
    parser.add_argument("--pages", action="append", default=[], help="a file of page loads")
    parser.add_argument("--tunnels", action="append", default=[], help="a file of tunnels")
    parser.add_argument("--shaped", action="append", default=[], help="a file of tunnels that follow --shape")
    args = parser.parse_args()
    # Started by root, a browser gives its threads priorities that no visitor's browser has.
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0)
    kinds = [("pages", f) for f in args.pages] + [("tunnels", f) for f in args.tunnels] + [("shaped", f) for f in args.shaped]
    turns = kinds * args.count
    random.Random(args.seed).shuffle(turns)
    turns = iter(enumerate(turns, 1))

    outs = {file: open(file, "w") for _, file in kinds}

    async def worker(number, home):
        dice = random.Random(args.seed * 1000 + number)
        observer = Observer(args.gateway + number)
        loop = asyncio.get_running_loop()
        browser = Chromium(args.chromium, home)
        for _ in range(WARM):
            url = f"https://localhost:{observer.port}/"
            await loop.run_in_executor(None, browser.visit, url, WINDOW + 0.2, args.cookie)
        for turn, (kind, file) in turns:
            observer.clear()
            if kind == "pages":
                url = f"https://localhost:{observer.port}/"
                await loop.run_in_executor(None, browser.visit, url, WINDOW + 0.2, args.cookie)
            else:
                peer = f"{args.public_key}@localhost:{observer.port}#{args.pin}"
                path = dice.choice(args.files.split(","))
                shape = args.shape if kind == "shaped" else ""
                await loop.run_in_executor(None, tunnel, args, shape, peer, args.name, path, number, home)
            observer.look()
            # A browser may open more connections than one: the observer looks at the one that carries the page.
            seen = max(observer.connections, key=lambda c: len(c["records"]), default=None)
            if seen is None or not seen["records"]:
                raise RuntimeError(f"visit {turn}: nothing was seen")
            records = [r for r in seen["records"] if r[0] <= WINDOW]
            sample = {"kind": kind, "connections": len(observer.connections), "hello": seen["hello"], "records": records}
            outs[file].write(json.dumps(sample) + "\n")
            if turn % 50 == 0:
                print(f"{turn} of {len(kinds) * args.count} visits", file=sys.stderr)
        browser.close()

    with contextlib.ExitStack() as homes:
        # What a browser leaves behind as it ends may come and go.
        new = lambda: homes.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        await asyncio.gather(*(worker(n, new()) for n in range(args.parallel)))
    for out in outs.values():
        out.close()


asyncio.run(main())
