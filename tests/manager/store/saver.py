"""A manager's writes without the manager: run as a process of its own, to be killed or to fill a small disk.

`saver.py loop PATH` makes, changes and ends intercepts for ever and prints each change as soon as it is answered;
`saver.py fill DIRECTORY` fills the disk that DIRECTORY is on and prints what came of it as JSON;
`saver.py change DIRECTORY` changes one session again and again on a disk with little room.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from tests.manager.store.samples import ANN, NOW, change, intercept, reopen
from xds.manager.store import SqliteStore, StoreFullError
from xds.registry.change import Change


def loop(path: Path) -> None:
    store, loaded = SqliteStore.open(path, now=NOW)
    dice = random.Random()
    session = loaded.sessions.get(ANN.id, ANN)
    store.save(change(session), now=NOW)
    alive = sorted(loaded.intercepts)
    number = loaded.sequence
    while True:
        number += 1
        made = intercept(number, reason="x" * dice.randrange(2000))
        store.save(change(made, sequence=number), now=NOW)
        alive.append(made.id)
        print("made", made.id, number, flush=True)
        session = replace(session, present=not session.present)
        store.save(change(session), now=NOW)
        print("present", int(session.present), number, flush=True)
        if len(alive) > 20:
            gone = alive.pop(dice.randrange(len(alive)))
            store.save(Change(intercepts={gone: None}), now=NOW)
            print("ended", gone, number, flush=True)


def fill(directory: Path) -> None:
    path = directory / "m" / "store.db"
    store, _ = SqliteStore.open(path, now=NOW)
    store.save(change(ANN), now=NOW)
    answered, refused = [], ""
    # The other half of the disk is somebody else's: a log file that grows.
    filler = directory / "filler"
    filler.write_bytes(b"x" * 500_000)
    for number in range(1, 1000):
        try:
            store.save(change(intercept(number, reason="x" * 5000), sequence=number), now=NOW)
        except StoreFullError as error:
            refused = str(error)
            break
        answered.append(f"i-{number}")
    store.save(change(replace(ANN, present=False)), now=NOW)
    with filler.open("ab", buffering=0) as file:
        try:
            while file.write(b"x" * 512):
                pass
        except OSError:
            pass
    refused_again = 0
    for number in range(2000, 2003):
        try:
            store.save(change(intercept(number, reason="x" * 5000), sequence=number), now=NOW)
            answered.append(f"i-{number}")
        except StoreFullError:
            refused_again += 1
    filler.unlink()
    store.save(change(intercept(3000), sequence=3000), now=NOW)
    answered.append("i-3000")
    store.close()
    loaded = reopen(path)
    print(
        json.dumps(
            {
                "answered": sorted(answered),
                "loaded": sorted(loaded.intercepts),
                "problems": loaded.problems,
                "refused": refused,
                "refused_again": refused_again,
            }
        )
    )


def change_often(directory: Path) -> None:
    path = directory / "m" / "store.db"
    store, _ = SqliteStore.open(path, now=NOW)
    store.save(change(ANN), now=NOW)
    (directory / "filler").write_bytes(b"x" * 850_000)
    for epoch in range(2, 202):
        store.save(change(replace(ANN, epoch=epoch)), now=NOW)
    store.close()
    print(json.dumps(reopen(path).sessions[ANN.id].epoch))


if __name__ == "__main__":
    {"loop": loop, "fill": fill, "change": change_often}[sys.argv[1]](Path(sys.argv[2]))
