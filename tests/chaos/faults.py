#!/usr/bin/env python3
"""Faults on a running service, and what its users see of them; ends with 1 if that is not what it should be.

usage: faults.py PROGRAMS MODEL [PORT]

PROGRAMS is the folder of the built programs (target/release), MODEL a checkpoint with a chat template. Takes some
minutes. A line of JSON for each case.
"""

import json
import signal
import socket
import sys
import threading
import time

from service import Service

STREAMS = 48
TOKENS = 60


def at_once(service, count, **more):
    replies = [None] * count

    def ask(index):
        words = ["What is a slice?", "What is a trait?", "Why?", "Go on."][index % 4]
        replies[index] = service.stream(TOKENS, words, **more)

    threads = [threading.Thread(target=ask, args=[index]) for index in range(count)]
    for thread in threads:
        thread.start()
    return threads, replies


def main():
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 23000
    failed = []

    def say(case, good, **found):
        print(json.dumps({"case": case, "good": good, **found}), flush=True)
        if not good:
            failed.append(case)

    with Service(sys.argv[1], sys.argv[2], port) as service:
        threads, undisturbed = at_once(service, 4)
        for thread in threads:
            thread.join()
        say("four streams, undisturbed", all(reply["done"] for reply in undisturbed))

        def disturbed(case, harm, heal, away):
            threads, replies = at_once(service, STREAMS)
            time.sleep(1)
            harm()
            time.sleep(away)
            status = service.health(port + 5)
            heal()
            for thread in threads:
                thread.join()
            complete = sum(reply["done"] for reply in replies)
            same = sum(reply["text"] == undisturbed[i % 4]["text"] for i, reply in enumerate(replies))
            errors = sorted({reply["error"] for reply in replies if reply["error"]})[:3]
            slowest = max(reply.get("seconds", 0) for reply in replies)
            service.wait_until_healthy(port + 5)
            good = complete == same == STREAMS and status == 503
            say(case, good, complete=complete, same=same, health_meanwhile=status, errors=errors, seconds=slowest,
                comments=sum(reply["comments"] for reply in replies))

        disturbed("GPU host 2 killed and away for 20 s under 48 streams",
                  lambda: service.kill("host 2"), lambda: service.start_host(1), 20)
        disturbed("GPU host 1 frozen for 25 s under 48 streams",
                  lambda: service.signal("host 1", signal.SIGSTOP), lambda: service.signal("host 1", signal.SIGCONT), 25)
        both = lambda f: [f(host) for host in (0, 1)]
        disturbed("both GPU hosts killed and away for 5 s under 48 streams",
                  lambda: both(lambda host: service.kill(f"host {host + 1}")),
                  lambda: both(service.start_host), 5)

        for name, at in (("GPU host 1", port), ("CVM", port + 5), ("proxy", port + 6)):
            held = []
            for index in range(80):
                try:
                    open_socket = socket.create_connection(("127.0.0.1", at), 2)
                    open_socket.sendall(b"\x00\xff" * 20 if index % 2 else b"GET / HT")
                    held.append(open_socket)
                except OSError:
                    break
            reply = service.stream(10)
            say(f"80 sockets with half a request or garbage at the {name}", reply["done"], held=len(held),
                error=reply["error"])
            for open_socket in held:
                open_socket.close()

        service.kill("cvm")
        reply = service.stream(5)
        say("CVM gone: an error, and no end", not reply["done"] and bool(reply["error"]), error=reply["error"])
        service.start_cvm()
        seconds = service.wait_until_healthy(port + 5)
        reply = service.stream(5)
        say("CVM back", reply["done"], seconds=round(seconds, 1), error=reply["error"])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
