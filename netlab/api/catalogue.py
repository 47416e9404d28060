"""The built-in workloads: images that need not be pulled, because netlab brings what they do.

Runtime `netns`: a pod's container either names one of these images, or has a `command`, or is refused when the file is read.
Runtime `docker`: netlab's workloads image stands in for them where they are not present; it has the `TOOLS`, too.
`serves` lists on which ports a workload listens when the container declares none; `reports_client` that its answer
names the client address it saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Workload:
    """One built-in: `patterns` are image names without tag or digest, `server` the kind of answer it gives.

    `image` is what to ask a registry for to have the real one.
    """

    server: str
    patterns: tuple[str, ...]
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    summary: str = ""
    image: str = ""


WORKLOADS: tuple[Workload, ...] = (
    Workload("color", ("jpetazzo/color",), tcp=(80,), summary="a page with the pod's name and color", image="jpetazzo/color"),
    Workload(
        "kuard",
        ("gcr.io/kuar-demo/kuard-*",),
        tcp=(8080,),
        summary="kuard's page and its /env and /healthy, /ready",
        image="gcr.io/kuar-demo/kuard-amd64:1",
    ),
    Workload(
        "nginx", ("nginx", "library/nginx"), tcp=(80,), summary="nginx's welcome page, the pod's name in a header", image="nginx"
    ),
    Workload(
        "whoami", ("traefik/whoami", "containous/whoami"), tcp=(80,), summary="the request as received", image="traefik/whoami"
    ),
    Workload(
        "http-echo", ("hashicorp/http-echo",), tcp=(5678,), summary="the text given with -text", image="hashicorp/http-echo"
    ),
    Workload(
        "agnhost",
        ("registry.k8s.io/e2e-test-images/agnhost", "k8s.gcr.io/e2e-test-images/agnhost"),
        tcp=(8080,),
        udp=(8081,),
        summary="netexec (HTTP /hostname, /clientip, /echo; the same commands over UDP), serve-hostname, pause",
        image="registry.k8s.io/e2e-test-images/agnhost:2.53",
    ),
    Workload("echo", ("netlab/echo",), summary="echo on every port that the container declares, TCP and UDP"),
    Workload(
        "pause",
        ("registry.k8s.io/pause", "k8s.gcr.io/pause", "netlab/pause"),
        summary="nothing: an address that answers ping",
        image="registry.k8s.io/pause:3.10",
    ),
)

TOOLS = ("busybox", "library/busybox")  # a shell and its company; nothing without a `command`


def repository(image: str) -> str:
    """Return an image's name without tag, digest and Docker Hub's prefix: `docker.io/library/nginx:1.27` -> `library/nginx`."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    name = head + slash + tail.partition(":")[0]
    return name.removeprefix("docker.io/")


def find(image: str) -> Workload | None:
    """Return the built-in workload an image names, None when there is none."""
    name = repository(image)
    return next((w for w in WORKLOADS if any(fnmatchcase(name, p) for p in w.patterns)), None)


def brings(image: str) -> bool:
    """Return whether netlab brings what an image is used for."""
    return find(image) is not None or repository(image) in TOOLS
