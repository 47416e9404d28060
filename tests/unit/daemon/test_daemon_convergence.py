"""`up` waits until everything that must come has come, a while for what should, and says what did not."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing

import pytest

from netlab.api.resources import ENDPOINT_SLICES, LABS, LEASES, NODES, SERVICES
from netlab.controlplane.lease import holder_identity
from netlab.controlplane.store import Store
from netlab.daemon import routes
from netlab.daemon.convergence import EDGE_KINDS, LAG_TIMEOUT, NODE_KINDS, Convergence, Farthest, Report
from netlab.errors import ApiError

STARTS = {"node1": 7, "node2": 8, "edge": 9}


class Quiet:
    """Controllers, hosts and kubelet that have nothing to do."""

    idle = True
    standing = True
    repairs = 0
    problem = ""
    problems = ()

    def __init__(self, pods=()):
        self.listeners = set()
        self.pods = list(pods)

    async def wait_round(self):
        await asyncio.Event().wait()

    def settled(self):
        return self.pods

    def notes(self):
        return []


def put(store, resource, name, namespace="", **more):
    store.put(resource, {"metadata": {"name": name, "namespace": namespace, **more.pop("metadata", {})}, **more})


def lease(store, name, namespace, start, kinds, healthy=None):
    synced = {kind.plural: str(store.version + 9) for kind in kinds}
    annotations = {"netlab/synced": json.dumps(synced), "netlab/load-balancers": json.dumps(healthy or {})}
    holder = {"holderIdentity": holder_identity(name, start)}
    put(store, LEASES, name, namespace, metadata={"annotations": annotations}, spec=holder)


def lab(policy="Cluster", endpoints=("node1",), healthy=("node1", "node2"), starts=STARTS, unready=""):
    """Return a store with two nodes and a load balancer, everything programmed, and these nodes found healthy."""
    store = Store.open(":memory:")
    put(store, LABS, "demo", metadata={"generation": 1}, status={"observedGeneration": 1})
    for name in ("node1", "node2"):
        put(store, NODES, name, status={"conditions": [{"type": "Ready", "status": str(name != unready)}]})
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": policy, "ports": [{"port": 80, "nodePort": 30080}]}
    put(store, SERVICES, "blue", "default", spec=spec, status={"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}})
    labels = {"kubernetes.io/service-name": "blue"}
    rows = [{"addresses": ["10.244.1.2"], "nodeName": node} for node in endpoints]
    put(store, ENDPOINT_SLICES, "blue-1", "default", metadata={"labels": labels}, endpoints=rows)
    for name in ("node1", "node2"):
        lease(store, name, "kube-node-lease", starts[name], NODE_KINDS)
    lease(store, "netlab-edge", "kube-system", starts["edge"], EDGE_KINDS, {"default/blue": {"80/TCP": list(healthy)}})
    return store


def watching(store, quiet=None, machine=tuple, lag_timeout=LAG_TIMEOUT):
    quiet = quiet or Quiet()
    return Convergence(
        store=store,
        lab="demo",
        controllers=quiet,
        hosts=quiet,
        kubelet=quiet,
        agent_starts=lambda host: (STARTS[host],),
        machine=machine,
        lag_timeout=lag_timeout,
    )


@pytest.mark.parametrize(
    ("state", "waiting", "lagging"),
    [
        pytest.param({}, (), (), id="all in place"),
        pytest.param(
            {"healthy": ["node1"]}, (), ("load balancer default/blue to find node2 healthy",), id="a node not asked yet"
        ),
        pytest.param({"policy": "Local", "healthy": ["node1"]}, (), (), id="Local: nodes without endpoint need not be healthy"),
        pytest.param({"endpoints": [], "healthy": []}, (), (), id="nothing to balance to"),
        pytest.param({"starts": {**STARTS, "node2": 5}}, ("the agent of node2",), (), id="a Lease of a process that died"),
        pytest.param({"starts": {**STARTS, "edge": 5}}, ("the edge",), (), id="an edge that died"),
        pytest.param({"unready": "node2"}, ("node node2 to be ready",), (), id="a node that has just come back"),
    ],
)
def test_look(state, waiting, lagging):
    """A look says what is missing, by sentence."""
    with closing(lab(**state)) as store:
        report = watching(store).look()

    assert (waiting, lagging) == (report.waiting, report.lagging)


def told(store, holder="node1", namespace="kube-node-lease", start=None, kinds=NODE_KINDS, **annotations):
    """A Lease with what its holder could not do."""
    problems = {"overlay": ["node node3: VtepMAC is ff:ff:ff:ff:ff:ff, which is not the MAC address of one device."]}
    lease(store, holder, namespace, start or STARTS[holder], kinds, **annotations)
    stored = store.get(LEASES, namespace, holder)
    body = json.loads(stored.body) if isinstance(stored.body, bytes) else dict(stored.body)
    body["metadata"]["annotations"]["netlab/problems"] = json.dumps(problems)
    store.put(LEASES, body)


def test_an_agent_that_failed_says_at_what():
    """The sentence for an agent that is behind has its first problem; of one that is not, problems are notes (S2)."""
    sentence = "overlay: node node3: VtepMAC is ff:ff:ff:ff:ff:ff, which is not the MAC address of one device."
    with closing(lab()) as store:
        told(store, start=5)
        behind = watching(store).look()
        told(store)
        there = watching(store).look()

    assert ((f"the agent of node1: {sentence}",), ()) == (behind.waiting, behind.notes)
    assert ((), (f"agent of node1: {sentence}",)) == (there.waiting, there.notes)


async def test_a_look_is_waited_for():
    """After `up` asked, an agent is in place when its Lease has come up to the Lab that asked (S4)."""
    quiet = Quiet()
    quiet.look_again = quiet.look_at_everything = lambda: None
    with closing(lab()) as store:
        seen = []

        async def ask() -> int:
            put(store, LABS, "demo", metadata={"generation": 1}, status={"observedGeneration": 1})
            return store.version

        convergence_ = Convergence(
            store=store, lab="demo", controllers=quiet, hosts=quiet, kubelet=quiet,
            agent_starts=lambda host: (STARTS[host],), ask_agents=ask,
        )  # fmt: skip
        async for report in convergence_.follow(5, look=True):
            seen.append(report.waiting)
            for name in ("node1", "node2"):
                lease(store, name, "kube-node-lease", STARTS[name], (*NODE_KINDS, LABS))
            healthy = {"default/blue": {"80/TCP": ["node1", "node2"]}}
            lease(store, "netlab-edge", "kube-system", STARTS["edge"], (*EDGE_KINDS, LABS), healthy)

    assert [("the agent of node1", "the agent of node2", "the edge"), ()] == seen


@pytest.mark.parametrize(("repaired", "asked"), [(False, 1), (True, 2)])
async def test_agents_look_again_after_hosts_were_repaired(repaired, asked):
    """What an agent keeps leans on its host's links: one that has looked before these were repaired looks once more (S4)."""
    quiet, questions = Quiet(), []
    quiet.look_again = lambda: setattr(quiet, "repairs", 7 if repaired else 0)
    quiet.look_at_everything = lambda: None
    with closing(lab()) as store:

        async def ask() -> int:
            questions.append(quiet.repairs)
            put(store, LABS, "demo", metadata={"generation": 1}, status={"observedGeneration": 1})
            return store.version

        convergence_ = Convergence(
            store=store, lab="demo", controllers=quiet, hosts=quiet, kubelet=quiet,
            agent_starts=lambda host: (STARTS[host],), ask_agents=ask,
        )  # fmt: skip
        async for _ in convergence_.follow(0.1, look=True):
            pass

    assert asked == len(questions)


