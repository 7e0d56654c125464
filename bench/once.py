"""Run a command once, from a process so small that it does not affect the command's peak memory.

    once.py CORES COMMAND [ARGUMENT ...]

Prints elapsed seconds, seconds of processor time, and the peak memory in kB.
"""

import os
import sys
import time


def main(cores: str, *words: str) -> None:
    os.sched_setaffinity(0, map(int, cores.split(",")))
    nothing = os.open(os.devnull, os.O_RDWR)
    before = time.perf_counter()
    child = os.fork()
    if not child:
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.execvp(words[0], words)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - before
    print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
