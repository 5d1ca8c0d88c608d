"""Framing: where the end of a request is in doubt it is refused and the connection closed, so that no proxy in front can be made to
disagree with us about where the next one starts."""
import contextlib
import socket

import pytest

from raw import ask, wire

HOST = b"Host: x\r\n"
POST = b"POST /v1/models/m/predict HTTP/1.1\r\n" + HOST
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

DOUBTFUL = {
    "length and chunked": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 36\r\n\r\n" + HIDDEN,
    "two equal lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length past 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "coding gzip": POST + b"Transfer-Encoding: gzip\r\n\r\n" + HIDDEN,
    "coding xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN,
    "coding gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /v1/models/m/predict HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "a control in a name": POST + b"X\x01Y: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a control in a value": POST + b"X-Y: a\x08b\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two content types": POST + b"Content-Type: text/csv\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "two authorizations": b"GET /livez HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "HTTP/2.0": b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/1.9": b"GET /livez HTTP/1.9\r\n" + HOST + b"\r\n",
    "101 headers": b"GET /livez HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: 1\r\n" % i for i in range(101)) + b"\r\n",
}


@pytest.mark.parametrize("request_bytes", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_doubtful_framing_is_refused_and_nothing_behind_it_is_read(server, request_bytes):
    with wire(server) as w:
        reply = w.send(request_bytes).reply()
        assert reply is not None and reply[0] in (400, 413, 505)
        assert b" 200 OK" not in w.rest(), "a second answer"


@pytest.mark.parametrize("chunk", [b"FFFFFFFFFFFFFFFF\r\nx", b"10000000000000000\r\nx", b"-1\r\nx", b"zz\r\nx", b"2\r\n{}}\r\n0\r\n\r\n"])
def test_a_bad_chunk_never_becomes_a_request(server, chunk):
    with wire(server) as w:
        w.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + HIDDEN).socket.shutdown(socket.SHUT_WR)
        reply = w.reply()
        assert reply is None or reply[0] in (400, 413)
        assert b" 200 OK" not in w.rest()


@pytest.mark.parametrize("sent, statuses", [(HIDDEN, [200]), (HIDDEN * 2, [200, 200]), (POST + b"Content-Length: 9\r\n\r\n{}", []), (b"GET / HT", [])],
                         ids=["a request", "two requests", "half a body", "half a line"])
def test_a_client_that_ends_its_side_with_its_last_bytes_gets_its_answers_and_the_end(server, sent, statuses):
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(wire(server, timeout=5)) for _ in range(20)]  # whether the end comes in the same read is a race
        for w in wires:
            w.send(sent).socket.shutdown(socket.SHUT_WR)
        for w in wires:
            assert [w.reply()[0] for _ in statuses] == statuses
            assert w.rest() == b""


def test_http_0_9_is_not_answered_with_a_resource(server):
    reply = ask(server, b"GET /livez\r\n\r\n")
    assert reply is None or reply[0] in (400, 505)


def test_a_thousand_pipelined_requests_get_their_answers_in_order(server):
    n = 1000
    with wire(server) as w:
        w.send(b"".join(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: r%d\r\n\r\n" % i for i in range(n)))
        assert [w.reply()[1]["x-request-id"] for _ in range(n)] == [f"r{i}" for i in range(n)]


def test_chunked_bodies_are_read_and_the_connection_goes_on(server):
    with wire(server) as w:
        w.send(POST + b"Transfer-Encoding: Chunked\r\n\r\n2;extension=1\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n" + HIDDEN)
        assert w.reply()[0] == 404  # no such model
        assert w.reply()[0] == 200


def test_a_refused_body_is_read_over_and_the_connection_goes_on(server):
    with wire(server) as w:
        w.send(b"POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000 + HIDDEN)
        assert w.reply()[0] == 404
        assert w.reply()[0] == 200