def more_services(store):
    for number in range(12):
        put(store, SERVICES, f"s{number}", "default", spec={"type": "ClusterIP"})


def edited(store):
    put(store, LABS, "demo", metadata={"generation": 2}, status={"observedGeneration": 1})


def a_second_port(store):
    healthy = {"default/blue": {"80/TCP": ["node1", "node2"], "81/TCP": ["node1"]}}
    lease(store, "netlab-edge", "kube-system", STARTS["edge"], EDGE_KINDS, healthy)


def leaving(store):
    put(store, NODES, "node2", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    lease(store, "netlab-edge", "kube-system", STARTS["edge"], EDGE_KINDS, {"default/blue": {"80/TCP": ["node1"]}})


@pytest.mark.parametrize(
    ("change", "waiting", "lagging"),
    [
        (more_services, ("the agent of node1", "the agent of node2", "the edge"), ()),
        (edited, ("the hosts of lab demo",), ()),
        (a_second_port, (), ("load balancer default/blue to find node2 healthy",)),
        (leaving, ("node node2 to be ready",), ()),
    ],
    ids=["Services that nobody has programmed", "an edited lab", "a port for which a node is not healthy", "a node that leaves"],
)
def test_look_after_a_change(change, waiting, lagging):
    """Leases are compared with the newest change, the lab with its newest edition, health port by port."""
    with closing(lab()) as store:
        change(store)
        report = watching(store).look()

    assert (waiting, lagging) == (report.waiting, report.lagging)


def test_notes_come_at_the_end():
    """What the user should know of what is settled is told when all is."""
    told = []
    for pods in (["a pod to start"], []):
        quiet = Quiet(pods)
        quiet.notes = lambda: ["a pod that has failed"]
        with closing(lab()) as store:
            told.append(watching(store, quiet, lambda: ["a table that overflowed"]).look().notes)

    assert [(), ("a pod that has failed", "a table that overflowed")] == told


def test_nothing_is_done_yet():
    """However much the kubelet waits for, less than nothing is not done."""
    with closing(lab(starts={**STARTS, "node1": 5})) as store:
        report = watching(store, Quiet([f"thing {i}" for i in range(9)])).look()

    assert (0, 10) == (report.done, report.total)


def test_a_look_decodes_what_has_changed():
    """Looks come by the hundred: an object is decoded once, a changed one again."""
    with closing(lab()) as store:
        watcher = watching(store)
        watcher.look()
        first = dict(watcher._decoded["leases"])
        watcher.look()
        second = dict(watcher._decoded["leases"])
        lease(store, "node2", "kube-node-lease", 5, NODE_KINDS)
        waiting = watcher.look().waiting
        third = watcher._decoded["leases"]

    assert 3 == len(first)
    assert [id(first[version]) for version in first] == [id(second.get(version)) for version in first]
    assert {store.version} == third.keys() - first.keys()
    assert ("the agent of node2",) == waiting


def test_who_runs_is_asked_last():
    """When an agent was started is a question to the machine: it is put when its Lease says that all is programmed."""
    asked = []

    def starts(host):
        asked.append(host)
        return (STARTS[host],)

    with closing(lab()) as store:
        quiet = Quiet()
        put(store, SERVICES, "new", "default", spec={"type": "ClusterIP"})
        lease(store, "node2", "kube-node-lease", STARTS["node2"], NODE_KINDS)
        watcher = Convergence(store=store, lab="demo", controllers=quiet, hosts=quiet, kubelet=quiet, agent_starts=starts)
        lease(store, "node1", "kube-node-lease", STARTS["node1"], NODE_KINDS[1:])
        watcher.look()

    assert ["node2", "edge"] == asked


async def follow(quiet=None, seconds=5.0, lag_timeout=LAG_TIMEOUT, **state):
    with closing(lab(**state)) as store:
        return [report async for report in watching(store, quiet, lag_timeout=lag_timeout).follow(seconds)]


async def test_follow_ends_when_all_is_there():
    """The last report of a lab that is in place says so."""
    (report,) = await follow()

    assert json.loads(report.encode())["converged"]


async def test_what_lags_is_given_up():
    """A node that is never healthy does not hold `up` back for ever; the user reads which."""
    async with asyncio.timeout(5):
        *_, report = await follow(healthy=["node1"], seconds=60.0, lag_timeout=0.01)

    assert json.loads(report.encode())["converged"]
    assert ("stopped waiting for load balancer default/blue to find node2 healthy",) == report.notes


async def test_what_must_come_is_not_given_up():
    """A pod that does not settle ends the wait only with the time, and without success."""
    *_, report = await follow(Quiet(["pod default/x to start"]), seconds=0.05, lag_timeout=0.01)

    assert not json.loads(report.encode())["converged"]
    assert ("pod default/x to start",) == report.waiting


class Late(Quiet):
    """Hosts and kubelet that have not heard yet of what they lost; a look finds it, and mends it a moment later."""

    def look_again(self):
        self.standing = False

    def look_at_everything(self):
        self.pods = ["a pod to start"]
        asyncio.get_running_loop().call_soon(self.mend)

    def mend(self):
        self.standing, self.pods = True, []
        for listener in self.listeners:
            listener.set()


@pytest.mark.parametrize(("look", "waiting"), [(False, [()]), (True, [("the hosts of lab demo", "a pod to start"), ()])])
async def test_what_was_known_is_looked_at_again(look, waiting):
    """Who asks for a look is not told that all is in place before there was one."""
    with closing(lab()) as store:
        reports = [report async for report in watching(store, Late()).follow(5.0, look=look)]

    assert waiting == [report.waiting for report in reports]


LOOKS = [  # done, total and what is waited for, as it is: how far to show
    ((0, 4, 4), (0, 4)),
    ((3, 4, 1), (3, 4)),
    ((1, 4, 3), (3, 4)),  # an endpoint came: all agents are behind again
    ((2, 9, 7), (3, 9)),  # pods came
    ((6, 7, 1), (8, 9)),  # two of them are gone
    ((7, 7, 0), (9, 9)),
]


def test_no_count_goes_back():
    """Who watches sees how far things have been; what is waited for is told as it is."""
    farthest = Farthest()
    shown = [farthest.counted(Report(done, total, ("a thing",) * waiting)) for (done, total, waiting), _ in LOOKS]

    assert [counts for _, counts in LOOKS] == [(report.done, report.total) for report in shown]
    assert [waiting for (*_, waiting), _ in LOOKS] == [len(report.waiting) for report in shown]


async def test_follow_counts_how_far_things_have_been():
    """An agent that is behind once more is waited for, and counted as before."""
    with closing(lab()) as store:
        following = watching(store, Quiet(["a pod to start"])).follow(5)
        first = await anext(following)
        lease(store, "node1", "kube-node-lease", STARTS["node1"] + 1, NODE_KINDS)  # of a process that has ended
        second = await anext(following)
        await following.aclose()

    assert (first.done, first.total, ("a pod to start",)) == (second.done, second.total, first.waiting)
    assert ("the agent of node1", "a pod to start") == second.waiting


@pytest.mark.parametrize(
    ("text", "expected"), [("60", 60.0), ("0.5", 0.5), ("1e9", 3600.0), ("x", 400), ("nan", 400), ("-1", 400), ("", 400)]
)
def test_how_long_to_wait(text: str, expected: float) -> None:
    """A timeout that is no number of seconds is refused before the answer begins."""
    try:
        found: float = routes._seconds(text)
    except ApiError as error:
        found = error.code

    assert expected == found


def test_what_cannot_be_read_or_planned_is_a_note_by_name():
    """`up` ends, and names the object and why, once however many parts say it (findings B2)."""
    with closing(lab()) as store:
        put(store, SERVICES, "bad", "default", spec={"ports": 80})
        put(store, LEASES, "odd", "default", spec={"renewTime": {}})
        quiet = Quiet()
        quiet.problems = ("deployments/default/x: controller deployment failed: no",) * 2
        view = watching(store, quiet)
        for node in ("node1", "node2"):
            lease(store, node, "kube-node-lease", STARTS[node], NODE_KINDS)
        lease(store, "netlab-edge", "kube-system", STARTS["edge"], EDGE_KINDS, {"default/blue": {"80/TCP": ["node1", "node2"]}})
        first, second = view.look(), view.look()

    assert (first.waiting, first.lagging) == ((), ())
    assert [note.partition(":")[0] for note in first.notes] == [
        "Lease default/odd cannot be read", "Service default/bad cannot be read", "deployments/default/x",
    ]  # fmt: skip
    assert first.notes == second.notes
