"""Makes the web site that page loads and tunnels are told apart on.

`plain` is an ordinary page with pictures and scripts. `fitted` is one whose first exchanges are of the sizes that a tunnel's handshake
has, so that the handshake need not be filled up, which it cannot be: a visitor who comes back brings a cookie of about a kilobyte, the
front page is a short shell, and the first script is shorter still.
"""

import argparse
import os
import random

CHANGED = 1795600822


def page(dice, folder):
    tags = ""
    for i in range(14):
        kind = "css" if i % 3 == 0 else "jpg"
        data = dice.randbytes(dice.randrange(1500, 60000))
        if kind == "css":
            data = b"/*" + data.hex().encode()[: len(data)] + b"*/"
        with open(os.path.join(folder, f"a{i}.{kind}"), "wb") as f:
            f.write(data)
        tags += f'<link rel=stylesheet href="/a{i}.css">' if kind == "css" else f'<img src="/a{i}.jpg?v={i}">'
    for i in range(6):
        with open(os.path.join(folder, f"j{i}.json"), "w") as f:
            f.write('{"x":"' + "y" * dice.randrange(200, 9000) + '"}')
    fetches = "".join(f'setTimeout(()=>fetch("/j{i}.json"),{150 + i * 180});' for i in range(6))
    return tags, fetches


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["plain", "fitted"])
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--shell", type=int, default=1050, help="bytes of the fitted site's front page")
    parser.add_argument("--script", type=int, default=246, help="bytes of its first script")
    parser.add_argument("--build", type=int, default=266, help="hex digits in that script's address")
    parser.add_argument("--second", default="/b.js", help="the second script's address")
    args = parser.parse_args()
    dice = random.Random(args.seed)
    os.makedirs(args.folder, exist_ok=True)
    tags, fetches = page(dice, args.folder)
    icon = '<link rel=icon href="data:,">'
    title = "<title>A garden diary</title>"
    if args.kind == "plain":
        body = "<p>What grew, and what did not.</p>" * 150
        html = f"<!doctype html><html><head>{title}{icon}{tags}<script>{fetches}</script></head><body>{body}</body></html>"
    else:
        build = dice.randbytes(1000).hex()[: args.build]
        html = f'<!doctype html><html><head>{title}{icon}</head><body><script src="/a.js?build={build}"></script>'
        html += "<!--" + "." * (args.shell - len(html) - 7) + "-->"
        script = f'var s=document.createElement("script");s.src="{args.second}";document.head.append(s)'
        with open(os.path.join(args.folder, "a.js"), "w") as f:
            f.write(script + ";" + "/" * (args.script - len(script) - 1))
        with open(args.folder + args.second, "w") as f:
            f.write(f"document.head.insertAdjacentHTML('beforeend', '{tags}');{fetches}")
    with open(os.path.join(args.folder, "index.html"), "w") as f:
        f.write(html)
    # When files were changed is told in answers, and some digits are longer in HPACK than others.
    for name in os.listdir(args.folder):
        os.utime(os.path.join(args.folder, name), (CHANGED, CHANGED))


main()
