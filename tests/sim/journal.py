"""What happened: every call, counted and kept."""

import asyncio
import collections
import time


class Journal:
    KEEP = 20000

    def __init__(self):
        self.numbers = 0
        self.reset()

    def reset(self):
        self.calls = {"sts": collections.deque(maxlen=self.KEEP), "kube": collections.deque(maxlen=self.KEEP)}
        self.counts = {"sts": collections.Counter(), "kube": collections.Counter()}
        self.in_flight = {"sts": 0, "kube": 0}
        self.most = {"sts": 0, "kube": 0}

    def begin(self, target):
        self.in_flight[target] += 1
        self.most[target] = max(self.most[target], self.in_flight[target])
        return time.time()

    def end(self, target, started, call):
        call.pop("faults", None)
        self.in_flight[target] = max(0, self.in_flight[target] - 1)
        self.numbers += 1
        call.update(number=self.numbers, started=started, took=time.time() - started)
        self.calls[target].append(call)
        names = ("operation", "role", "result") if target == "sts" else ("verb", "resource", "code")
        self.counts[target][tuple(call.get(name, "") for name in names)] += 1

    @staticmethod
    async def latency(milliseconds):
        if milliseconds:
            await asyncio.sleep(milliseconds / 1000)

    def stats(self, target):
        names = ("operation", "role", "result") if target == "sts" else ("verb", "resource", "code")
        rows = [dict(zip(names, key), count=count) for key, count in sorted(self.counts[target].items(), key=str)]
        return {"total": sum(self.counts[target].values()), "in_flight": self.in_flight[target],
                "max_in_flight": self.most[target], "calls": rows}
