#!/usr/bin/env python3
"""Carries IP packets between network namespaces, with delay and loss: the kernel here has no netem.

usage: router.py DELAY_MS LOSS_PERMILLE SEED NAMESPACE=ADDRESS[,ADDRESS] ...

Makes a TUN device in each namespace and routes by destination. Lines on standard input: `cut NAMESPACE`, `heal NAMESPACE`.
Prints `ready` once all devices are up, and at its end how many packets it carried, lost and cut.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def enter(fd):
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns: root is needed")


def device(name, addresses):
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{name}", os.O_RDONLY)
    enter(there)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"tun0", IFF_TUN | IFF_NO_PI))
    enter(home)
    os.close(there)
    os.close(home)
    ip = ["ip", "-n", name]
    for address in addresses:
        subprocess.run([*ip, "addr", "add", f"{address}/32", "dev", "tun0"], check=True)
    for line in (["link", "set", "lo", "up"], ["link", "set", "tun0", "up"], ["route", "add", "default", "dev", "tun0"]):
        subprocess.run([*ip, *line], check=True)
    return tun


def main():
    delay, loss, seed = float(sys.argv[1]) / 1000, int(sys.argv[2]), int(sys.argv[3])
    dice = random.Random(seed)
    tuns, routes, names = {}, {}, {}
    for word in sys.argv[4:]:
        name, addresses = word.split("=")
        addresses = addresses.split(",")
        tun = device(name, addresses)
        tuns[name], names[tun] = tun, name
        for address in addresses:
            routes[bytes(map(int, address.split(".")))] = tun
    print("ready", flush=True)
    cut, queue, order = set(), [], 0
    carried = lost = dropped = 0
    while True:
        wait = max(0, queue[0][0] - time.monotonic()) if queue else None
        ready, _, _ = select.select([sys.stdin, *names], [], [], wait)
        now = time.monotonic()
        for source in ready:
            if source is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    print(f"carried {carried} lost {lost} cut {dropped}", flush=True)
                    return
                word, name = line.split()
                (cut.add if word == "cut" else cut.discard)(tuns[name])
                continue
            for _ in range(64):
                try:
                    packet = os.read(source, 65536)
                except BlockingIOError:
                    break
                target = routes.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                if target is None:
                    continue
                if source in cut or target in cut:
                    dropped += 1
                elif dice.randrange(1000) < loss:
                    lost += 1
                else:
                    order += 1
                    heapq.heappush(queue, (now + delay, order, target, packet))
        while queue and queue[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(queue)
            try:
                os.write(target, packet)
                carried += 1
            except OSError:
                lost += 1


main()
