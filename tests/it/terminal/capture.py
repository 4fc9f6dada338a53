"""Runs a program at a terminal of so many columns, and writes what the terminal got. Ends with the program's exit code.

    python3 capture.py COLUMNS PROGRAM ARGUMENT…
"""

import errno
import fcntl
import os
import pty
import struct
import sys
import termios

ROWS = 50

# What would change how the program writes, whatever the terminal is.
UNSET = ["COLUMNS", "LINES", "CLICOLOR_FORCE"]


def main(columns, program, arguments):
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in UNSET}
        environment.update(TERM="xterm-256color", NO_COLOR="1")
        os.execvpe(program, [program, *arguments], environment)
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError as error:
            # What Linux says when the last program at the terminal has ended.
            if error.errno != errno.EIO:
                raise
            break
        if not piece:
            break
        os.write(sys.stdout.fileno(), piece)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
