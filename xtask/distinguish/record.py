"""Records what an observer between a client and a gateway sees: TLS records, their directions, sizes and times.

It carries bytes between a port of its own and the gateway's, and reads nothing but record headers. Clients are the real Chromium,
driven over its DevTools protocol with a fresh browser context for each visit, and `betanet`, which opens a tunnel and fetches. Which
of the two is next is drawn, so that both find the machine as busy as the other.
"""

import argparse
import asyncio
import json
import os
import random
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


class Observer:
    """Forwards TCP and keeps the record headers of each connection."""

    def __init__(self, target, port):
        self.target = target
        self.port = port
        self.connections = []

    async def start(self):
        # A port that is the same in each run: requests tell it, and some numbers are longer in HPACK than others.
        self.server = await asyncio.start_server(self.carry, "127.0.0.1", self.port)

    async def carry(self, reader, writer):
        began = time.monotonic()
        seen = {"records": [], "hello": ""}
        self.connections.append(seen)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return

        async def pump(source, sink, direction):
            buf = b""
            try:
                while data := await source.read(65536):
                    now = time.monotonic() - began
                    sink.write(data)
                    await sink.drain()
                    buf += data
                    while len(buf) >= 5:
                        size = int.from_bytes(buf[3:5], "big")
                        if len(buf) < 5 + size:
                            break
                        if not seen["hello"] and direction > 0:
                            seen["hello"] = buf[: 5 + size].hex()
                        seen["records"].append([round(now, 6), direction, buf[0], size])
                        buf = buf[5 + size :]
            except (ConnectionError, OSError, asyncio.CancelledError):
                pass
            finally:
                try:
                    sink.write_eof()
                except (OSError, RuntimeError):
                    pass

        await asyncio.gather(pump(reader, up_writer, 1), pump(up_reader, writer, -1))
        for w in (writer, up_writer):
            w.close()


class Chromium:
    """One browser; each visit has a context, and so connections, of its own."""

    FLAGS = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-quic", "--ignore-certificate-errors",
        "--remote-debugging-port=0", "--remote-allow-origins=*", "--host-resolver-rules=MAP localhost 127.0.0.1",
    ]

    def __init__(self, path):
        self.dir = tempfile.mkdtemp()
        self.process = subprocess.Popen(
            [path, *self.FLAGS, f"--user-data-dir={self.dir}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        port_file = os.path.join(self.dir, "DevToolsActivePort")
        for _ in range(200):
            if os.path.exists(port_file) and len(open(port_file).read().split()) == 2:
                break
            time.sleep(0.05)
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


def tunnel(args, shape, peer, name, path, number):
    """Opens a session and fetches a file; stays for the window."""
    command = [args.betanet, "get", f"bar://{name}{path}", "--peer", peer, "--transport", "tcp", "-o", f"fetched{number}",
               "--stay", str(WINDOW), "--book", os.path.join(tempfile.gettempdir(), f"book-{os.getpid()}-{number}")]
    if shape:
        command += ["--shape", shape]
    done = subprocess.run(command, capture_output=True, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="visits into each file")
    parser.add_argument("--gateway", type=int, required=True, help="the gateway's TCP port")
    parser.add_argument("--public-key", default="", help="the gateway's key, for tunnels")
    parser.add_argument("--pin", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("--files", default="/small.bin", help="what tunnels fetch, one drawn each time")
    parser.add_argument("--betanet", default="betanet")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--shape", default="")
    parser.add_argument("--cookie", type=int, default=0, help="bytes of the cookie that a visitor brings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=4, help="visits at once, each through an observer of its own")
    parser.add_argument("--pages", action="append", default=[], help="a file of page loads")
    parser.add_argument("--tunnels", action="append", default=[], help="a file of tunnels")
    parser.add_argument("--shaped", action="append", default=[], help="a file of tunnels that follow --shape")
    args = parser.parse_args()
    kinds = [("pages", f) for f in args.pages] + [("tunnels", f) for f in args.tunnels] + [("shaped", f) for f in args.shaped]
    turns = kinds * args.count
    random.Random(args.seed).shuffle(turns)
    turns = iter(enumerate(turns, 1))

    outs = {file: open(file, "w") for _, file in kinds}

    async def worker(number):
        dice = random.Random(args.seed * 1000 + number)
        observer = Observer(args.gateway, args.gateway + 1 + number)
        await observer.start()
        loop = asyncio.get_running_loop()
        browser = Chromium(args.chromium)
        for _ in range(WARM):
            url = f"https://localhost:{observer.port}/"
            await loop.run_in_executor(None, browser.visit, url, WINDOW + 0.2, args.cookie)
        for turn, (kind, file) in turns:
            observer.connections.clear()
            if kind == "pages":
                url = f"https://localhost:{observer.port}/"
                await loop.run_in_executor(None, browser.visit, url, WINDOW + 0.2, args.cookie)
            else:
                peer = f"{args.public_key}@localhost:{observer.port}#{args.pin}"
                path = dice.choice(args.files.split(","))
                shape = args.shape if kind == "shaped" else ""
                await loop.run_in_executor(None, tunnel, args, shape, peer, args.name, path, number)
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

    await asyncio.gather(*(worker(n) for n in range(args.parallel)))
    for out in outs.values():
        out.close()


asyncio.run(main())
