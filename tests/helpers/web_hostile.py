"""A song process that misbehaves as the file named by its first argument says, once it has taken its limits on."""

import json
import os
import sys
import time
from pathlib import Path

from hyperstem.web.worker.__main__ import main


def misbehave(how):
    def load(model, quality):
        if how == "memory":
            return bytearray(5 << 30)  # zeros, which take no real memory until written
        if how == "spin":
            while True:
                pass
        if how == "sleep":
            time.sleep(600)
        if how == "die":
            os.kill(os.getpid(), 9)
        if how == "crash":
            raise RuntimeError("a fault in the program")
        if how == "babble":
            print("this is no report; it goes to the log")
        raise SystemExit(0)

    return load


if __name__ == "__main__":
    how = Path(sys.argv[1]).read_text()
    if how == "liar":
        sys.stdin.readline()
        print(json.dumps({"event": "format", "state": "done", "id": "../../x", "stems": []}), flush=True)
        print("}{ no JSON", flush=True)
        sys.exit(0)
    sys.exit(main(misbehave(how)))
