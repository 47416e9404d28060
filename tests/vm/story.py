"""What a user of the Vagrantfile does in the machine, and what its kernel must have, step after step.

The steps are sent to the machine when it is started, and are run there while other tests run here;
test_provisioned.py looks at how each ended.
"""

from __future__ import annotations

from dataclasses import dataclass

# Kinds of links, asked for by name as a lab asks for them: the kernel loads the module.
LINKS = {
    "bridge": "",
    "dummy": "",
    "geneve": "id 1 remote 192.0.2.1",
    "ipip": "remote 192.0.2.1",
    "ipvlan": "link dummy0",
    "macvlan": "link dummy0",
    "veth": "",
    "vrf": "table 10",
    "vxlan": "id 1 dstport 4789",
    "wireguard": "",
}
ADD_LINKS = "\n".join(
    f"ip -n scratch link add link0 type {kind} {words} && ip -n scratch link del link0" for kind, words in LINKS.items()
)
MODULES = ("ip_vs", "ip_vs_rr", "openvswitch", "overlay", "sctp", "tun")
# What a lab must leave as it was: links, rules, namespaces, what is recorded, what runs.
PICTURE = """{ ip -o link | sed 's/ qlen .*//'; nft list ruleset; ls -A /run /run/netns; pgrep -af 'netlab: '; }"""
UP_LIMIT = 1200  # seconds `up` may take, with others going first; natively it takes two
ANSWER_LIMIT = 20  # seconds until a probe without an answer counts as dropped; natively one


@dataclass(frozen=True)
class Step:
    """A script of sh that must succeed, and words that must be in its output."""

    name: str
    script: str
    words: str = ""


STORY = (
    Step("the newest source is there", "find . -name __pycache__ -prune -o -type f -exec rm {} + ; tar -xf /dev/vdb"),
    Step("it runs a Debian kernel", "uname -v", "Debian"),
    Step("no service failed", "! systemctl list-units --failed --no-legend | grep ."),
    Step("provisioned again, it needs nothing, not even a network", "tools/provision", "make: Nothing to be done for 'setup'."),
    Step("what nothing asks for was loaded at boot", "journalctl --boot | grep modules-load", "Inserted module 'br_netfilter'"),
    Step(
        "the kernel has every kind of link",
        f"set -e\nip netns add scratch\nip -n scratch link add dummy0 type dummy\n{ADD_LINKS}",
    ),
    Step(
        "and netem",
        "tc -n scratch qdisc add dev dummy0 root netem delay 10ms; tc -n scratch qdisc show dev dummy0",
        "qdisc netem",
    ),
    Step("and what has other names", f"modprobe --all {' '.join(MODULES)} && ip netns del scratch"),
    Step("doctor is content", "netlab doctor", "A lab can run here."),
    Step(
        "also with an ordinary user", "useradd --create-home somebody && su - somebody -c 'netlab doctor'", "A lab can run here."
    ),
    Step("a lab comes up", f"{PICTURE} > /tmp/before; netlab up --timeout {UP_LIMIT} topologies/quickstart.yaml", "is up in"),
    Step("every path of it is proved", f"netlab test connectivity --timeout {ANSWER_LIMIT}", " checks passed"),
    Step("down leaves nothing", f"netlab down && {PICTURE} > /tmp/after; diff /tmp/before /tmp/after"),
    Step("Docker answers", "docker info --format '{{.ServerVersion}} {{.Driver}}'", "overlay2"),
    Step(
        "and runs a container",
        "tar -C / -ch bin/sh lib64/ld-linux-x86-64.so.2 lib/x86_64-linux-gnu/libc.so.6 | docker import - shell &&"
        " docker run --rm --network none shell /bin/sh -c 'echo it runs'",
        "it runs",
    ),
)
