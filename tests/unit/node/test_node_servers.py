from __future__ import annotations

import msgspec
import pytest

from netlab.api.catalogue import WORKLOADS
from netlab.api.pods import Container
from netlab.node.kubelet.readiness_probes import verdict
from netlab.node.pods.builtin import ENTRYPOINTS, builtin_of
from netlab.workloads.protocol import ServerSpec
from netlab.workloads.servers import SERVERS
from netlab.workloads.servers.base import BadArgumentsError, Process, flag, port_flag


def process(
    server: str, *args: str, ports: tuple[tuple[int, str], ...] = (), environment: dict[str, str] | None = None
) -> Process:
    spec = ServerSpec(key="u/c", pod="p", path="", server=server, args=args, ports=ports, environment=environment or {})
    return Process(spec)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (process("color"), {(80, "TCP")}),
        (process("color", ports=((9000, "TCP"),)), {(80, "TCP")}),
        (process("nginx"), {(80, "TCP")}),
        (process("kuard"), {(8080, "TCP")}),
        (process("whoami"), {(80, "TCP")}),
        (process("whoami", "--port", "8000"), {(8000, "TCP")}),
        (process("whoami", environment={"WHOAMI_PORT_NUMBER": "81"}), {(81, "TCP")}),
        (process("http-echo", "-text=hi"), {(5678, "TCP")}),
        (process("http-echo", "-listen=:8080"), {(8080, "TCP")}),
        (process("agnhost"), set()),
        (process("agnhost", "pause"), set()),
        (process("agnhost", "netexec"), {(8080, "TCP"), (8081, "UDP")}),
        (process("agnhost", "netexec", "--http-port=80", "--udp-port", "90"), {(80, "TCP"), (90, "UDP")}),
        (process("agnhost", "netexec", "--udp-port=-1"), {(8080, "TCP")}),
        (process("agnhost", "serve-hostname"), {(9376, "TCP")}),
        (process("agnhost", "serve-hostname", "--udp", "--port=7"), {(7, "UDP")}),
        (process("echo"), set()),
        (process("echo", ports=((7, "TCP"), (7, "UDP"), (7, "TCP"))), {(7, "TCP"), (7, "UDP")}),
        (process("pause"), set()),
    ],
)
def test_ports_of_the_catalogue(made, expected):
    """Each image listens where the real one does, whatever the container declares; echo listens where declared."""
    listeners = SERVERS[made.spec.server](made)

    assert {(listener.port, listener.protocol) for listener in listeners} == expected


def test_every_catalogued_workload_has_a_server():
    """The catalogue and the servers name the same words."""
    words = {workload.server for workload in WORKLOADS}

    assert (words, words) == (set(SERVERS), set(ENTRYPOINTS))


@pytest.mark.parametrize(
    "made",
    [
        process("agnhost", "nonsense"),
        process("http-echo", "-listen=:http"),
        process("http-echo", "-status-code=ok"),
        process("http-echo", "-status-code=101"),
        process("whoami", "--port=0"),
    ],
)
def test_bad_arguments_end_the_container(made):
    """Arguments that the program would refuse are refused."""
    with pytest.raises(BadArgumentsError):
        SERVERS[made.spec.server](made)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), "d"),
        (("-text=a",), "a"),
        (("--text=a",), "a"),
        (("--text", "a"), "a"),
        (("-text=a", "-text=b"), "b"),
        (("text=a",), "d"),
        (("-text=a=b",), "a=b"),
        (("-text",), "d"),
    ],
)
def test_flags(args, expected):
    """Flags are read as Go programs read them."""
    result = flag(args, "text", "d")

    assert result == expected


@pytest.mark.parametrize(("value", "expected"), [("80", 80), (":80", 80), ("0.0.0.0:80", 80)])
def test_port_flags(value, expected):
    """A port may come with an address before it."""
    result = port_flag((f"--p={value}",), "p", 1)

    assert result == expected


@pytest.mark.parametrize(
    ("image", "command", "expected"),
    [
        ("nginx:1.27", [], "nginx"),
        ("docker.io/library/nginx", [], "nginx"),
        ("nginx", ["sleep", "1"], ""),
        ("registry.k8s.io/e2e-test-images/agnhost:2.45", ["/agnhost", "netexec"], "agnhost"),
        ("busybox", ["sh"], ""),
        ("gcr.io/kuar-demo/kuard-amd64:1", [], "kuard"),
    ],
)
def test_command_overrides_the_image(image, command, expected):
    """A command is run as it is, unless it names the image's own program."""
    result = builtin_of(msgspec.convert({"image": image, "command": command}, Container))

    assert result == expected


@pytest.mark.parametrize(
    ("line", "success"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.0 399 Odd\r\n", True),
        (b"HTTP/1.1 302 Found\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\n", False),
        (b"HTTP/1.1 500\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"HTTP/1.1 abc\r\n", False),
        (b"", False),
    ],
)
def test_verdict(line, success):
    """200 to 399 is success, as for kubelet; what is not HTTP is a failure, not an exception."""
    result = verdict(line)

    assert result.success is success


@pytest.mark.parametrize(
    ("port", "shown"),
    [
        ("abc", "abc"),
        ("0", "0"),
        ("70000", "70000"),
        ("9" * 5000, "9" * 100),
        ("\u0663", "\u0663"),
        ("\u00b2", "\u00b2"),
        ("8\n0", "8\\n0"),
    ],
)
@pytest.mark.parametrize("by", ["environment", "args"])
def test_whoami_fails_as_its_image_does(by, port, shown):
    """The program takes any text as its port and ends with code 1 when it listens (findings M6)."""
    made = (
        process("whoami", environment={"WHOAMI_PORT_NUMBER": port})
        if by == "environment"
        else process("whoami", f"--port={port}")
    )
    with pytest.raises(BadArgumentsError) as failure:
        SERVERS["whoami"](made)

    assert (failure.value.code, str(failure.value)) == (1, f"listen tcp: lookup tcp/{shown}: unknown port")


HOSTILE = ["", "abc", "9" * 5000, "\u0663", "\u00b2", "-1", "\0", "\ud800", "%s", ":" * 99]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_server_takes_or_refuses_any_environment_and_arguments(name, text):
    """Whatever the environment and the flags hold, a server has listeners or refuses in words (findings M6)."""
    known = dict.fromkeys(("WHOAMI_PORT_NUMBER", "ECHO_TEXT", "HOSTNAME"), text)
    flags = [f"--{flag}={text}" for flag in ("port", "listen", "text", "status-code", "http-port", "udp-port")]
    made = [process(name, environment=known), process(name, *flags), process(name, "netexec", *flags), process(name, text)]
    for each in made:
        try:
            listeners = SERVERS[name](each)
        except BadArgumentsError:
            continue
        assert all(0 < listener.port < 65536 for listener in listeners)
