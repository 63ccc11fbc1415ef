"""A whole service on this machine (two GPU hosts, a CVM, a proxy) that faults can be done to. Standard library only."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.request


class Service:
    def __init__(self, programs, model, port):
        self.programs, self.model, self.port = pathlib.Path(programs), model, port
        self.folder = tempfile.TemporaryDirectory()
        self.running = {}

    def __enter__(self):
        try:
            for host in (0, 1):
                self.start_host(host)
            self.start_cvm()
            self.wait_until_healthy(self.port + 5)
            service = f"http://127.0.0.1:{self.port + 5}"
            self.trust = ["--policy", f"{self.folder.name}/policy.toml", "--dangerous-accept-development-evidence"]
            subprocess.run([self.programs / "talaria", "pin", service, *self.trust], check=True, capture_output=True)
            proxy = ["proxy", service, "--listen", f"127.0.0.1:{self.port + 6}", *self.trust]
            self._start("proxy", "talaria", *proxy)
            self.wait_until_healthy(self.port + 6)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.folder.cleanup()

    def _start(self, name, program, *arguments):
        log = open(f"{self.folder.name}/{name}.log", "a")
        command = [str(self.programs / program), *map(str, arguments)]
        self.running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def start_host(self, host):
        where = ["--listen", f"127.0.0.1:{self.port + host}", "--backend", "cpu"]
        self._start(f"host {host + 1}", "talaria-gpu", "serve", "--model", self.model, *where)

    def start_cvm(self, *more):
        hosts = [f(host) for host in (0, 1) for f in (lambda _: "--gpu", lambda h: f"http://127.0.0.1:{self.port + h}")]
        where = ["--listen", f"127.0.0.1:{self.port + 5}", "--metrics-listen", f"127.0.0.1:{self.port + 7}"]
        self._start("cvm", "talaria-cvm", "serve", *hosts, *where, "--evidence", "development", *more)

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def signal(self, name, what):
        self.running[name].send_signal(what)

    def log(self, name):
        return pathlib.Path(f"{self.folder.name}/{name}.log").read_text()

    def health(self, port):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def wait_until_healthy(self, port, seconds=240):
        begun = time.time()
        while time.time() - begun < seconds:
            if self.health(port) == 200:
                return time.time() - begun
            time.sleep(0.2)
        raise SystemExit(f"no /health on port {port}:\n{self.log('cvm')}")

    def stream(self, tokens, words="What is a slice?", at_token=None, stop_after=None, pause=0.0):
        """A chat as a stream: its text, tokens, comments, and how it ended. `at_token`: (n, what to do then)."""
        body = {"messages": [{"role": "user", "content": words}], "max_tokens": tokens, "temperature": 0,
                "ignore_eos": True, "stream": True}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port + 6}/v1/chat/completions",
                                         json.dumps(body).encode(), {"Content-Type": "application/json"})
        reply = {"text": "", "chunks": 0, "comments": 0, "done": False, "error": None}
        begun = time.time()
        try:
            with urllib.request.urlopen(request, timeout=120) as lines:
                for line in lines:
                    line = line.decode().strip()
                    if line == "data: [DONE]":
                        reply["done"] = True
                    elif line.startswith(":"):
                        reply["comments"] += 1
                    elif line.startswith("data:"):
                        event = json.loads(line[5:])
                        if "error" in event:
                            reply["error"] = event["error"]["message"]
                            continue
                        reply["chunks"] += 1
                        for choice in event["choices"]:
                            reply["text"] += choice["delta"].get("content") or ""
                        if at_token and reply["chunks"] == at_token[0]:
                            at_token[1]()
                        if stop_after and reply["chunks"] >= stop_after:
                            return reply
                        time.sleep(pause)
        except urllib.error.HTTPError as error:
            reply["error"] = f"{error.code}: {error.read().decode()[:300]}"
        except OSError as error:
            reply["error"] = f"{type(error).__name__}: {error}"
        reply["seconds"] = round(time.time() - begun, 1)
        return reply

    def measure(self):
        """Of every process resident memory in MiB and open file descriptors."""
        found = {}
        for name, process in self.running.items():
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            found[name] = (kib // 1024, len(os.listdir(f"/proc/{process.pid}/fd")))
        return found
