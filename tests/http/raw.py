"""HTTP by hand, for requests that no client library would send."""
import contextlib
import socket


def parse(data):
    """(status, headers by lower-case name, body, rest) of the first response in data; None when it is not whole."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    if len(rest) < length:
        return None
    return int(lines[0].split()[1]), headers, rest[:length], rest[length:]


class Wire:
    def __init__(self, server, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
        self.buffer = b""

    def send(self, data):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def reply(self):
        """The next response, or None when the connection ended without one."""
        while True:
            found = parse(self.buffer)
            if found:
                self.buffer = found[3]
                return found[:3]
            if not self.more():
                return None

    def more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def rest(self):
        """What else comes before the server ends the connection."""
        while self.more():
            pass
        return self.buffer


@contextlib.contextmanager
def wire(server, timeout=30):
    w = Wire(server, timeout)
    try:
        yield w
    finally:
        w.socket.close()


def ask(server, data, timeout=30):
    """(status, headers, body) of the answer to data on a connection of its own, None for none."""
    with wire(server, timeout) as w:
        return w.send(data).reply()
