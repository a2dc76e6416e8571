"""The health check of a container: `python -I -S floodgate/run/health.py 8002` ends with 0 when the app there is ready.

Ready is what the app says of itself; a loop that is blocked says nothing, and is
not. Owns one request, with the least that an interpreter can load: this runs
every few seconds in every container. Must not import what it checks.
"""

import socket
import sys

LIMIT_S = 2.0
"""A blocked event loop does not answer; the check then says so before its own time limit."""


def main(port: int) -> int:
    """Ask for `/-/ready`; return 0 when the answer is 200, else 1."""
    try:
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            connection.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
            answer = connection.recv(64)
    except OSError as error:
        print(f"no answer: {error}")
        return 1
    print(answer.partition(b"\r\n")[0].decode("ascii", "replace"))
    return 0 if answer[8:13] == b" 200 " else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
