"""A real worker process with one fault built in: python -m ... FAULT FLAG STAGE NUMBER.

hang   once the file FLAG exists, the consumer asks the broker for nothing more, as after a broken
       connection: the process lives, its watchdog too
train  a training takes as long as the file FLAG exists
stop   a training stops at the stage that the file FLAG names, as long as it exists
commit the child stops once at the point of a commit that FLAG names: "before" it is sent, "during":
       it is sent to a server that this process froze by its id, behind the word; "after" its reply
end    a version stops at the end of its shadow, right before it goes live, as long as FLAG exists
"""

import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.faulty_worker import hang, train
from worker.heart import Heart
from worker.serve import run_worker
from worker.settings import Settings
from worker.store.line import Line
from worker.store.models import ModelStore


def stop(flag: Path) -> None:
    told = Heart.tell

    def tell(self, stage, done, kind=""):
        told(self, stage, done, kind)
        if flag.exists() and stage == flag.read_text():
            flag.with_suffix(".started").touch()
            while flag.exists():
                time.sleep(0.02)

    Heart.tell = tell


def commit(flag: Path) -> None:
    committed, results = Line.commit, Line.results

    def wait():
        flag.unlink()
        flag.with_suffix(".pid").write_text(str(os.getpid()))
        while not flag.with_suffix(".go").exists():
            time.sleep(0.02)

    def is_at(point):
        return flag.exists() and flag.read_text().split()[0] == point

    def commit(self, one):
        if is_at("before"):
            wait()
        during = is_at("during")
        if during:
            os.kill(int(flag.read_text().split()[1]), signal.SIGSTOP)
        committed(self, one)
        if during:
            wait()

    def read(self):
        found = results(self)
        if is_at("after"):
            wait()
        return found

    Line.commit, Line.results = commit, read


def end(flag: Path) -> None:
    promoted = ModelStore.promote_kept

    def promote_kept(self, change, held):
        if flag.exists():
            flag.with_suffix(".started").touch()
            while flag.exists():
                time.sleep(0.02)
        return promoted(self, change, held)

    ModelStore.promote_kept = promote_kept


if __name__ == "__main__":
    fault, path, stage, number = sys.argv[1:5]
    {"hang": hang, "train": train, "stop": stop, "commit": commit, "end": end}[fault](Path(path))
    settings = Settings()
    url = settings.redis_url.get_secret_value()
    raise SystemExit(run_worker(settings, url, stage, number=int(number)))
