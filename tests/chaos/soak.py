#!/usr/bin/env python3
"""Keeps a service busy with replies, cancelled ones, slow readers and killed GPU hosts, and watches memory and file
descriptors; ends with 1 if a reply is wrong, or if they grow.

usage: soak.py PROGRAMS MODEL MINUTES [PORT]
"""

import json
import random
import sys
import threading
import time

from service import Service

CLIENTS = 12
TOKENS = 40
# Between two kills of a GPU host.
KILL_SECONDS = 15


def main():
    minutes = float(sys.argv[3])
    port = int(sys.argv[4]) if len(sys.argv) > 4 else 23100
    words = ["What is a slice?", "What is a trait?", "Why?", "Go on."]
    counts = {"complete": 0, "cancelled": 0, "slow": 0, "kills": 0}
    wrong, lock = [], threading.Lock()
    with Service(sys.argv[1], sys.argv[2], port) as service:
        expected = [service.stream(TOKENS, asked)["text"] for asked in words]
        end = time.time() + 60 * minutes

        def client(seed):
            dice = random.Random(seed)
            while time.time() < end:
                which = dice.randrange(len(words))
                kind = dice.choice(["complete"] * 6 + ["cancelled"] * 2 + ["slow"])
                more = {"cancelled": {"stop_after": dice.randrange(1, TOKENS)}, "slow": {"pause": 0.1}}
                reply = service.stream(TOKENS, words[which], **more.get(kind, {}))
                with lock:
                    counts[kind] += 1
                    begins = expected[which].startswith(reply["text"])
                    if reply["error"] or not begins or (kind != "cancelled" and not reply["done"]):
                        wrong.append({"kind": kind, **reply, "text": len(reply["text"])})

        clients = [threading.Thread(target=client, args=[seed]) for seed in range(CLIENTS)]
        for thread in clients:
            thread.start()
        # What is taken at first, for every size of pass there is, is no growth.
        time.sleep(min(10, 12 * minutes))
        first, peak = service.measure(), {}
        killed = time.time()
        while time.time() < end:
            time.sleep(2)
            for name, (memory, descriptors) in service.measure().items():
                known = peak.get(name, (0, 0))
                peak[name] = (max(known[0], memory), max(known[1], descriptors))
            if time.time() - killed > KILL_SECONDS and end - time.time() > 10:
                host = random.randrange(2)
                service.kill(f"host {host + 1}")
                time.sleep(2)
                service.start_host(host)
                counts["kills"] += 1
                killed = time.time()
        for thread in clients:
            thread.join()
        time.sleep(3)
        last = service.measure()

    grown = []
    for name in ("cvm", "proxy"):
        # A tenth and 48 MiB: allocators keep what they had.
        if last[name][0] > 1.1 * first[name][0] + 48 or last[name][1] > first[name][1] + 8:
            grown.append(name)
    shown = {name: {"first": first[name], "peak": peak.get(name), "last": last[name]} for name in last if name in first}
    print(json.dumps({"minutes": minutes, **counts, "wrong": wrong[:5], "MiB and descriptors": shown, "grown": grown}))
    sys.exit(1 if wrong or grown else 0)


if __name__ == "__main__":
    main()
